"""Waiting for a replica, shared by all writes that wait at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Fence:
    """Redis answers a write before its replica has it; `WAIT 1` waits for that, and holds its own
    connection up meanwhile. Replication is one ordered stream, so one write and one WAIT on a
    connection of their own cover every write that was answered before they were sent.

    So each put is answered after a WAIT that was sent after its SET was answered, and all puts that
    wait at that moment share one: as cheap as it can be had.
    """

    def __init__(self, pass_once: Callable[[], Awaitable[None]]) -> None:
        """`pass_once`: writes something and waits until a replica has it."""
        self._pass_once = pass_once
        self._next: asyncio.Future[None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def passed(self) -> None:
        """Until a replica has what was answered before this call."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        waiting = self._next
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await waiting

    async def _run(self) -> None:
        while self._next is not None:
            done, self._next = self._next, None
            try:
                await self._pass_once()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)
        self._running = None
