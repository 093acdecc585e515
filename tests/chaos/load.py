"""All clients of a run: who works on what, through which connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Final, Self

import tupelo
from tupelo_grid.config import GridConfig

from tests.chaos.asking import Rotation, Tally, Worker
from tests.chaos.objects import WORK, Caller, append, look
from tests.chaos.pulses import Pulses
from tests.chaos.quiet import read_often, write_seldom
from tests.chaos.registers import Registers
from tests.linearizability.history import Recorder

STORM_S: Final = 0.6
STORM_KEYS: Final = 8


@dataclass(frozen=True)
class Mix:
    """How much load.

    Attributes:
        groups: of clients that share a register at a time; `sharing` in each, and a reader.
        objects: of each sort of object, with `sharing` - 1 clients each, some with a reader.
        quiet: entries that are seldom written, each with a writer and a reader.
        pause_s: mean time between two calls of a client.
        hurry: share of calls with a deadline of about a second.
        pulse_s: mean time between two writes to a partition that only tell that it answers.
    """

    groups: int = 4
    sharing: int = 4
    objects: int = 2
    quiet: int = 8
    pause_s: float = 0.04
    hurry: float = 0.2
    pulse_s: float = 0.3


class Load:
    """Clients at work inside the block, until `finish`.

    Attributes:
        recorder: their history, in nanoseconds of one clock.
    """

    def __init__(self, address: str, config: GridConfig, seed: int, mix: Mix) -> None:
        self.recorder = Recorder(perf_counter_ns)
        self.tally = Tally()
        self._address = address
        self._partitions = config.partitions
        self._lease_s = config.lease_s
        self._seed = seed
        self._mix = mix
        self._stop = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._rotations: list[Rotation] = []
        self._storming: list[asyncio.Task[None]] = []
        self._storms = 0
        self.grids: list[tupelo.Grid] = []
        self.pulses: Pulses

    async def __aenter__(self) -> Self:
        for routing in ("smart", "smart", "router", "smart"):
            connecting = tupelo.connect(self._address, routing=routing)
            self.grids.append(await self._stack.enter_async_context(connecting))
        self.pulses = Pulses(self._worker("pulse"), self._partitions, self._mix.pulse_s)
        self._start(self.pulses.run())
        self._start_registers()
        self._start_objects()
        await self._start_quiet()
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._tasks, *self._storming]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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

    def storm(self) -> None:
        """Many appends under way at once, for a moment, and retries of those that a fault meets:
        were one of them carried out twice, its list would show it."""
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(STORM_S, stop.set)
        self._storms += 1
        for number in range(STORM_KEYS):
            rotation = Rotation(f"log-storm{self._storms}-{number}", 1_000_000, 1_000_000)
            self._rotations.append(rotation)
            for client in range(self._mix.sharing):
                worker = self._worker(f"storm{self._storms}.{number}.{client}", stop, 0.0)
                self._storming.append(asyncio.create_task(append(Caller(worker, rotation))))

    async def calm(self) -> None:
        """Until every call of the storms has ended. Raises what ended a client."""
        await asyncio.gather(*self._storming)
        self._storming.clear()

    async def finish(self) -> None:
        """No further calls; those under way end, within their deadlines."""
        self._stop.set()
        await self.calm()
        await asyncio.gather(*self._tasks)

    async def _start_quiet(self) -> None:
        for number in range(self._mix.quiet):
            connecting = tupelo.connect(self._address)
            alone = await self._stack.enter_async_context(connecting)
            rotation = Rotation(f"register-quiet{number}", calls_max=20)
            self._rotations.append(rotation)
            writer, reader = self._worker(f"quiet.{number}"), self._worker(f"alone.{number}")
            writer.grid, reader.grid = self.grids[2], alone
            self._start(write_seldom(writer, rotation, self._lease_s))
            self._start(read_often(reader, rotation))

    def _worker(
        self, name: str, stop: asyncio.Event | None = None, pause_s: float | None = None
    ) -> Worker:
        mix = self._mix
        # The first connection has the pulses, the last one readers; one client in six comes
        # through the router.
        place = 2 if len(self._tasks) % 6 == 5 else 1
        place = {"pulse": 0, "reader": 3}.get(name.partition(".")[0], place)
        return Worker(
            name,
            self.grids[place],
            f"{self._seed}/{name}",
            self.recorder,
            self.tally,
            stop or self._stop,
            mix.pause_s if pause_s is None else pause_s,
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
            reader = self._worker(f"reader.{group}")
            self._start(Registers(reader, own, rotations).run_reading())

    def _start_objects(self) -> None:
        for sort, work in WORK.items():
            for number in range(self._mix.objects):
                rotation = Rotation(f"{sort}-{number}")
                self._rotations.append(rotation)
                for client in range(self._mix.sharing - 1):
                    worker = self._worker(f"{sort}{number}.{client}")
                    self._start(work(Caller(worker, rotation)))
                if sort in ("counter", "bank"):
                    reader = self._worker(f"reader.{sort}{number}")
                    self._start(look(Caller(reader, rotation)))
