"""The messaging process: the router and Admin for clients, the data writer for units.

It holds no data and decides nothing: it may be killed and started again at any time. While the
control process is away it goes on with the last table it has seen; while units are away, or not
there yet, the router answers NOT_READY within the caller's deadline.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
from tupelo.v1 import admin_pb2, pump_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.deployment.admin import GridAdmin
from tupelo_grid.deployment.letters import DeadLetters
from tupelo_grid.deployment.refreshing import GridRefresh
from tupelo_grid.messaging.reader import SERVICE as READER_SERVICE
from tupelo_grid.messaging.reader import DataReader
from tupelo_grid.messaging.transport import make_nats_writer
from tupelo_grid.messaging.writer import SERVICE as WRITER_SERVICE
from tupelo_grid.messaging.writer import DataWriter, WriterStats
from tupelo_grid.runtime.following import Schemas, first_state
from tupelo_grid.runtime.front import serve_front
from tupelo_grid.runtime.process import Announce
from tupelo_grid.store.factory import make_store


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
            refresh=GridRefresh(config, lambda: keeper.state),
        )
        stack.push_async_callback(admin.close)
        reader = DataReader(
            store,
            lambda: keeper.state.spaces,
            lambda: keeper.state.partitions,
            state.grid_id,
            # One connection is left for those who want single rows.
            config.store_read_connections_max - 1,
            on_their_way,
            keeper.refresh,
        )

        def register(server: grpc.aio.Server) -> None:
            add_writer: Any = pump_pb2_grpc.add_DataWriterServicer_to_server
            add_reader: Any = pump_pb2_grpc.add_DataReaderServicer_to_server
            add_writer(writer, server)
            add_reader(reader, server)

        more = (WRITER_SERVICE, READER_SERVICE)
        address = await serve_front(stack, config, name, config.port, keeper, admin, more, register)
        announce({"address": address})
        await stop.wait()


def pump_status(stats: WriterStats) -> admin_pb2.PumpStatus:
    """What the writer knows; lag is the units' to tell."""
    return admin_pb2.PumpStatus(
        dead_letters=stats.dead_letters,
        persisted_records=stats.persisted_records,
        store=stats.store,
        error=stats.error,
    )
