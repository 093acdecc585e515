"""The tasks of a YCSB mix."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.peers.shapes import KEYS, Step, mix_of, plan
from benchmarks.peers.system import System

STEPS_APART: Final = 97


class MixWorker:
    """Tasks that go through one plan, each from another place of it.

    A scan reads neighbouring keys by get_many, since not all systems have ordered keys. An insert
    of YCSB D is the newest key from then on, and reads are of the newest keys.
    """

    def __init__(self, system: System, op: str, keys: list[str], value: str) -> None:
        self._system = system
        self._steps = plan(op)
        self._latest = mix_of(op)[0] == "d"
        self._keys = list(keys)
        self._value = value
        self._inserted = 0

    async def __call__(self, worker: int, latencies: list[int], deadline: int) -> int:
        steps, perform = self._steps, self._perform
        place, count, now = worker * STEPS_APART % len(steps), 0, time.perf_counter_ns()
        while now < deadline:
            await perform(steps[place])
            done = time.perf_counter_ns()
            latencies.append(done - now)
            now, count, place = done, count + 1, (place + 1) % len(steps)
        return count

    async def _perform(self, step: Step) -> None:
        system, keys = self._system, self._keys
        kind = step.kind
        key = keys[-1 - step.key] if self._latest else keys[step.key]
        if kind == "read":
            await system.get(key)
        elif kind == "update":
            await system.put(key, self._value)
        elif kind == "modify":
            await system.get(key)
            await system.put(key, self._value)
        elif kind == "scan":
            first = min(step.key, KEYS - step.length)
            await system.get_many(keys[first : first + step.length])
        else:
            self._inserted += 1
            new = f"new-{self._inserted:06d}"
            await system.put(new, self._value)
            if self._latest:
                keys.append(new)
