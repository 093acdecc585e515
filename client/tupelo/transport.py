"""What both clients tell grpc, and how they read its errors."""

from __future__ import annotations

from typing import Any, Final

import grpc

from tupelo.config import ClientConfig
from tupelo.v1.admin_pb2_grpc import AdminStub
from tupelo.v1.data_pb2_grpc import SpaceStub

CLIENT_CLOSED: Final = "the client was closed; connect again"

# The RPC's own limits and the peer's: the message cannot be delivered however often it is sent.
_TOO_LARGE: Final = grpc.StatusCode.RESOURCE_EXHAUSTED


def channel_options(config: ClientConfig) -> list[tuple[str, int]]:
    """Options of every channel.

    Keepalive needs both of its settings: a ping alone notices nothing. Channels are not shared
    between clients of one process, and reconnect quickly, since our own backoff paces them.
    """
    backoff_max_ms = int(config.backoff_max_s * 1000)
    return [
        ("grpc.keepalive_time_ms", int(config.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(config.keepalive_timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", int(config.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_receive_message_length", config.message_bytes_max),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", max(100, backoff_max_ms // 2)),
    ]


def space_stub(channel: Any) -> Any:
    """Stubs are generated untyped, and the same for both kinds of channel."""
    return SpaceStub(channel)  # type: ignore[no-untyped-call]


def admin_stub(channel: Any) -> Any:
    return AdminStub(channel)  # type: ignore[no-untyped-call]


def describe(error: grpc.RpcError | BaseException) -> str:
    """An RPC's failure in one line."""
    code = getattr(error, "code", None)
    details = getattr(error, "details", None)
    if callable(code) and callable(details):
        status = code()
        if status is grpc.StatusCode.UNIMPLEMENTED:
            return (
                "UNIMPLEMENTED: this is not the messaging port of a grid (7400 by default; "
                f"`tupelo status` lists the routers): {details() or 'no details'}"
            )
        return f"{status.name if status else 'UNKNOWN'}: {details() or 'no details'}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def is_too_large(error: BaseException) -> bool:
    code = getattr(error, "code", None)
    return callable(code) and code() is _TOO_LARGE
