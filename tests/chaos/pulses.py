"""One client a partition that never stops writing: how long is each partition away after a fault?

The wait of a partition is the longest that any of its writes took from the fault, or from its own
beginning where that is later. At the moment of a fault every pulse writes at once, so that a
partition which is away is noticed from the first moment. Each pulse has a key of its own and one
write under way, so what must be there at the end is plain.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import tupelo
from tupelo.codec import encode_key, partition_of

from tests.chaos.asking import Worker
from tests.linearizability.history import UNKNOWN, Recorder

SPACE: Final = "pulses"
TIMEOUT_S: Final = 10.0


@dataclass
class Pulse:
    """Of one partition.

    Attributes:
        value: written last and acknowledged, at `version`.
        unknown: values whose outcome is unknown; any of them may come late, over newer ones.
        wait_s: see the module; since the last `begin`.
        since_s: when the write under way was first tried; 0 for none.
        answered_s: when the last one was acknowledged.
    """

    key: str
    value: int = 0
    version: int = 0
    unknown: tuple[int, ...] = ()
    wait_s: float = 0.0
    since_s: float = 0.0
    answered_s: float = 0.0

    def lost(self, found: tuple[int, int] | None) -> bool:
        """Whether (value, version) found at the end, None for no entry, breaks the promise."""
        if not self.version:
            return False
        if found is None or found[1] < self.version:
            return True
        return found[0] != self.value if found[1] == self.version else found[0] not in self.unknown


def key_in(partition: int, partitions: int) -> str:
    number = 0
    while partition_of(encode_key(f"{partition}.{number}"), partitions) != partition:
        number += 1
    return f"{partition}.{number}"


class Pulses:
    """Of all partitions. Args: interval_s: pause between two writes of one."""

    def __init__(self, worker: Worker, partitions: int, interval_s: float) -> None:
        self.pulses = [Pulse(key_in(n, partitions)) for n in range(partitions)]
        self._worker = worker
        self._interval_s = interval_s
        self.began_s = perf_counter()
        self._now = asyncio.Event()
        self._answered = asyncio.Event()

    def begin(self) -> None:
        """A fault strikes now."""
        self.began_s = perf_counter()
        for pulse in self.pulses:
            pulse.wait_s = 0.0
        self._now.set()
        self._now = asyncio.Event()

    async def waits(self, timeout_s: float) -> list[float]:
        """Of every partition since `begin`, once each was answered a write begun after this call.

        Raises TimeoutError.
        """
        asked_s = perf_counter()
        async with asyncio.timeout(timeout_s):
            while self.behind(asked_s):
                self._answered.clear()
                await self._answered.wait()
        return [pulse.wait_s for pulse in self.pulses]

    def behind(self, since_s: float) -> list[int]:
        return [n for n, pulse in enumerate(self.pulses) if pulse.answered_s < since_s]

    async def run(self) -> None:
        """Until the worker is told to stop."""
        async with asyncio.TaskGroup() as tasks:
            for pulse in self.pulses:
                tasks.create_task(self._beat(pulse))

    async def _beat(self, pulse: Pulse) -> None:
        space = self._worker.grid.space(SPACE)
        number = 0
        while not self._worker.stop.is_set():
            number += 1
            await self._write(space, pulse, number)
            now = self._now
            try:
                async with asyncio.timeout(self._interval_s * (0.5 + self._worker.rng.random())):
                    await now.wait()
            except TimeoutError:
                continue  # the usual case: no fault just now

    async def _write(self, space: Any, pulse: Pulse, value: int) -> None:
        if not pulse.since_s:
            pulse.since_s = perf_counter()
        # Its history is kept here and not by the recorder: it would be long, and simple.
        call = _UNRECORDED.invoke("pulse", pulse.key, "put", value)
        asked = space.put(pulse.key, value, timeout_s=TIMEOUT_S)
        written = await self._worker.ask([call], asked, TIMEOUT_S)
        _UNRECORDED.ops.clear()
        if written is UNKNOWN:
            pulse.unknown = (*pulse.unknown, value)
            return
        now = perf_counter()
        pulse.wait_s = max(pulse.wait_s, now - max(pulse.since_s, self.began_s))
        pulse.since_s, pulse.answered_s = 0.0, now
        pulse.value, pulse.version = value, written.version
        self._answered.set()

    async def lost(self, grid: tupelo.Grid) -> list[str]:
        """What acknowledged pulses are not there at the end, in words."""
        problems = []
        space = grid.space(SPACE)
        found = await asyncio.gather(*(space.entry(pulse.key) for pulse in self.pulses))
        for pulse, entry in zip(self.pulses, found, strict=True):
            if pulse.lost(None if entry is None else (entry.value, entry.version)):
                problems.append(
                    f"pulse {pulse.key!r}: {pulse.value} was acknowledged as version "
                    f"{pulse.version}, and there is {entry}; unknown: {pulse.unknown}"
                )
        return problems


_UNRECORDED: Final = Recorder(perf_counter)
