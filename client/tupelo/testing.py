"""Processing units without a grid: commands run in milliseconds, on a clock that tests set.

    from tupelo.testing import LocalGrid

    def test_a_hold_runs_out() -> None:
        grid = LocalGrid(ticketing.unit)
        grid.space(ticketing.seats).put(Seat(event="e1", number=7))

        grid.call(ticketing.hold, event="e1", number=7, customer="ann")
        with pytest.raises(SeatTaken):
            grid.call(ticketing.hold, event="e1", number=7, customer="bob")

        grid.advance(120)
        grid.call(ticketing.hold, event="e1", number=7, customer="bob")

It is the code that the grid runs: arguments, results and errors go through their wire form, routes
through the hash, limits hold, and a command that fails leaves nothing behind. What is missing is
replication, concurrency, and everything that can break on a network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic

import msgspec

from tupelo._unit.command import Command, P, R
from tupelo._unit.context import CommandLimits, Mutation
from tupelo._unit.entry import E
from tupelo._unit.executor import CommandExecutor
from tupelo._unit.space import Space
from tupelo._unit.stored import StoredEntry
from tupelo.calls import application_error
from tupelo.codec import SpaceCodec, partition_of
from tupelo.errors import CommandFailed, InvalidArgument, ResultCode, UnknownSpace
from tupelo.seconds import ttl_ms
from tupelo.unit import ProcessingUnit

__all__ = ["LocalGrid", "LocalSpace"]

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LocalGrid:
    """A grid of one process, in memory.

    `partitions`: fewer than a real grid has, so that `items` and `values` of commands meet routes
    that share one. Of any other key a command must have the route, or it raises OtherPartition,
    as in a grid of many partitions. `now`: where the clock starts; it stands still but for
    `advance`.
    """

    def __init__(
        self,
        *units: ProcessingUnit,
        partitions: int = 16,
        now: datetime = START,
        limits: CommandLimits | None = None,
    ) -> None:
        self._spaces = {name: space for unit in units for name, space in unit.spaces.items()}
        self._partitions = [LocalPartition(number) for number in range(partitions)]
        self._executor = CommandExecutor(
            [command for unit in units for command in unit.commands.values()],
            partitions=partitions,
            limits=limits or CommandLimits(),
            own_route=True,
        )
        self._now_ms = (now - _EPOCH) // timedelta(milliseconds=1)

    @property
    def now(self) -> datetime:
        """The time that commands see, in UTC."""
        return _EPOCH + timedelta(milliseconds=self._now_ms)

    def advance(self, seconds: float) -> None:
        """Moves the clock forward; entries whose time to live is over are gone."""
        if seconds < 0:
            raise ValueError(f"time goes forward only, not by {seconds} s")
        self._now_ms += math.ceil(seconds * 1000)

    def space(self, space: Space[E]) -> LocalSpace[E]:
        """The data of a space, as a client sees it. Raises UnknownSpace for one that is declared by
        none of the units."""
        if self._spaces.get(space.name) is not space:
            raise UnknownSpace(f"space {space.name!r} is declared by none of the units given")
        return LocalSpace(self, space)

    def call(self, command: Command[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a command and commits what it wrote.

        Raises the application's own errors; InvalidArgument for wrong arguments; CommandFailed for
        any other exception in it, which is then the `__cause__`.
        """
        arguments, route = command.encode_call(args, kwargs)
        partition = self.partition_at(route)
        outcome = self._executor.run(command.name, arguments, partition)
        if outcome.code == ResultCode.OK:
            partition.commit(outcome.mutations)
            return command.decode_result(outcome.value)
        if outcome.code == ResultCode.APPLICATION_ERROR:
            raise application_error(outcome.value, command.errors)
        message = str(msgspec.msgpack.decode(outcome.value))
        if outcome.code == ResultCode.INVALID_ARGUMENT:
            raise InvalidArgument(message)
        raise CommandFailed(message) from outcome.failure

    def partition_at(self, route: bytes) -> LocalPartition:
        """The partition of some route bytes, as of now."""
        partition = self._partitions[partition_of(route, len(self._partitions))]
        partition.now_ms = self._now_ms
        return partition

    def all_partitions(self) -> list[LocalPartition]:
        """All of them, as of now."""
        for partition in self._partitions:
            partition.now_ms = self._now_ms
        return list(self._partitions)


class LocalSpace(Generic[E]):
    """The entries of one space."""

    def __init__(self, grid: LocalGrid, space: Space[E]) -> None:
        self._grid = grid
        self._space = space
        self._codec = SpaceCodec(space.schema, space.type)

    def get(self, key: Any) -> E | None:
        """The entry; None where there is none."""
        partition, key_bytes = self._locate(key)
        stored = partition.get(self._space.name, key_bytes)
        return None if stored is None else self._decode(key, stored)

    def put(self, entry: E, ttl_s: float | None = None) -> int:
        """Returns the entry's version. `ttl_s`: None for the space's default."""
        value = self._codec.encode_value(entry)
        assert self._codec.key_of is not None
        partition, key = self._locate(self._codec.key_of(entry))
        lives_ms = self._space.schema.ttl_ms if ttl_s is None else ttl_ms(ttl_s)
        deadline_ms = partition.now_ms + lives_ms if lives_ms else 0
        return partition.commit(((self._space.name, key, value, deadline_ms),))

    def put_many(self, entries: Iterable[E], ttl_s: float | None = None) -> int:
        """Returns how many."""
        count = 0
        for entry in entries:
            self.put(entry, ttl_s)
            count += 1
        return count

    def delete(self, key: Any) -> bool:
        """Returns whether there was an entry."""
        partition, key_bytes = self._locate(key)
        if partition.get(self._space.name, key_bytes) is None:
            return False
        partition.commit(((self._space.name, key_bytes, None, 0),))
        return True

    def values(self) -> list[E]:
        """All entries, of all partitions, in no particular order."""
        return [
            self._decode(self._codec.decode_key(key), stored)
            for partition in self._grid.all_partitions()
            for key, stored in partition.items(self._space.name)
        ]

    def count(self) -> int:
        """How many entries there are."""
        return len(self.values())

    def _locate(self, key: Any) -> tuple[LocalPartition, bytes]:
        key_bytes = self._codec.encode_key(key)
        route_of_key = self._codec.route_of_key
        route = key_bytes if route_of_key is None else route_of_key(key)
        return self._grid.partition_at(route), key_bytes

    def _decode(self, key: Any, stored: StoredEntry) -> E:
        entry: E = self._codec.decode_entry(key, stored.value)
        return entry


class LocalPartition:
    """One partition: dicts of stored entries and a sequence number, read as the grid's own."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.now_ms = 0
        self._sequence = 0
        self._spaces: dict[str, dict[bytes, StoredEntry]] = {}

    def get(self, space: str, key: bytes) -> StoredEntry | None:
        stored = self._spaces.get(space, {}).get(key)
        return stored if stored is not None and self._alive(stored) else None

    def items(self, space: str) -> list[tuple[bytes, StoredEntry]]:
        stored = self._spaces.get(space, {})
        return [(key, entry) for key, entry in stored.items() if self._alive(entry)]

    def commit(self, mutations: Iterable[Mutation]) -> int:
        """Applies them together. Returns their version."""
        self._sequence += 1
        for space, key, value, deadline_ms in mutations:
            entries = self._spaces.setdefault(space, {})
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = StoredEntry(value, self._sequence, deadline_ms)
        return self._sequence

    def _alive(self, stored: StoredEntry) -> bool:
        return stored.deadline_ms == 0 or stored.deadline_ms > self.now_ms
