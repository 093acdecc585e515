"""One slice of one shape on one system, in the process that holds its client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.peers.mixes import MixWorker
from benchmarks.peers.processes import cpu_s, resident_bytes
from benchmarks.peers.shapes import KEYS, MANY, Shape, key_names
from benchmarks.peers.statistics import percentile
from benchmarks.peers.system import Blocking, Collocated, Settles, System

WARM_UP_S: Final = 0.3
FIRST_WARM_UP_S: Final = 1.5
"""Before the first slice of a shape: a JVM compiles what it runs often."""
PLACES_APART: Final = 37
"""Tasks begin so many keys apart, and then go on in steps that reach every key."""
STEP: Final = 101
GROUPS: Final = 1_000
EACH: Final = 10
MEMORY_FIRST: Final = 50_000
MEMORY_MORE: Final = 200_000
COPIES: Final = 2
"""Of every entry, in each system whose memory is measured."""

Slice = dict[str, float]
# Calls until the deadline (of perf_counter_ns) and notes the nanoseconds of each.
Worker = Callable[[int, list[int], int], Awaitable[int]]
# For so many seconds; the calls made, and the nanoseconds of each.
Drive = Callable[[float], Awaitable[tuple[int, list[int]]]]


@dataclass
class Bench:
    """A system that is open, and what has been put into it so far."""

    system: System
    loaded: set[int] = field(default_factory=set)
    seeded: bool = False
    warm: set[tuple[str, str]] = field(default_factory=set)

    async def run(self, shape: Shape, way: str, seconds: float) -> Slice:
        """Operations a second, latencies, and CPU of both sides. `way`: of a collocated shape.

        `data_us_op` is of the processes that hold the data, while they are asked; `server_us_op` of
        all of them, until nothing is left to do. `lost`: additions that another one undid.
        """
        if shape.op == "memory":
            return await self._memory(shape)
        await self._prepare(shape)
        if isinstance(self.system, Blocking):
            drive = self._drive_threads(shape)
        else:
            drive = self._drive_tasks(shape, self._worker(shape, way))
        warm = (shape.name, way) in self.warm
        self.warm.add((shape.name, way))
        await drive(min(seconds, WARM_UP_S) if warm else min(5 * seconds, FIRST_WARM_UP_S))
        await self._settle()
        pids, holders = self.system.pids(), self.system.data_pids()
        total = await self._total(shape)
        server, data = cpu_s(pids), cpu_s(holders)
        client, began = time.process_time(), time.perf_counter()
        calls, latencies = await drive(seconds)
        took = time.perf_counter() - began
        client, data = time.process_time() - client, cpu_s(holders) - data
        await self._settle()
        server = cpu_s(pids) - server
        operations = calls * shape.entries
        found = {
            "ops_s": operations / took,
            "p50_us": percentile(latencies, 0.50) / 1000,
            "p99_us": percentile(latencies, 0.99) / 1000,
            "client_us_op": client / operations * 1e6,
            "data_us_op": data / operations * 1e6,
            "server_us_op": server / operations * 1e6,
        }
        if shape.op == "collocate":
            found["lost"] = calls * EACH - (await self._total(shape) - total)
        return found

    async def _total(self, shape: Shape) -> int:
        """Of all balances: what was added and is not in it was lost."""
        if shape.op != "collocate":
            return 0
        assert isinstance(self.system, Collocated)
        return await self.system.total(GROUPS, EACH)

    async def _settle(self) -> None:
        """What a system still has to do does not disturb the next one, and is on its bill."""
        if isinstance(self.system, Settles):
            await self.system.settle()

    async def _prepare(self, shape: Shape) -> None:
        if shape.op == "collocate":
            if not self.seeded:
                assert isinstance(self.system, Collocated)
                await self.system.seed(GROUPS, EACH)
                self.seeded = True
            return
        if shape.value_bytes not in self.loaded:
            keys = key_names(shape.value_bytes)
            for start in range(0, KEYS, MANY):
                value = "x" * shape.value_bytes
                await self.system.put_many(dict.fromkeys(keys[start : start + MANY], value))
            self.loaded.add(shape.value_bytes)

    def _worker(self, shape: Shape, way: str) -> Worker:
        keys, value = key_names(shape.value_bytes), "x" * shape.value_bytes
        if shape.op.startswith("ycsb"):
            return MixWorker(self.system, shape.op, keys, value)
        if shape.op == "get":
            return _calls_of(self.system.get, keys)
        if shape.op == "put":
            return _calls_of_put(self.system.put, keys, value)
        batches = [keys[start : start + MANY] for start in range(0, KEYS, MANY)]
        if shape.op == "get_many":
            return _calls_of(self.system.get_many, batches)
        if shape.op == "put_many":
            return _calls_of(
                self.system.put_many, [dict.fromkeys(batch, value) for batch in batches]
            )
        assert isinstance(self.system, Collocated)
        shift = self.system.shift
        return _calls_of(lambda group: shift(way, group, 1), range(GROUPS))

    def _drive_tasks(self, shape: Shape, worker: Worker) -> Drive:
        async def drive(seconds: float) -> tuple[int, list[int]]:
            latencies: list[int] = []
            deadline = time.perf_counter_ns() + int(seconds * 1e9)
            counts = await asyncio.gather(
                *(worker(number, latencies, deadline) for number in range(shape.in_flight))
            )
            return sum(counts), latencies

        return drive

    def _drive_threads(self, shape: Shape) -> Drive:
        system = self.system
        assert isinstance(system, Blocking)
        keys, value = key_names(shape.value_bytes), "x" * shape.value_bytes

        def work(number: int, latencies: list[int], deadline: int) -> int:
            place, count, now = number * PLACES_APART % KEYS, 0, time.perf_counter_ns()
            while now < deadline:
                if shape.op == "get":
                    system.blocking_get(keys[place])
                else:
                    system.blocking_put(keys[place], value)
                done = time.perf_counter_ns()
                latencies.append(done - now)
                now, count, place = done, count + 1, (place + STEP) % KEYS
            return count

        async def drive(seconds: float) -> tuple[int, list[int]]:
            latencies: list[int] = []
            deadline = time.perf_counter_ns() + int(seconds * 1e9)
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(shape.in_flight) as pool:
                counts = await asyncio.gather(
                    *(
                        loop.run_in_executor(pool, work, number, latencies, deadline)
                        for number in range(shape.in_flight)
                    )
                )
            return sum(counts), latencies

        return drive

    async def _memory(self, shape: Shape) -> Slice:
        """Growth of the servers' memory from MEMORY_FIRST entries to MEMORY_MORE more, with
        everything settled: what is kept for a while only, such as a journal, has taken its place
        by then and does not grow. Of one copy."""
        value = "x" * shape.value_bytes
        await self._fill(0, MEMORY_FIRST, value)
        before = resident_bytes(self.system.data_pids())
        await self._fill(MEMORY_FIRST, MEMORY_FIRST + MEMORY_MORE, value)
        grown = resident_bytes(self.system.data_pids()) - before
        return {"bytes_entry": grown / MEMORY_MORE / COPIES}

    async def _fill(self, start: int, end: int, value: str) -> None:
        for first in range(start, end, MANY):
            await self.system.put_many(
                {f"memory-{n:07d}": value for n in range(first, first + MANY)}
            )
            if first // MANY % 10 == 0:
                await self._settle()
        await self._settle()


def _calls_of_put(
    put: Callable[[str, str], Awaitable[Any]], keys: Sequence[str], value: str
) -> Worker:
    """Like `_calls_of`, with a second argument; written out, since it is part of what is timed."""

    async def work(worker: int, latencies: list[int], deadline: int) -> int:
        clock, note, size = time.perf_counter_ns, latencies.append, len(keys)
        place, count, now = worker * PLACES_APART % size, 0, clock()
        while now < deadline:
            await put(keys[place], value)
            done = clock()
            note(done - now)
            now = done
            count += 1
            place += STEP
            if place >= size:
                place -= size
        return count

    return work


def _calls_of(call: Callable[[Any], Awaitable[Any]], arguments: Sequence[Any]) -> Worker:
    step = STEP if len(arguments) > STEP else 1

    async def work(worker: int, latencies: list[int], deadline: int) -> int:
        clock, note, size = time.perf_counter_ns, latencies.append, len(arguments)
        place, count, now = worker * PLACES_APART % size, 0, clock()
        while now < deadline:
            await call(arguments[place])
            done = clock()
            note(done - now)
            now = done
            count += 1
            place += step
            if place >= size:
                place -= size
        return count

    return work
