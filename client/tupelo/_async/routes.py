"""Keeps the partition table new: one request at a time, to whoever answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import grpc

from tupelo._async import runtime
from tupelo.config import ClientConfig
from tupelo.errors import ConnectionLost
from tupelo.routing import RouteTable, merged, table_of
from tupelo.transport import describe, space_stub
from tupelo.v1.data_pb2 import RouteRequest, RouteResponse

# By the monotonic clock: later than any machine has run. For those who wait as long as it takes.
NO_DEADLINE: Final = 1e9


class RouteKeeper:
    """The newest partition table that anybody told this client, and the channels to ask for more.

    Args:
        seeds: "host:port" of routers or units; asked first, in this order.
        config: limits and pauses.

    The functions in `on_change` are called with every newer table, and when `router` (the seed that
    answered last) changes.
    """

    def __init__(self, seeds: Sequence[str], config: ClientConfig) -> None:
        self.seeds = tuple(seeds)
        self.config = config
        self.on_change: list[Callable[[RouteTable], None]] = []
        self.last_error = ""
        self.router = self.seeds[0]
        self._table: RouteTable | None = None
        self._channels: dict[str, runtime.Channel] = {}
        self._lock = runtime.Lock()
        self._guard = runtime.guard()
        self._asked_at = 0.0
        # The grid's time when it was last told, and our own monotonic one then.
        self._told = (0, 0.0)
        self._background = runtime.Background()
        self._home: runtime.Home = None

    def check_home(self) -> None:
        """Raises RequestError where the client may not be used from here."""
        runtime.check_home(self._home)

    @property
    def table(self) -> RouteTable:
        """Raises ConnectionLost before the first table has come."""
        if self._table is None:
            raise ConnectionLost(f"no partition table yet from {', '.join(self.seeds)}")
        return self._table

    def channel(self, address: str) -> runtime.Channel:
        """The channel to an address, made when first asked for."""
        with self._guard:
            channel = self._channels.get(address)
            if channel is None:
                channel = runtime.open_channel(address, self.config)
                self._channels[address] = channel
            return channel

    async def drop_channel(self, address: str) -> None:
        channel = self._channels.pop(address, None)
        if channel is not None:
            await runtime.close_channel(channel)

    def chance(self) -> float:
        return runtime.chance()

    def wall_ms(self) -> int:
        """Unix time by the grid's clocks, at most; by ours where it has not been told.

        Sessions are dated by it: a grid that was loaded from its store refuses those that were made
        before, and a clock that is ahead of the grid's would make ours seem to come after.
        """
        told_ms, at = self._told
        if not told_ms:
            return runtime.wall_ms()
        return told_ms + int((runtime.monotonic() - at) * 1000)

    def offer(self, response: RouteResponse, *, seed: bool = False) -> bool:
        """Takes a table that came along with an answer. True when it changed what is known."""
        table = table_of(response)
        if table is None:
            return False
        with self._guard:
            known = self._table
            newest = merged(known, table, replace=seed)
            if newest is known:
                return False
            self._table = newest
            self._tell(newest)
            return True

    def _tell(self, table: RouteTable) -> None:
        for changed in self.on_change:
            changed(table)

    def refresh_soon(self) -> None:
        """`refresh` without waiting for it."""
        self._background.start(self.refresh)

    async def refresh(self, deadline: float = NO_DEADLINE) -> bool:
        """Asks seeds and known units for the table until one answers; False when none does, or the
        time is over.

        Callers at the same time share one round, and rounds keep `route_interval_s` apart: a call
        right after another round returns at once.

        Args:
            deadline: when the caller gives up, by `runtime.monotonic`.
        """
        self.check_home()
        asked_at = self._asked_at
        if not await runtime.acquired(self._lock, deadline - runtime.monotonic()):
            return False
        try:
            if self._asked_at != asked_at:
                return True
            now = runtime.monotonic()
            pause_s = asked_at + self.config.route_interval_s - now
            if asked_at and pause_s > 0:
                await runtime.sleep(max(0.0, min(pause_s, deadline - now)))
            answered = await self._ask_around(deadline)
            if answered or runtime.monotonic() < deadline:
                # Who had no time to ask all has not asked for the others.
                self._asked_at = runtime.monotonic()
            return answered
        finally:
            self._lock.release()

    async def _ask_around(self, deadline: float) -> bool:
        known = self._table.units() if self._table else []
        for address in dict.fromkeys((self.router, *self.seeds, *known)):
            seed = address in self.seeds
            left_s = deadline - runtime.monotonic()
            if left_s <= 0:
                return False
            try:
                response = await self._ask(address, min(left_s, self.config.route_timeout_s))
            except (grpc.RpcError, ConnectionLost) as error:
                self.last_error = f"{address}: {describe(error)}"
                continue
            self.offer(response, seed=seed)
            if self._table is None:
                self.last_error = f"{address}: it has no partition table yet"
                continue
            if seed and self.router != address:
                with self._guard:
                    self.router = address
                    self._tell(self._table)
            return True
        return False

    async def _ask(self, address: str, timeout_s: float) -> RouteResponse:
        stub = space_stub(self.channel(address))
        response: RouteResponse = await runtime.answered(
            stub.Route(RouteRequest(), timeout=timeout_s)
        )
        if response.time_ms:
            self._told = (response.time_ms, runtime.monotonic())
        return response

    async def first(self) -> RouteTable:
        """Asks until there is a table. Raises ConnectionLost after `connect_timeout_s`."""
        self._home = runtime.home()
        deadline = runtime.monotonic() + self.config.connect_timeout_s
        while not await self.refresh() or self._table is None:
            if runtime.monotonic() >= deadline:
                raise ConnectionLost(
                    f"no grid answered at {', '.join(self.seeds)} within "
                    f"{self.config.connect_timeout_s:g} s ({self.last_error}); is it running?"
                )
            await runtime.sleep(self.config.route_interval_s)
        return self._table

    async def close(self) -> None:
        await self._background.close()
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await runtime.close_channel(channel)
