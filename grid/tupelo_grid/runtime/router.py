"""A router process: one more door to the whole grid, beside that of the messaging process.

It holds nothing and knows nothing that the others do not, so any number may stand behind a balancer
and each may die at any time: a client that repeats its call through another, with its token, gets
the first answer, and page tokens go on anywhere.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.deployment.admin import GridAdmin
from tupelo_grid.runtime.following import first_state
from tupelo_grid.runtime.front import serve_front
from tupelo_grid.runtime.process import Announce


async def run_router(
    config: GridConfig, name: str, stop: asyncio.Event, announce: Announce
) -> None:
    """`name`: "router-1" listens on the first of the routers' ports, and so on.

    Raises FatalStartError when the control process does not answer, or the port is in use.
    """
    async with AsyncExitStack() as stack:
        control = config.way(name, "control", config.control_address)
        state_store = await stack.enter_async_context(RemoteStateStore(control, config))
        keeper = await stack.enter_async_context(TableKeeper(state_store, config))
        await first_state(keeper, config)
        admin = GridAdmin(config, state_store)
        stack.push_async_callback(admin.close)
        port = config.router_port_of(name)
        address = await serve_front(stack, config, name, port, keeper, admin)
        announce({"address": address})
        await stop.wait()
