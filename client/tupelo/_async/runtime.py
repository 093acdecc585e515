"""The few things of the event loop that the shared source of both clients uses.

`tupelo._sync.runtime` has the same names with threads behind them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar

import grpc.aio

from tupelo.codec import SpaceCodec
from tupelo.config import ClientConfig
from tupelo.errors import ConnectionLost, RequestError
from tupelo.session import SESSION_RANDOM_BITS, session_id
from tupelo.transport import channel_options
from tupelo.v1.data_pb2 import BatchResult

OTHER_LOOP: Final = (
    "this client belongs to another event loop: connect within the loop (each asyncio.run makes a "
    "new one), or use tupelo.sync.connect, which works from any thread"
)

Lock = asyncio.Lock
Cancelled = asyncio.CancelledError
Channel = grpc.aio.Channel
Pending = asyncio.Future[list[BatchResult]]
Home = asyncio.AbstractEventLoop | None
Guard = AbstractContextManager[object]
Answer = TypeVar("Answer")
CodecLoader = Callable[[], Awaitable[SpaceCodec]]

# Guards the numbering of operations; one event loop needs no lock.
guard: Callable[[], Guard] = nullcontext

sleep = asyncio.sleep
monotonic = time.monotonic
chance = random.random


def open_channel(address: str, config: ClientConfig) -> Channel:
    return grpc.aio.insecure_channel(address, options=channel_options(config))


async def close_channel(channel: Channel) -> None:
    await channel.close(None)


async def acquired(lock: Lock, timeout_s: float) -> bool:
    """Whether the lock became the caller's in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await lock.acquire()
    except TimeoutError:
        return False


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def new_session_id(unix_ms: int) -> int:
    return session_id(unix_ms, random.getrandbits(SESSION_RANDOM_BITS))


async def answered(call: Awaitable[Answer]) -> Answer:
    """The answer of a unary call. A channel that is closed cancels its calls, and so whoever waits
    for one, though nobody meant to cancel that: it is told ConnectionLost instead."""
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionLost("the connection was closed") from None


async def wait(pending: Pending) -> list[BatchResult]:
    return await pending


def home() -> Home:
    """The loop that a client is opened on, and belongs to."""
    return asyncio.get_running_loop()


def check_home(loop: Home) -> None:
    """Raises RequestError on another loop than the client's own."""
    if loop is not None and asyncio.get_running_loop() is not loop:
        raise RequestError(OTHER_LOOP)


class News:
    """Something that some wait for, each for as long as it wants to."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Until it is told, or the time is over."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiting.discard(waiter)


class Turns:
    """Spreads the making of large calls over turns of the loop: the first ones are on their way
    while the next are being made, and other tasks are not held up by all of them.

    Args:
        items_max: made in one turn, unless one call has more.
    """

    def __init__(self, items_max: int) -> None:
        self._items_max = items_max
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._due = False

    async def take(self, items: int) -> None:
        """Returns in a turn that has room for a call of so many items; first come, first served."""
        if not self._waiting and self._has_room(items):
            self._taken += items
            self._schedule()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, turn))
        try:
            await turn
        finally:
            self._schedule()

    def _has_room(self, items: int) -> bool:
        return not self._taken or self._taken + items <= self._items_max

    def _schedule(self) -> None:
        """By those whose turn it is, so that what they send is on its way before the next begin."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._due, self._taken = False, 0
        while self._waiting and self._has_room(self._waiting[0][0]):
            items, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += items
                turn.set_result(None)


class Background:
    """Runs one coroutine function at a time beside its owner; a start while it runs is ignored."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None

    def start(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
