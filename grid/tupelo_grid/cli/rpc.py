"""Blocking calls to a grid, for commands that end when they have their answer.

grpc is imported here only: `tupelo --help` and the start of processes do not wait for it.
"""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import msgspec
from tupelo.v1 import admin_pb2, admin_pb2_grpc, data_pb2_grpc

from tupelo_grid.cli.output import CliError, ExitCode
from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.servers import channel_options

CODE_KEY = "tupelo-code"
FIELDS_KEY = "tupelo-fields-bin"
RETRY_PAUSE_S = 0.05
RETRY_PAUSE_S_MAX = 0.5

ADDRESS = re.compile(r"\(?([^()\s]+):\d+\)?")
CLI_WORDS = {
    "with CreateSpace": "with `tupelo space create NAME`",
    "use PutIfAbsent": "use --if-absent",
    "`value_json`": "VALUE",
    "`key_json`": "KEY",
    "value_json": "VALUE",
    "key_json": "KEY",
    "arguments_json": "the arguments",
}
"""Names of the wire, which clients in other languages are told, to those of the command line."""

_NOT_FOUND = {"NOT_FOUND", "EXISTS", "VERSION_MISMATCH"}
_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@contextmanager
def admin_stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address, options=channel_options(GridConfig())) as channel:
        yield admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]


@contextmanager
def unit_stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address, options=channel_options(GridConfig())) as channel:
        yield admin_pb2_grpc.UnitStub(channel)  # type: ignore[no-untyped-call]


@contextmanager
def space_stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address, options=channel_options(GridConfig())) as channel:
        yield data_pb2_grpc.SpaceStub(channel)  # type: ignore[no-untyped-call]


def call(method: Any, request: Any, timeout_s: float, what: str) -> Any:
    """One attempt. Raises CliError; `what` names the server in it, e.g. "control (host:port)"."""
    try:
        return method(request, timeout=timeout_s)
    except grpc.RpcError as error:
        if _code(error) == "INVALID_ARGUMENT":
            raise CliError(ExitCode.USAGE, _words(error)) from error
        raise as_cli_error(error, what) from error


def call_until(method: Any, request: Any, timeout_s: float, what: str) -> Any:
    """Repeats what certainly was not done, until it is or the time is over. Raises CliError.

    A LOST partition may come back, so it is asked for again too.

    Writes must carry a token: then a repetition has no second effect.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = RETRY_PAUSE_S
    while True:
        left_s = deadline - time.monotonic()
        try:
            return method(request, timeout=max(0.001, left_s))
        except grpc.RpcError as error:
            again = error.code() is grpc.StatusCode.UNAVAILABLE or _code(error) == "PARTITION_LOST"
            if not again or left_s <= pause_s:
                raise as_cli_error(error, what) from error
        time.sleep(pause_s * random.random())
        pause_s = min(2 * pause_s, RETRY_PAUSE_S_MAX)


def is_unreachable(error: grpc.RpcError) -> bool:
    """Nobody answered; as opposed to somebody who said no."""
    return error.code() in _UNREACHABLE and not _trailer(error, CODE_KEY)


def as_cli_error(error: grpc.RpcError, what: str) -> CliError:
    message, name = _words(error), _code(error)
    if is_unreachable(error):
        if host := unresolved(what):
            return CliError(ExitCode.UNREACHABLE, f"{what}: there is no host named {host}")
        return CliError(
            ExitCode.UNREACHABLE,
            f"{what} does not answer",
            "is it running? `tupelo status --port N` says what is, `tupelo up` starts a grid",
        )
    if name in ("CONTROL_AWAY", "STORE_AWAY"):
        return CliError(ExitCode.UNREACHABLE, message)
    if name == "PARTITION_LOST":
        return CliError(
            ExitCode.UNREACHABLE,
            f"{message} [{name}]",
            "`tupelo status` names what is LOST; `tupelo promote` makes it serve again, at a price",
        )
    if name in _NOT_FOUND:
        return CliError(ExitCode.NOT_FOUND, message)
    if name == "APPLICATION_ERROR":
        return CliError(ExitCode.FAILED, f"the command refused: {message}", _application(error))
    return CliError(ExitCode.FAILED, f"{message} [{name}]")


def unresolved(what: str) -> str:
    """The host in "messaging (host:port)" where that is a name that means nothing; else ""."""
    found = ADDRESS.search(what)
    if found is None:
        return ""
    try:
        socket.getaddrinfo(found[1], None)
    except (OSError, UnicodeError):
        return found[1]
    return ""


def _code(error: grpc.RpcError) -> str:
    """The grid's own word for it, or gRPC's."""
    name = _trailer(error, CODE_KEY) or error.code().name
    return name.decode() if isinstance(name, bytes) else name


def _words(error: grpc.RpcError) -> str:
    """As a user of the CLI knows things."""
    message = str(error.details() or error.code().name)
    for name, ours in CLI_WORDS.items():
        message = message.replace(name, ours)
    return message


def status_of(
    host: str, port: int, timeout_s: float = 5.0, lags: bool = False
) -> admin_pb2.StatusResponse | None:
    """From messaging, or else from control; None when neither answers. `lags`: of each partition
    too."""
    for number in (port, port + 1):
        response = status_at(f"{host}:{number}", timeout_s, lags)
        if response is not None:
            return response
    return None


def status_at(
    address: str, timeout_s: float, lags: bool = False
) -> admin_pb2.StatusResponse | None:
    """From the one process; None when it does not answer."""
    with admin_stub(address) as stub:
        try:
            response: admin_pb2.StatusResponse = stub.Status(
                admin_pb2.StatusRequest(lags=lags), timeout=timeout_s
            )
        except grpc.RpcError:
            return None
        return response


def _application(error: grpc.RpcError) -> str:
    fields = _trailer(error, FIELDS_KEY)
    if not isinstance(fields, bytes):
        return ""
    decoded = msgspec.msgpack.decode(fields)
    return str(decoded.get("code", "")) + "".join(
        f" {name}={value!r}" for name, value in (decoded.get("fields") or {}).items()
    )


def _trailer(error: grpc.RpcError, key: str) -> str | bytes | None:
    metadata: Any = error.trailing_metadata()
    return next((value for name, value in metadata or () if name == key), None)
