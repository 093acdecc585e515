"""What a processing unit is written with.

    from tupelo.errors import ApplicationError
    from tupelo.unit import Entry, ProcessingUnit, replace

    unit = ProcessingUnit("ticketing")

    class Seat(Entry, frozen=True):
        event: str
        number: int
        holder: str | None = None

    @unit.error
    class SeatTaken(ApplicationError):
        def __init__(self, event: str, number: int) -> None:
            super().__init__(f"seat {number} of {event} is taken", event=event, number=number)

    seats = unit.space("seats", Seat, key=("event", "number"), route="event")

    @unit.command(route="event")
    def hold(event: str, number: int, customer: str) -> Seat:
        seat = seats[event, number]
        if seat.holder is not None:
            raise SeatTaken(event, number)
        return seats.put(replace(seat, holder=customer), ttl_s=120)

A command is a plain function that runs in the process which owns the entries of its route, one
command at a time per partition. Its writes are buffered and committed as one change when it
returns; an exception discards them all and reaches the caller. It must not block or wait, and must
not keep state of its own: what is replicated is its result, not its code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from tupelo._unit.command import Command, P, R
from tupelo._unit.context import CommandLimits, CommandMisuse, OtherPartition, now
from tupelo._unit.entry import KEY_TYPES, E, Entry, EntryNotFound, EntryType, describe
from tupelo._unit.space import Space
from tupelo.errors import ApplicationError
from tupelo.schema import DEFAULT_SPACE, SPACE_NAME, SpaceSchema
from tupelo.seconds import is_seconds

__all__ = [
    "Command",
    "CommandLimits",
    "CommandMisuse",
    "Entry",
    "EntryNotFound",
    "OtherPartition",
    "ProcessingUnit",
    "Space",
    "now",
    "replace",
]

UNIT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

ErrorClass = TypeVar("ErrorClass", bound=type[ApplicationError])


class ProcessingUnit:
    """Declares spaces, errors and commands.

    `name`: a letter, then letters, digits, `_` and `-`; at most 64. Commands are known to the grid
    as "<name>.<function>", spaces by the name they are given.
    """

    def __init__(self, name: str) -> None:
        if UNIT_NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name!r} cannot name a processing unit: a letter, then letters, digits, _ and -, "
                f"at most 64"
            )
        self.name = name
        self._spaces: dict[str, Space[Any]] = {}
        self._commands: dict[str, Command[..., Any]] = {}
        self._errors: dict[str, type[ApplicationError]] = {"EntryNotFound": EntryNotFound}

    def __repr__(self) -> str:
        return f"ProcessingUnit({self.name!r})"

    @property
    def spaces(self) -> Mapping[str, Space[Any]]:
        """By name."""
        return MappingProxyType(self._spaces)

    @property
    def commands(self) -> Mapping[str, Command[..., Any]]:
        """By their full names."""
        return MappingProxyType(self._commands)

    @property
    def errors(self) -> Mapping[str, type[ApplicationError]]:
        """By error code: what was declared, and EntryNotFound."""
        return MappingProxyType(self._errors)

    def space(
        self,
        name: str,
        entry_type: type[E],
        *,
        key: str | tuple[str, ...],
        route: str | tuple[str, ...] | None = None,
        ttl_s: float | None = None,
        persist: bool = True,
        coalesce: bool = True,
        write_through: bool = False,
        read_through: bool = False,
        min_in_sync: int = 0,
        spill: bool = False,
        table: str = "",
        columns: Mapping[str, str] | None = None,
    ) -> Space[E]:
        """Declares a space of typed entries.

        Args:
            name: letters, digits, `_`, `-` and `.`, at most 128; one for the whole grid.
            entry_type: a subclass of Entry.
            key: the field(s) that tell entries apart: int, float, str, bytes or bool.
            route: the key field(s) that decide the partition; None: all of them. Entries with the
                same route values are together, whatever their space.
            ttl_s: seconds that an entry lives after it was put; None: for ever.
            persist: whether the store gets the entries.
            coalesce: whether the store may skip versions that a newer one replaces soon after.
            write_through: a write is answered only when the store has it; then a call takes as long
                as the store does, and raises NotPersisted while the store is away.
            read_through: an entry that is asked for by its key, and is not there, is looked for in
                the store, where somebody else may have put it. Scans and counts do not look there.
            min_in_sync: copies, the primary's included, without which writes to the space raise
                NotEnoughReplicas; 0: as the grid is set. A command needs the largest number of the
                spaces that it writes to.
            spill: while the store is away and the journals are full, writes are taken all the same,
                and older ones wait in files of the units; else they are refused (Overloaded).
            table: a table of the store that is there already, "TABLE" or "SCHEMA.TABLE", to hold
                the entries; "": one named after the space. docs/PERSISTENCE.md says what is needed.
            columns: field name -> column name, where they differ.

        Raises TypeError or ValueError, saying what to change.
        """
        self._check_space(name, ttl_s)
        description = describe(entry_type)
        keys = (key,) if isinstance(key, str) else tuple(key)
        _check_key(name, entry_type, keys, description)
        schema = SpaceSchema(
            name=name,
            key=keys,
            route=_route_positions(name, keys, route),
            fields=description.fields,
            ttl_ms=0 if ttl_s is None else math.ceil(ttl_s * 1000),
            persist=persist,
            coalesce=coalesce,
            write_through=write_through,
            read_through=read_through,
            min_in_sync=min_in_sync,
            spill=spill,
            table=table,
            columns=tuple((columns or {}).items()),
        )
        space = Space(schema, entry_type, description)
        self._spaces[name] = space
        return space

    def _check_space(self, name: str, ttl_s: float | None) -> None:
        if SPACE_NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name!r} cannot name a space: letters, digits, _, - and ., at most 128"
            )
        if name == DEFAULT_SPACE:
            raise ValueError(f"space {name!r} is the untyped one that every grid has: use another")
        if name in self._spaces:
            raise ValueError(f"processing unit {self.name!r} declares space {name!r} twice")
        if ttl_s is not None and not is_seconds(ttl_s):
            raise ValueError(f"ttl_s of space {name!r} must be above 0, not {ttl_s!r}")

    def error(self, error: ErrorClass) -> ErrorClass:
        """Declares an error (class decorator), so that callers get it back as the same class."""
        if not (isinstance(error, type) and issubclass(error, ApplicationError)):
            raise TypeError(f"{error!r} is not a subclass of tupelo.errors.ApplicationError")
        if self._errors.get(error.error_code, error) is not error:
            raise ValueError(
                f"processing unit {self.name!r} declares error {error.error_code!r} twice; give "
                f"one of them another error_code"
            )
        self._errors[error.error_code] = error
        return error

    def command(
        self, *, route: str | tuple[str, ...], read_only: bool = False
    ) -> Callable[[Callable[P, R]], Command[P, R]]:
        """Declares a command (function decorator).

        Args:
            route: the argument(s) whose values decide the partition, as a space's route does. The
                command may touch entries with these values, of any space with as many.
            read_only: it will write nothing; a write is then an error.

        Arguments and results are MessagePack values, structs included, typed by the annotations.
        Raises TypeError, saying what to change, for a function that cannot be a command.
        """
        names = (route,) if isinstance(route, str) else tuple(route)

        def declare(function: Callable[P, R]) -> Command[P, R]:
            command = Command(self.name, function, names, read_only, self.errors)
            if command.name in self._commands:
                raise ValueError(f"there are two commands {command.name}")
            self._commands[command.name] = command
            return command

        return declare


def _check_key(
    space: str, entry_type: type[Entry], key: tuple[str, ...], description: EntryType
) -> None:
    fields = {field.name: field for field in description.fields}
    if not key:
        raise ValueError(f"space {space!r} needs a key: name the field(s) that tell entries apart")
    if len(set(key)) != len(key):
        raise ValueError(f"the key of space {space!r} names a field twice")
    for name in key:
        if name not in fields:
            raise ValueError(
                f"the key of space {space!r} names {name!r}, which {entry_type.__name__} does not "
                f"have (it has {', '.join(fields)})"
            )
        if fields[name].type not in KEY_TYPES:
            raise TypeError(
                f"{entry_type.__name__}.{name} is in the key of space {space!r}, so it must be one "
                f"of {', '.join(KEY_TYPES)}; use text for anything else"
            )


def _route_positions(
    space: str, key: tuple[str, ...], route: str | tuple[str, ...] | None
) -> tuple[int, ...]:
    if route is None:
        return ()
    names = (route,) if isinstance(route, str) else tuple(route)
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"the route of space {space!r} must name each field once, and at least one"
        )
    for name in names:
        if name not in key:
            raise ValueError(
                f"the route of space {space!r} names {name!r}, which is not in its key "
                f"({', '.join(key)}): the partition of an entry must follow from its key"
            )
    return tuple(key.index(name) for name in names)
