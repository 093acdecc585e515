"""One way to make a gRPC server or channel, so that no process forgets an option.

async with open_server(config, "127.0.0.1", 0, "unit-1", [SPACE], register) as (server, port): ...
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.errors import FatalStartError

log = logging.getLogger(__name__)

ChannelOptions = list[tuple[str, Any]]


def channel_options(config: GridConfig) -> ChannelOptions:
    """For every channel between processes of the grid.

    The ping needs its own timeout: keepalive alone does not notice a stopped peer for a minute.
    """
    return [
        ("grpc.keepalive_time_ms", round(config.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(config.keepalive_timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", round(config.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_receive_message_length", config.message_bytes_max),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        # A process that comes back is found within half a second, not after two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]


def server_options(config: GridConfig) -> ChannelOptions:
    """so_reuseport off: with it two processes share a port and nobody says so."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", round(config.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(config.keepalive_timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", round(config.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_allowed_incoming_connections", config.connections_max),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_receive_message_length", config.message_bytes_max),
    ]


def open_channel(config: GridConfig, address: str, reconnect_ms: int = 0) -> grpc.aio.Channel:
    """To another process of the grid. The caller closes it. `reconnect_ms`: pause between attempts
    to connect, where it matters how soon a process that was away is found; 0: it grows."""
    options = dict(channel_options(config))
    if reconnect_ms:
        options["grpc.max_reconnect_backoff_ms"] = reconnect_ms
    return grpc.aio.insecure_channel(address, options=list(options.items()))


def check_cancelled() -> None:
    """Raises CancelledError in a task that was cancelled.

    For loops that begin a stream anew when it fails: one that ends in the moment in which its task
    is cancelled may raise its own error in place of CancelledError, and the loop would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def make_server(
    config: GridConfig, interceptors: Sequence[grpc.aio.ServerInterceptor[Any, Any]] = ()
) -> grpc.aio.Server:
    """With the standard options; nothing registered or bound yet."""
    return grpc.aio.server(options=server_options(config), interceptors=tuple(interceptors))


def make_checker() -> Any:
    """A health servicer: `await checker.set(service, status)` changes what it says."""
    return health.aio.HealthServicer()  # type: ignore[attr-defined]


async def start_server(
    server: grpc.aio.Server,
    host: str,
    port: int,
    services: Sequence[str],
    what: str,
    checker: Any = None,
) -> int:
    """Adds health and reflection for `services` (full names), binds, serves; returns the port.

    Register the services' own servicers first. port 0 lets the system choose. `what` names the
    server in errors, e.g. "messaging". `checker`: a health servicer of the caller's, who may change
    what it says later. Raises FatalStartError when the port cannot be had.
    """
    checker = checker or make_checker()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    for service in ("", *services):
        await checker.set(service, health_pb2.HealthCheckResponse.SERVING)
    names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    bound = bind(server, host, port, what)
    await server.start()
    log.info("%s serves on %s:%d", what, host, bound)
    return bound


def bind(server: grpc.aio.Server, host: str, port: int, what: str) -> int:
    """Binds before `start`; returns the port. Raises FatalStartError that says which and why."""
    try:
        bound = int(server.add_insecure_port(f"{host}:{port}"))
    except RuntimeError as error:
        raise _bind_error(host, port, what) from error
    if bound == 0:
        raise _bind_error(host, port, what)
    return bound


def _bind_error(host: str, port: int, what: str) -> FatalStartError:
    """grpc says only that it failed; a plain socket says why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = "the system refused it"
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = "another process uses it"
            else:
                reason = error.strerror or str(error)
    return FatalStartError(
        f"{what} cannot listen on {host}:{port}: {reason}",
        "choose another port with --port N (the grid uses N and N + 1), or stop what uses it",
    )


@asynccontextmanager
async def open_server(
    config: GridConfig,
    host: str,
    port: int,
    what: str,
    services: Sequence[str],
    register: Callable[[grpc.aio.Server], None],
    grace_s: float = 0.5,
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """A server that serves inside the block; afterwards calls under way get `grace_s` to end."""
    server = make_server(config)
    register(server)
    bound = await start_server(server, host, port, services, what)
    try:
        yield server, bound
    finally:
        await server.stop(grace_s)
