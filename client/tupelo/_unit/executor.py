"""Running commands: the part that the grid and `tupelo.testing` share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from tupelo._unit import context as _context
from tupelo._unit.command import Command
from tupelo._unit.context import CommandContext, CommandLimits, Decoded, Mutation, PartitionView
from tupelo.codec import partition_of
from tupelo.errors import ApplicationError, InvalidArgument, ResultCode, TooLarge

MESSAGE_CHARACTERS_MAX: Final = 2000

_OK: Final = int(ResultCode.OK)
_INVALID_ARGUMENT: Final = int(ResultCode.INVALID_ARGUMENT)
_APPLICATION_ERROR: Final = int(ResultCode.APPLICATION_ERROR)
_COMMAND_FAILED: Final = int(ResultCode.COMMAND_FAILED)

_encode = msgspec.msgpack.Encoder().encode


class Outcome(NamedTuple):
    """How a command ended.

    `value` is MessagePack: for OK what it returned, for APPLICATION_ERROR [code, message, fields],
    else text. `failure` is the exception behind COMMAND_FAILED. Without OK there are no mutations.
    """

    code: int
    value: bytes
    mutations: tuple[Mutation, ...] = ()
    failure: BaseException | None = None


class CommandExecutor:
    """Runs the commands of some processing units, each in one partition, all or nothing."""

    def __init__(
        self,
        commands: Iterable[Command[..., Any]],
        *,
        partitions: int,
        limits: CommandLimits,
        own_route: bool = False,
    ) -> None:
        """`own_route`: see CommandContext; tests of commands want to see what a grid of many
        partitions nearly always refuses."""
        self._commands = {command.name: command for command in commands}
        self._partitions = partitions
        self._limits = limits
        self._own_route = own_route
        self._decoded: dict[str, Decoded] = {}

    def knows(self, command: str) -> bool:
        return command in self._commands

    def run(self, name: str, arguments: bytes, view: PartitionView) -> Outcome:
        """Never raises for what the command does, nor for what the caller sent."""
        command = self._commands.get(name)
        if command is None:
            return _invalid(f"there is no command {name!r}")
        try:
            call, route = command.prepare(arguments)
        except InvalidArgument as error:
            return _invalid(error.message)
        partition = partition_of(route, self._partitions)
        if partition != view.partition:
            return _invalid(
                f"{name} was sent to partition {view.partition}, but its route "
                f"({', '.join(command.route)}) belongs to partition {partition}"
            )
        context = CommandContext(
            name,
            view,
            route,
            len(command.route),
            command.read_only,
            self._partitions,
            self._limits,
            self._decoded,
            self._own_route,
        )
        outer = _context.active
        _context.active = context
        try:
            value = _encode(call())
            if len(value) > self._limits.value_bytes_max:
                raise TooLarge(
                    f"it returns {len(value)} bytes; "
                    f"value_bytes_max allows {self._limits.value_bytes_max}"
                )
            return Outcome(_OK, value, context.mutations() if context.writes else ())
        except ApplicationError as error:
            return _application_error(name, error)
        except (Exception, SystemExit) as error:
            # Application code must not end the process that holds other people's data.
            return _failed(name, error)
        finally:
            _context.active = outer


def _invalid(message: str) -> Outcome:
    return Outcome(_INVALID_ARGUMENT, _encode(message))


def _application_error(name: str, error: ApplicationError) -> Outcome:
    try:
        fields = {str(field): value for field, value in error.fields.items()}
        message = str(error.message)[:MESSAGE_CHARACTERS_MAX]
        return Outcome(_APPLICATION_ERROR, _encode([error.error_code, message, fields]))
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        problem.add_note(f"the fields of {type(error).__name__} must be MessagePack values")
        return _failed(name, problem)


def _failed(name: str, error: BaseException) -> Outcome:
    try:
        text = str(error)
    except Exception:  # a broken __str__ of application code
        text = "(an exception without text)"
    message = f"{name} failed: {type(error).__name__}: {text}"[:MESSAGE_CHARACTERS_MAX]
    return Outcome(_COMMAND_FAILED, _encode(message), (), error)
