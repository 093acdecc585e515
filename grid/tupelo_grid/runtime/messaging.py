"""The messaging process: the router and Admin for clients, the data writer for units.

It holds no data and decides nothing: it may be killed and started again at any time. While the
control process is away it goes on with the last table it has seen; while units are away, or not
there yet, the router answers NOT_READY within the caller's deadline.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc.aio
from grpc_health.v1 import health_pb2
from tupelo.v1 import admin_pb2, admin_pb2_grpc, data_pb2_grpc, pump_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.coordinator.keeper import GridState, TableKeeper
from tupelo_grid.deployment.admin import SERVICE as ADMIN_SERVICE
from tupelo_grid.deployment.admin import GridAdmin
from tupelo_grid.deployment.letters import DeadLetters
from tupelo_grid.messaging.reader import SERVICE as READER_SERVICE
from tupelo_grid.messaging.reader import DataReader
from tupelo_grid.messaging.router import Router
from tupelo_grid.messaging.router_service import SERVICE as SPACE_SERVICE
from tupelo_grid.messaging.router_service import RouterServicer
from tupelo_grid.messaging.transport import make_nats_writer
from tupelo_grid.messaging.writer import SERVICE as WRITER_SERVICE
from tupelo_grid.messaging.writer import DataWriter, WriterStats
from tupelo_grid.runtime.following import Schemas, first_state
from tupelo_grid.runtime.process import Announce
from tupelo_grid.runtime.servers import make_checker, make_server, start_server
from tupelo_grid.store.factory import make_store

log = logging.getLogger(__name__)

SERVICES: Final = (SPACE_SERVICE, ADMIN_SERVICE, WRITER_SERVICE, READER_SERVICE)

# Answers that are ready get so long to leave after the last call has ended.
STOP_GRACE_S: Final = 0.2


async def run_messaging(
    config: GridConfig, name: str, stop: asyncio.Event, announce: Announce
) -> None:
    """Serves until `stop`; then finishes what is under way, within half of stop_timeout_s.

    Raises FatalStartError when the control process does not answer, the port is in use, or the
    store cannot be used.
    """
    async with AsyncExitStack() as stack:
        state_store = await stack.enter_async_context(
            RemoteStateStore(config.control_address, config)
        )
        keeper = await stack.enter_async_context(TableKeeper(state_store, config))
        state = await first_state(keeper, config)
        router = Router(config, keeper)
        stack.push_async_callback(router.close)
        schemas = Schemas(keeper)
        store = make_store(config, state.grid_id.hex())
        writer = await stack.enter_async_context(
            DataWriter(config, store, schemas.known, state.grid_id, schemas.fetch)
        )
        stats, on_their_way = writer.stats, None
        if config.pump_transport == "nats":
            mine = not config.writers
            nats = await stack.enter_async_context(
                make_nats_writer(config, writer, state.grid_id, name, takes_part=mine)
            )
            stats, on_their_way = nats.stats, nats.on_their_way
        admin = GridAdmin(
            config,
            state_store,
            pump_stats=lambda: pump_status(stats()),
            letters=DeadLetters(store, lambda: keeper.state.spaces, writer.counted),
        )
        stack.push_async_callback(admin.close)
        space = RouterServicer(config, router, keeper)
        stack.push_async_callback(space.close)
        server = make_server(config)
        reader = DataReader(
            store,
            lambda: keeper.state.spaces,
            lambda: keeper.state.partitions,
            state.grid_id,
            on_their_way,
        )
        _register(server, space, admin, writer)
        pump_pb2_grpc.add_DataReaderServicer_to_server(  # type: ignore[no-untyped-call]
            reader, server
        )
        health = _Health(keeper)
        host = config.host_of(name)
        port = await start_server(server, host, config.port, SERVICES, name, health.checker)
        # Pushed last, so done first: nothing above goes while calls are under way.
        stack.push_async_callback(_stop_serving, config, server, space, health)
        await stack.enter_async_context(health)
        announce({"address": f"{host}:{port}"})
        await stop.wait()


def _register(
    server: grpc.aio.Server, space: RouterServicer, admin: GridAdmin, writer: DataWriter
) -> None:
    data_pb2_grpc.add_SpaceServicer_to_server(space, server)  # type: ignore[no-untyped-call]
    admin_pb2_grpc.add_AdminServicer_to_server(admin, server)  # type: ignore[no-untyped-call]
    pump_pb2_grpc.add_DataWriterServicer_to_server(writer, server)  # type: ignore[no-untyped-call]


async def _stop_serving(
    config: GridConfig, server: grpc.aio.Server, space: RouterServicer, health: _Health
) -> None:
    """Accepts nothing new, lets what is under way end, and closes the connections."""
    grace_s = config.stop_timeout_s / 2
    await health.checker.enter_graceful_shutdown()
    stopping = asyncio.create_task(server.stop(grace_s))
    try:
        async with asyncio.timeout(grace_s):
            await space.drain()
    except TimeoutError:
        log.warning("calls under way did not end within %g s and are broken off", grace_s)
    # Units keep their pump streams open for good; they send again what got no answer.
    await server.stop(STOP_GRACE_S)
    await stopping


def pump_status(stats: WriterStats) -> admin_pb2.PumpStatus:
    """What the writer knows; lag is the units' to tell."""
    return admin_pb2.PumpStatus(
        dead_letters=stats.dead_letters,
        persisted_records=stats.persisted_records,
        store=stats.store,
        error=stats.error,
    )


class _Health:
    """Says SERVING for the Space service while every partition has a primary that holds a lease."""

    def __init__(self, keeper: TableKeeper) -> None:
        self.checker = make_checker()
        self._keeper = keeper
        self._changed = asyncio.Event()
        self._changed.set()

    async def __aenter__(self) -> _Health:
        self._end = self._keeper.subscribe(lambda _: self._changed.set())
        self._task = asyncio.create_task(self._follow(), name="health")
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._end()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _follow(self) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        while True:
            await self._changed.wait()
            self._changed.clear()
            status = serving if all_have_primaries(self._keeper.state) else not_serving
            await self.checker.set(SPACE_SERVICE, status)


def all_have_primaries(state: GridState) -> bool:
    """Whether every partition has a primary with an address and an unfenced lease."""
    if not state.partitions:
        return False
    live = {name for name, lease in state.leases.items() if not lease.fenced and lease.address}
    parts = state.table.parts
    return all(
        number in parts and parts[number].config.primary in live
        for number in range(state.partitions)
    )
