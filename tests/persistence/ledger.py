"""A load whose every effect is known: who writes a key is alone with it, and remembers."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import tupelo
from tupelo.errors import OutcomeUnknown, TupeloError

from tests.pause import pause

KEYS_A_TASK = 40
ABSENT: Any = object()


@dataclass(slots=True)
class Known:
    """What must be there. `values`: of puts, by key, ABSENT where it was deleted; `versions`: of
    those writes. `bumps`: acknowledged ones by account; `doubtful`: those nobody knows of."""

    values: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    bumps: dict[int, int] = field(default_factory=dict)
    doubtful: dict[int, int] = field(default_factory=dict)
    writes: int = 0
    acknowledged: int = 0
    unknown: int = 0
    refused: int = 0
    slowest_s: float = 0.0


class Ledger:
    """Tasks that put, delete and call until `finish`. Every key ends on an acknowledged write."""

    def __init__(self, address: str, tasks: int, pause_s: float, timeout_s: float) -> None:
        self._address = address
        self._tasks = tasks
        self._pause_s = pause_s
        self._timeout_s = timeout_s
        self._stop = False
        self._running: list[asyncio.Task[None]] = []
        self._goal = 0
        self._reached = asyncio.Event()
        self._chances = [random.Random(task) for task in range(tasks)]
        self._numbers = [0] * tasks
        self.known = Known()

    async def __aenter__(self) -> Self:
        self.grid = await tupelo.connect(self._address).__aenter__()
        self.carts = self.grid.space("carts")
        self.begin()
        return self

    def begin(self) -> None:
        """All tasks, again after `finish`."""
        self._stop = False
        self._running = [asyncio.create_task(self._work(number)) for number in range(self._tasks)]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.finish()
        await self.grid.__aexit__(kind, error, trace)

    def stop(self) -> None:
        """No task begins anything more."""
        self._stop = True

    async def finish(self, timeout_s: float = 120.0) -> None:
        """What is under way ends first."""
        self.stop()
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*self._running)
        self._running = []

    async def reach(self, acknowledged: int, timeout_s: float = 60.0) -> None:
        self._goal = acknowledged
        self._reached.clear()
        async with asyncio.timeout(timeout_s):
            if self.known.acknowledged < acknowledged:
                await self._reached.wait()

    async def _work(self, task: int) -> None:
        chance = self._chances[task]
        while not self._stop:
            self._numbers[task] += 1
            number = self._numbers[task]
            key = f"{task}/{chance.randrange(KEYS_A_TASK)}"
            kind = chance.random()
            if kind < 0.2:
                await self._bump(task * KEYS_A_TASK + chance.randrange(KEYS_A_TASK), number)
            elif kind < 0.4:
                await self._settle(key, ABSENT)
            else:
                await self._settle(key, {"task": task, "number": number, "pad": "x" * 60})
            await pause(self._pause_s)

    async def _settle(self, key: str, value: Any) -> None:
        """Repeats until it is acknowledged, so that the key's state is certain."""
        known = self.known
        while True:
            known.writes += 1
            started = time.monotonic()
            try:
                if value is ABSENT:
                    written = await self.carts.delete(key, timeout_s=self._timeout_s)
                else:
                    written = await self.carts.put(key, value, timeout_s=self._timeout_s)
            except OutcomeUnknown:
                known.unknown += 1
                continue
            except TupeloError:
                known.refused += 1
                continue
            known.slowest_s = max(known.slowest_s, time.monotonic() - started)
            self._acknowledge()
            known.values[key] = value
            if written is not None:
                known.versions[key] = written.version
            return

    def _acknowledge(self) -> None:
        self.known.acknowledged += 1
        if self.known.acknowledged >= self._goal:
            self._reached.set()

    async def _bump(self, number: int, operation: int) -> None:
        known = self.known
        known.writes += 1
        try:
            await self.grid.call_with(
                "ledger.bump",
                {"number": number, "operation": str(operation)},
                timeout_s=self._timeout_s,
            )
        except OutcomeUnknown:
            known.unknown += 1
            known.doubtful[number] = known.doubtful.get(number, 0) + 1
        except TupeloError:
            known.refused += 1
        else:
            self._acknowledge()
            known.bumps[number] = known.bumps.get(number, 0) + 1
