"""An event loop on a thread of its own.

Making rows of MessagePack, and encoding them for the database, takes milliseconds a transaction.
On the loop that serves calls every one of them would wait for that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class LoopThread:
    def __init__(self, name: str) -> None:
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._pending: set[Future[Any]] = set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What `work` returns or raises. It goes on when the caller is cancelled: a transaction
        that began is not broken off."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return await asyncio.shield(asyncio.wrap_future(future))

    async def close(self) -> None:
        """Waits for what is under way; nothing may be run any more."""
        if waiting := [asyncio.wrap_future(future) for future in self._pending]:
            await asyncio.wait(waiting)
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
