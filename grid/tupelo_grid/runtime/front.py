"""The part that routers and the messaging process have in common: a router behind a gRPC server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import grpc.aio
from tupelo.v1 import admin_pb2_grpc, data_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.deployment.admin import SERVICE as ADMIN_SERVICE
from tupelo_grid.deployment.admin import GridAdmin
from tupelo_grid.messaging.router import Router
from tupelo_grid.messaging.router_health import RouterHealth
from tupelo_grid.messaging.router_service import SERVICE as SPACE_SERVICE
from tupelo_grid.messaging.router_service import RouterServicer
from tupelo_grid.runtime.servers import make_server, start_server

log = logging.getLogger(__name__)

# Answers that are ready get so long to leave after the last call has ended.
STOP_GRACE_S: Final = 0.2


async def serve_front(
    stack: AsyncExitStack,
    config: GridConfig,
    name: str,
    port: int,
    keeper: TableKeeper,
    admin: GridAdmin,
    more: Sequence[str] = (),
    register: Callable[[grpc.aio.Server], None] = lambda server: None,
) -> str:
    """Serves Space, Admin, health, reflection, and what `register` adds; returns the address.

    Stops when `stack` is left: takes nothing new, and finishes what is under way within half of
    stop_timeout_s. `more`: full names of the services that `register` adds. Raises FatalStartError
    when the port cannot be had.
    """
    router = Router(config, keeper)
    stack.push_async_callback(router.close)
    space = RouterServicer(config, router, keeper)
    stack.push_async_callback(space.close)
    server = make_server(config)
    data_pb2_grpc.add_SpaceServicer_to_server(space, server)  # type: ignore[no-untyped-call]
    admin_pb2_grpc.add_AdminServicer_to_server(admin, server)  # type: ignore[no-untyped-call]
    register(server)
    health = RouterHealth(config, keeper, router.routes)
    host = config.host_of(name)
    services = (SPACE_SERVICE, ADMIN_SERVICE, *more)
    bound = await start_server(server, host, port, services, name, health.checker)
    # Pushed after what it needs, so done before: nothing above goes while calls are under way.
    stack.push_async_callback(_stop_serving, config, server, space, health)
    await stack.enter_async_context(health)
    return f"{host}:{bound}"


async def _stop_serving(
    config: GridConfig, server: grpc.aio.Server, space: RouterServicer, health: RouterHealth
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
