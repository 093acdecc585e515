"""The router's side of the SDK's routing: its table comes from the state store, not from seeds."""

from __future__ import annotations

import asyncio
import logging
import time

from tupelo._async.connection import ASK_AGAIN, UnitConnection
from tupelo._async.routes import NO_DEADLINE, RouteKeeper
from tupelo.config import ClientConfig
from tupelo.errors import ConnectionLost
from tupelo.routing import RouteTable

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState, TableKeeper
from tupelo_grid.coordinator.port import StoreError
from tupelo_grid.transport.route import RouteCache

log = logging.getLogger(__name__)


def client_config(config: GridConfig) -> ClientConfig:
    """How the SDK's connections are set up inside a router.

    Two frames in flight to a unit: the clients of a router are many, and none of them should wait
    for the acknowledgements of all others.
    """
    return ClientConfig(
        timeout_s=config.request_timeout_s,
        route_timeout_s=config.rpc_timeout_s,
        frames_in_flight=2,
        message_bytes_max=config.message_bytes_max,
        frame_bytes_max=config.message_bytes_max // 4,
        queue_batches_max=config.router_unit_frames_max,
        keepalive_s=config.keepalive_s,
        keepalive_timeout_s=config.keepalive_timeout_s,
    )


class RouterRoutes(RouteKeeper):
    """A RouteKeeper that reads the state store where another asks seeds.

    Newer tables that units send with their answers are taken all the same.
    """

    def __init__(self, keeper: TableKeeper, cache: RouteCache, config: GridConfig) -> None:
        super().__init__((config.messaging_address,), client_config(config))
        self._keeper = keeper
        self._cache = cache
        self._reading = asyncio.Lock()
        self._read_at = 0.0
        self._take(keeper.state)
        keeper.subscribe(self._take)

    def _take(self, state: GridState) -> None:
        if state.partitions:
            self.offer(self._cache.response(), seed=True)

    @property
    def known(self) -> RouteTable | None:
        """None until there is a grid."""
        return self._table

    def unit_at(self, address: str) -> str:
        """For messages: the unit that listens there, with its address."""
        for lease in self._keeper.state.leases.values():
            if lease.address == address:
                return f"{lease.unit} ({address})"
        return address

    async def refresh(self, deadline: float = NO_DEADLINE) -> bool:
        """Reads the state store, at most once in `route_interval_s`; False while it is away. What
        reads it has a deadline of its own."""
        asked_at = self._read_at
        async with self._reading:
            if self._read_at != asked_at:
                return True
            pause_s = asked_at + self.config.route_interval_s - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            try:
                await self._keeper.refresh()
            except StoreError as error:
                self.last_error = str(error)
                return False
            finally:
                self._read_at = time.monotonic()
            return True


class UnitConnections:
    """One multiplexed connection to each unit, made when it is first needed.

    A unit that is primary of nothing any more is let go: what it has not answered after a part of
    `stall_s` gets an unknown outcome, and is tried again elsewhere with its own token.
    """

    def __init__(self, routes: RouterRoutes) -> None:
        self._routes = routes
        self._open: dict[str, UnitConnection] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        routes.on_change.append(self._follow)

    def to(self, address: str) -> UnitConnection:
        """Raises ConnectionLost once closed."""
        connection = self._open.get(address)
        if connection is None:
            if self._closed:
                raise ConnectionLost("the router has stopped")
            connection = UnitConnection(address, self._routes.config, self._routes)
            self._open[address] = connection
        return connection

    def _follow(self, table: RouteTable) -> None:
        for address in set(self._open).difference(table.addresses):
            task = asyncio.create_task(self._retire(address, self._open.pop(address)))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _retire(self, address: str, connection: UnitConnection) -> None:
        try:
            async with asyncio.timeout(self._routes.config.stall_s * ASK_AGAIN):
                await connection.drain()
        except TimeoutError:
            log.info("%s has moved and does not answer: its calls are sent elsewhere", address)
        await connection.close()
        if address not in self._open:
            await self._routes.drop_channel(address)

    async def close(self) -> None:
        """What is unanswered gets an unknown outcome."""
        self._closed = True
        if self._ending:
            await asyncio.wait(self._ending)
        connections, self._open = self._open, {}
        for connection in connections.values():
            await connection.close()
