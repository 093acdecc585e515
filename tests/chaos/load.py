"""All clients of a run: who works on what, through which connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Self

import tupelo

from tests.chaos.asking import Rotation, Tally, Worker
from tests.chaos.objects import WORK, Caller
from tests.chaos.pulses import Pulses
from tests.chaos.registers import Registers
from tests.linearizability.history import Recorder


@dataclass(frozen=True)
class Mix:
    """How much load.

    Attributes:
        groups: of clients that share a register at a time; `sharing` in each.
        objects: of each sort of object, with `sharing` - 1 clients each.
        pause_s: mean time between two calls of a client.
        hurry: share of calls with a deadline of about a second.
        pulse_s: mean time between two writes to a partition that only tell that it answers.
    """

    groups: int = 4
    sharing: int = 4
    objects: int = 2
    pause_s: float = 0.04
    hurry: float = 0.2
    pulse_s: float = 0.3


class Load:
    """Clients at work inside the block, until `finish`.

    Attributes:
        recorder: their history, in nanoseconds of one clock.
    """

    def __init__(self, address: str, partitions: int, seed: int, mix: Mix) -> None:
        self.recorder = Recorder(perf_counter_ns)
        self.tally = Tally()
        self._address = address
        self._partitions = partitions
        self._seed = seed
        self._mix = mix
        self._stop = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._rotations: list[Rotation] = []
        self.grids: list[tupelo.Grid] = []
        self.pulses: Pulses

    async def __aenter__(self) -> Self:
        for routing in ("smart", "smart", "router"):
            connecting = tupelo.connect(self._address, routing=routing)
            self.grids.append(await self._stack.enter_async_context(connecting))
        self.pulses = Pulses(self._worker("pulse"), self._partitions, self._mix.pulse_s)
        self._start(self.pulses.run())
        self._start_registers()
        self._start_objects()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    @property
    def keys(self) -> list[str]:
        """Every key that clients have used, pulses' aside."""
        return [name for rotation in self._rotations for name in rotation.names]

    def broken(self) -> None:
        """Raises what ended a client that should still be at work."""
        for task in self._tasks:
            if task.done() and not self._stop.is_set():
                task.result()
                raise AssertionError(f"{task.get_name()} has ended")

    async def finish(self) -> None:
        """No further calls; those under way end, within their deadlines."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def _worker(self, name: str) -> Worker:
        mix = self._mix
        # The first connection has the pulses; one client in six comes through the router.
        place = 0 if name == "pulse" else 2 if len(self._tasks) % 6 == 5 else 1
        return Worker(
            name,
            self.grids[place],
            f"{self._seed}/{name}",
            self.recorder,
            self.tally,
            self._stop,
            mix.pause_s,
            mix.hurry,
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _start_registers(self) -> None:
        mix = self._mix
        rotations = [Rotation(f"register-{group}") for group in range(mix.groups)]
        self._rotations += rotations
        for group, own in enumerate(rotations):
            for number in range(mix.sharing):
                worker = self._worker(f"r{group}.{number}")
                self._start(Registers(worker, own, rotations).run())

    def _start_objects(self) -> None:
        for sort, work in WORK.items():
            for number in range(self._mix.objects):
                rotation = Rotation(f"{sort}-{number}")
                self._rotations.append(rotation)
                for client in range(self._mix.sharing - 1):
                    worker = self._worker(f"{sort}{number}.{client}")
                    self._start(work(Caller(worker, rotation)))
