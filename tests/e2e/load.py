"""Writers that never stop, and remember what was acknowledged."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

import tupelo

PAUSE_S = 0.02
"""Between two writes of a task: enough load to notice a gap, and CPU left for the other tests."""


class Load:
    """Tasks that write and read back through one client, until the block is left.

    Attributes:
        acknowledged: value by key, for every put that was answered.
        errors: what calls raised.
        pause_s: the longest time without any acknowledged write.
    """

    def __init__(
        self, address: str, space: str = "carts", tasks: int = 32, timeout_s: float = 10.0
    ) -> None:
        self._address = address
        self._space = space
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._stop = False
        self._running: list[asyncio.Task[None]] = []
        self._last_s = 0.0
        self._goal = 0
        self._reached = asyncio.Event()
        self.acknowledged: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self.pause_s = 0.0

    async def __aenter__(self) -> Self:
        self.grid = await tupelo.connect(self._address).__aenter__()
        self.space = self.grid.space(self._space)
        self._last_s = time.monotonic()
        self._running = [asyncio.create_task(self._write(n)) for n in range(self._tasks)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.finish()
        await self.grid.__aexit__(kind, error, traceback)

    async def more(self, writes: int, timeout_s: float = 15.0) -> None:
        """Until so many more writes have been acknowledged."""
        self._goal = len(self.acknowledged) + writes
        self._reached.clear()
        async with asyncio.timeout(timeout_s):
            await self._reached.wait()

    async def finish(self) -> None:
        """Lets calls under way end."""
        self._stop = True
        await asyncio.gather(*self._running)

    async def missing(self) -> dict[str, tuple[int, object]]:
        """Acknowledged entries that are not there, or not as written: key -> (written, found)."""
        found = await self.space.get_many(self.acknowledged)
        return {
            key: (value, found.get(key))
            for key, value in self.acknowledged.items()
            if found.get(key) != value
        }

    async def _write(self, task: int) -> None:
        number = 0
        while not self._stop:
            number += 1
            key = f"{task}/{number}"
            try:
                await self.space.put(key, number, timeout_s=self._timeout_s)
            except tupelo.errors.TupeloError as error:
                self.errors.append(error)
                continue
            now = time.monotonic()
            self.pause_s = max(self.pause_s, now - self._last_s)
            self._last_s = now
            self.acknowledged[key] = number
            if len(self.acknowledged) >= self._goal:
                self._reached.set()
            await asyncio.sleep(PAUSE_S)
