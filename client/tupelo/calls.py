"""Commands as a client sees them: how their arguments route, and what their errors become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tupelo._unit.command import Command
from tupelo.batch import Outcome
from tupelo.codec import DECODE_ERRORS, decode_value, encode_key, encode_value
from tupelo.errors import ApplicationError, InvalidArgument, ResultCode, UnknownCommand
from tupelo.routing import RouteTable

COMMAND_PREFIX: Final = "command:"


class CommandInfo(msgspec.Struct, frozen=True):
    """What units publish of a command under "command:<name>", as JSON."""

    route: tuple[str, ...] = ()
    read_only: bool = False


class Prepared(msgspec.Struct, frozen=True):
    """A call ready to be sent."""

    name: str
    route: bytes
    read_only: bool
    arguments: bytes
    decode_result: Callable[[bytes], Any] = decode_value
    errors: Mapping[str, type[ApplicationError]] = {}


def prepare(
    command: Command[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Prepared:
    """Raises InvalidArgument where arguments are missing or unknown, or cannot be carried."""
    if not isinstance(command, Command):
        raise InvalidArgument(
            'a command is given by its name, "unit.function", or as the function that '
            f"`@unit.command` declared, not as {command!r:.100}"
        )
    arguments, route = command.encode_call(args, kwargs)
    return Prepared(
        name=command.name,
        route=route,
        read_only=command.read_only,
        arguments=arguments,
        decode_result=command.decode_result,
        errors=command.errors,
    )


def prepare_by_name(
    name: str, arguments: Mapping[str, Any], info: CommandInfo | None, route: Any
) -> Prepared:
    """A call of a command that the client knows by its name only.

    Args:
        info: as published by the units; None when they publish nothing.
        route: the routing value, instead of what `info` says; None: by `info`.
    """
    if info is None and route is None:
        raise UnknownCommand(
            f"no unit of the grid has a command {name!r}; check the name (unit.command), "
            "or give route=... where the grid is older than that"
        )
    if not isinstance(arguments, Mapping):
        raise InvalidArgument(f"arguments are a mapping by name, not {arguments!r:.100}")
    names = info.route if info else ()
    packed = encode_value(dict(arguments), f"{name}: an argument cannot be sent as MessagePack")
    return Prepared(
        name=name,
        route=encode_key(route) if route is not None else route_bytes(name, names, arguments),
        read_only=info.read_only if info else False,
        arguments=packed,
    )


def command_info(table: RouteTable, name: str) -> CommandInfo | None:
    published = table.spaces.get(COMMAND_PREFIX + name)
    if published is None:
        return None
    try:
        return msgspec.json.decode(published, type=CommandInfo)
    except DECODE_ERRORS as error:
        raise InvalidArgument(f"what the grid says of {name!r} cannot be read: {error}") from None


def route_bytes(command: str, names: tuple[str, ...], arguments: Mapping[str, Any]) -> bytes:
    """One routing argument routes by its value, several by an array of them."""
    if not names:
        raise InvalidArgument(f"command {command!r} declares no route; give route=...")
    missing = [name for name in names if name not in arguments]
    if missing:
        raise InvalidArgument(
            f"command {command!r} routes by {', '.join(names)}, and {', '.join(missing)} "
            "is not among the arguments"
        )
    if len(names) == 1:
        return encode_key(arguments[names[0]])
    return encode_key([arguments[name] for name in names])


def result_of(call: Prepared, outcome: Outcome) -> Any:
    """What the command returned. Raises the error that it raised."""
    if outcome[0] == ResultCode.APPLICATION_ERROR:
        raise application_error(outcome[2], call.errors)
    return call.decode_result(outcome[2])


def application_error(
    payload: bytes, known: Mapping[str, type[ApplicationError]]
) -> ApplicationError:
    """The error in [code, message, fields]: of its own class where that is known."""
    try:
        code, message, fields = msgspec.msgpack.decode(
            payload, type=tuple[str, str, dict[str, Any]]
        )
    except DECODE_ERRORS as error:
        return ApplicationError(f"the command failed with an error that cannot be read: {error}")
    return known.get(code, ApplicationError).from_wire(code, message, fields)
