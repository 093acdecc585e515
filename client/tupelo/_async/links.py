"""The Near streams of a client: one task a unit, which follows it for as long as it is a primary.

Written by hand on either side; `tupelo._sync.links` has a thread where this has a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Any, Final

import grpc
import grpc.aio

from tupelo._async.routes import RouteKeeper
from tupelo._async.runtime import Guard
from tupelo.batch import GarbledAnswer
from tupelo.config import ClientConfig
from tupelo.following import Follower, Link
from tupelo.retry import backoff_s
from tupelo.transport import space_stub
from tupelo.v1.data_pb2 import NearRequest

EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]

# What a stream fails with: its unit, the channel that was closed under it, or what the unit sent.
_BROKEN: Final = (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError, GarbledAnswer)


class Links:
    """Keeps one stream to each unit that is somebody's primary.

    Args:
        follower: is told what the streams tell, and when they end. `guard` is not needed here.
    """

    def __init__(
        self, routes: RouteKeeper, config: ClientConfig, follower: Follower, guard: Guard
    ) -> None:
        self._routes = routes
        self._config = config
        self._follower = follower
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def follow(self, addresses: Iterable[str]) -> None:
        """These are the units from now on."""
        wanted = set(addresses)
        for address in self._tasks.keys() - wanted:
            self._end(self._tasks.pop(address))
        for address in wanted - self._tasks.keys():
            task = asyncio.get_running_loop().create_task(
                self._run(address), name=f"tupelo-near-{address}"
            )
            self._tasks[address] = task

    def restart(self) -> None:
        """All streams anew, for the spaces there are now."""
        addresses = list(self._tasks)
        self.follow(())
        self.follow(addresses)

    async def close(self) -> None:
        self.follow(())
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _run(self, address: str) -> None:
        config, failures, me = self._config, 0, asyncio.current_task()
        # A stream that ends in the moment in which we are cancelled raises its own error, and what
        # cancelled us is only to be seen in the task.
        while me is None or not me.cancelling():
            began = time.monotonic()
            # A stream that breaks says nothing but that its partitions are not followed any more,
            # which `_follow` has noted; what is wrong with the unit is found out by calls to it.
            with contextlib.suppress(*_BROKEN):
                await self._follow(address)
            if time.monotonic() - began > config.backoff_max_s:
                failures = 0
            pause_s = backoff_s(
                failures, config.backoff_base_s, config.backoff_max_s, self._routes.chance()
            )
            failures += 1
            await asyncio.sleep(pause_s)

    async def _follow(self, address: str) -> None:
        """One stream, until it ends."""
        follower = self._follower
        stream = space_stub(self._routes.channel(address)).Near()
        link = follower.opened()
        pings: asyncio.Task[None] | None = None
        try:
            first = NearRequest(
                grid_id=self._routes.table.grid_id,
                spaces=link.spaces,
                ping=follower.ping(link, time.monotonic()),
            )
            await stream.write(first)
            pings = asyncio.get_running_loop().create_task(self._ping(stream, link))
            while (frame := await stream.read()) is not EOF:
                follower.frame(link, frame)
        finally:
            follower.closed(link)
            if pings is not None:
                pings.cancel()
            stream.cancel()

    async def _ping(self, stream: Any, link: Link) -> None:
        with contextlib.suppress(*_BROKEN):  # the reader of the stream sees it end too
            while True:
                await asyncio.sleep(self._config.near_heartbeat_s)
                ping = self._follower.ping(link, time.monotonic())
                await stream.write(NearRequest(ping=ping))
