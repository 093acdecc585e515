"""The Near streams of a client: one thread a unit, which follows it for as long as it is a primary.

Written by hand on either side; `tupelo._async.links` has a task where this has a thread. gRPC adds
another one that sends the pings. Under gevent all of them are greenlets.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import grpc

from tupelo._sync.routes import RouteKeeper
from tupelo._sync.runtime import Guard
from tupelo.batch import GarbledAnswer
from tupelo.config import ClientConfig
from tupelo.following import Follower, Link
from tupelo.retry import backoff_s
from tupelo.transport import space_stub
from tupelo.v1.data_pb2 import NearRequest

# What a stream fails with: its unit, the channel that was closed under it (ValueError), or what the
# unit sent.
_BROKEN: Final = (grpc.RpcError, ValueError, GarbledAnswer)


class Links:
    """Keeps one stream to each unit that is somebody's primary.

    Args:
        follower: is told what the streams tell, and when they end, under `guard`.
    """

    def __init__(
        self, routes: RouteKeeper, config: ClientConfig, follower: Follower, guard: Guard
    ) -> None:
        self._routes = routes
        self._config = config
        self._follower = follower
        self._guard = guard
        self._streams: dict[str, _Stream] = {}

    def follow(self, addresses: Iterable[str]) -> None:
        """These are the units from now on."""
        wanted = set(addresses)
        for address in self._streams.keys() - wanted:
            self._streams.pop(address).stop()
        for address in wanted - self._streams.keys():
            self._streams[address] = _Stream(
                address, self._routes, self._config, self._follower, self._guard
            )

    def restart(self) -> None:
        """All streams anew, for the spaces there are now."""
        addresses = list(self._streams)
        self.follow(())
        self.follow(addresses)

    def close(self) -> None:
        self.follow(())


class _Stream:
    def __init__(
        self,
        address: str,
        routes: RouteKeeper,
        config: ClientConfig,
        follower: Follower,
        guard: Guard,
    ) -> None:
        self._address = address
        self._routes = routes
        self._config = config
        self._follower = follower
        self._guard = guard
        self._stopped = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(
            target=self._run, name=f"tupelo-near-{address}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """The stream ends soon; it tells nothing any more from here on."""
        self._stopped.set()
        call = self._call
        if call is not None:
            call.cancel()

    def _run(self) -> None:
        config, failures = self._config, 0
        while not self._stopped.is_set():
            began = time.monotonic()
            # A stream that breaks says nothing but that its partitions are not followed any more,
            # which `_follow` has noted; what is wrong with the unit is found out by calls to it.
            with contextlib.suppress(*_BROKEN):
                self._follow()
            if time.monotonic() - began > config.backoff_max_s:
                failures = 0
            pause_s = backoff_s(
                failures, config.backoff_base_s, config.backoff_max_s, self._routes.chance()
            )
            failures += 1
            self._stopped.wait(pause_s)

    def _follow(self) -> None:
        """One stream, until it ends."""
        with self._guard:
            link = self._follower.opened()
        try:
            stub = space_stub(self._routes.channel(self._address))
            self._call = stub.Near(self._requests(link))
            for frame in self._call:
                with self._guard:
                    if self._stopped.is_set():
                        return
                    self._follower.frame(link, frame)
        finally:
            with self._guard:
                self._follower.closed(link)
            if self._call is not None:
                self._call.cancel()

    def _requests(self, link: Link) -> Iterator[NearRequest]:
        """The pings; gRPC takes them in a thread of its own."""
        yield NearRequest(
            grid_id=self._routes.table.grid_id, spaces=link.spaces, ping=self._ping(link)
        )
        while not self._stopped.wait(self._config.near_heartbeat_s):
            yield NearRequest(ping=self._ping(link))

    def _ping(self, link: Link) -> int:
        with self._guard:
            return self._follower.ping(link, time.monotonic())
