"""A data-writer process: takes its share of the grid's NATS stream to the store.

Any number of them may run, die and start again at any time; see messaging/nats_writer.py. It holds
nothing: what it had taken and not stored, the others read again.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import grpc.aio

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.messaging.transport import make_nats_writer
from tupelo_grid.messaging.writer import DataWriter
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.following import Schemas, first_state
from tupelo_grid.runtime.process import Announce
from tupelo_grid.runtime.servers import open_server
from tupelo_grid.store.factory import make_store

SERVICES: Final[tuple[str, ...]] = ()
"""Only health and reflection: it is reached by NATS."""


async def run_writer(
    config: GridConfig, name: str, stop: asyncio.Event, announce: Announce
) -> None:
    """Works until `stop`; a transaction under way is finished.

    Raises FatalStartError when the control process does not answer, or the store or the settings
    of NATS cannot be used.
    """
    if config.pump_transport != "nats":
        raise FatalStartError(
            "data writers of their own need pump_transport=nats",
            "without NATS the messaging process is the data writer",
        )

    def register(server: grpc.aio.Server) -> None:
        """Nothing of its own."""

    async with AsyncExitStack() as stack:
        control = config.way(name, "control", config.control_address)
        state_store = await stack.enter_async_context(RemoteStateStore(control, config))
        keeper = await stack.enter_async_context(TableKeeper(state_store, config))
        state = await first_state(keeper, config)
        schemas = Schemas(keeper)
        store = make_store(config, state.grid_id.hex())
        writer = await stack.enter_async_context(
            DataWriter(config, store, schemas.known, state.grid_id, schemas.fetch)
        )
        await stack.enter_async_context(
            make_nats_writer(config, writer, state.grid_id, name, takes_part=True)
        )
        _, port = await stack.enter_async_context(
            open_server(config, config.host_of(name), 0, name, SERVICES, register)
        )
        announce({"address": f"{config.host_of(name)}:{port}"})
        await stop.wait()
