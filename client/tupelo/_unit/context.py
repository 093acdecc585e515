"""The command that is running in this process, if any.

Commands are synchronous and a processing unit has one event loop, so at most one runs at a time and
a module global is enough; a context variable would cost more than the look-up it guards.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from tupelo._unit.stored import StoredEntry

Mutation = tuple[str, bytes, bytes | None, int]  # space, key, value or None, deadline_ms
Write = tuple[bytes | None, int, Any]  # value or None for a removal, deadline_ms, the entry

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PartitionView(Protocol):
    """One partition as a command reads it: no entry past its deadline."""

    @property
    def partition(self) -> int: ...

    @property
    def now_ms(self) -> int: ...

    def get(self, space: str, key: bytes) -> StoredEntry | None: ...

    def items(self, space: str) -> list[tuple[bytes, StoredEntry]]: ...


class CommandLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one command may do.

    Attributes:
        items_max: entries that it may write.
        bytes_max: keys and values that it may write, together.
        key_bytes_max, value_bytes_max: per key and value; the latter also of what it returns.
        decoded_entries_max: decoded entries kept per space, so that a command finds live objects.
    """

    items_max: int = 10_000
    bytes_max: int = 8 * 1024 * 1024
    key_bytes_max: int = 64 * 1024
    value_bytes_max: int = 4 * 1024 * 1024
    decoded_entries_max: int = 100_000


class CommandMisuse(RuntimeError):
    """Application code used a space in a way that the grid does not allow. The text says how to
    do it right."""


class OtherPartition(CommandMisuse):
    """A command reached for an entry of a partition that is not its own."""


Decoded = dict[bytes, tuple[bytes, Any]]  # key -> (value, what it decodes to)


class CommandContext:
    """What one run of a command reads from, and the writes it has buffered.

    Attributes:
        route: route bytes of the call; keys with the same are in `partition`.
        route_values: how many values the route has.
        writes: per space, key -> Write.
        own_route: keys of another route are refused even where they are in `partition` by chance.
        decoded: per space, entries decoded before. A cached object belongs to a `bytes` object, not
            to a version: after a fail-over a version number can come again with another value.
    """

    __slots__ = (
        "bytes_written",
        "command",
        "decoded",
        "items_written",
        "limits",
        "now_ms",
        "own_route",
        "partition",
        "partitions",
        "read_only",
        "route",
        "route_values",
        "view",
        "writes",
    )

    def __init__(
        self,
        command: str,
        view: PartitionView,
        route: bytes,
        route_values: int,
        read_only: bool,
        partitions: int,
        limits: CommandLimits,
        decoded: dict[str, Decoded],
        own_route: bool = False,
    ) -> None:
        self.command = command
        self.view = view
        self.now_ms = view.now_ms
        self.partition = view.partition
        self.partitions = partitions
        self.route = route
        self.route_values = route_values
        self.read_only = read_only
        self.limits = limits
        self.decoded = decoded
        self.own_route = own_route
        self.writes: dict[str, dict[bytes, Write]] = {}
        self.items_written = 0
        self.bytes_written = 0

    def mutations(self) -> tuple[Mutation, ...]:
        return tuple(
            (space, key, write[0], write[1])
            for space, writes in self.writes.items()
            for key, write in writes.items()
        )


active: CommandContext | None = None


def current(what: str) -> CommandContext:
    """The running command. Raises CommandMisuse outside of one; `what` was attempted."""
    if active is None:
        raise CommandMisuse(
            f"{what} works inside a running command only; from outside use grid.space(...) and "
            f"grid.call(...), or tupelo.testing.LocalGrid in tests"
        )
    return active


def now() -> datetime:
    """The time of the running command, in UTC: the same for all it does, and the clock that times
    to live are counted from. Tests move it with `LocalGrid.advance`."""
    return _EPOCH + timedelta(milliseconds=current("now()").now_ms)
