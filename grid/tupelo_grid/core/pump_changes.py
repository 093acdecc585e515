"""The changes of one partition's part of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from tupelo_grid.core.pump_frames import Change
from tupelo_grid.core.records import LOAD, SINGLE, Record, mutation_count, mutations_of

Coalesced = Callable[[str], bool | None]
"""Whether of several changes of a key in a space the last will do; None: they are not stored."""

Last = tuple[int, bytes | None, int]
"""(sequence, value, deadline_ms)"""


LOOKED_AT_FACTOR: Final = 4
"""Records, and changes in them, looked at for one frame, as a multiple of its changes: coalescing
and spaces that are not persisted make a frame smaller than what was read for it."""


class Room(NamedTuple):
    """Changes, and bytes of keys and values, that a frame may still take."""

    changes: int
    size: int


class Share(NamedTuple):
    """What a frame takes of a partition: the changes up to a sequence, and their bytes."""

    last: int
    changes: list[Change]
    size: int


def take(
    records: Sequence[tuple[int, Record]], coalesced: Coalesced, room: Room, first: bool
) -> Share | None:
    """As many of the records as have room. None: not one has.

    A record is never divided. One that alone exceeds the room is taken only when it is the first of
    its frame. There must be records.
    """
    # After the store was away there may be a thousand times what fits: then they are counted.
    if sum([mutation_count(record) for _, record in records]) <= LOOKED_AT_FACTOR * room.changes:
        share = _take_all(records, coalesced)
        if len(share.changes) <= room.changes and share.size <= room.size:
            return share
    return _take_some(records, coalesced, room, first)


def _take_all(records: Sequence[tuple[int, Record]], coalesced: Coalesced) -> Share:
    taken = Taken(coalesced)
    taken.add(records)
    changes = taken.changes()
    size = sum([len(key) + len(value or b"") for _, key, value, _, _ in changes])
    return Share(records[-1][0], changes, size)


def _take_some(
    records: Sequence[tuple[int, Record]], coalesced: Coalesced, room: Room, first: bool
) -> Share | None:
    """Counts the bytes of every record, those of changes that later ones replace as well."""
    taken = Taken(coalesced)
    size = last = 0
    for sequence, record in records:
        changes = () if record[0] == LOAD else mutations_of(record)
        alone = first and not last
        if taken.count + len(changes) > room.changes and not alone:
            break
        more = sum([len(key) + len(value or b"") for _, key, value, _ in changes])
        if size + more > room.size and not alone:
            break
        size += more
        last = sequence
        taken.add([(sequence, record)])
    return Share(last, taken.changes(), size) if last else None


class Taken:
    """What a run of records leaves to be stored: of several changes of a key the last, in spaces
    where that will do.

    Args:
        coalesced: whether that is so in a space; None: its changes are not stored.
    """

    def __init__(self, coalesced: Coalesced) -> None:
        self._coalesced = coalesced
        self._known: dict[str, bool | None] = {}
        # By space; nothing is made for a change until it is known to be the last of its key.
        self._last: dict[str, dict[bytes, Last]] = {}
        self._all: dict[tuple[str, bytes, int], Change] = {}

    @property
    def count(self) -> int:
        return sum(map(len, self._last.values())) + len(self._all)

    def add(self, records: Iterable[tuple[int, Record]]) -> None:
        """What a run of records changes. Entries brought in from the store are there already; a
        record that changes a key twice has changed it once, to the second."""
        name: str | None = None
        last: dict[bytes, Last] | None = None
        for sequence, record in records:
            if record[0] == LOAD:
                continue
            # Steps of every write there is, so they are made without a call.
            changes: Any = (record[5:],) if len(record) == SINGLE else record[5]
            for space, key, value, deadline_ms in changes:
                if space != name:
                    name, last = space, self._last_of(space)
                if last is not None:
                    last[key] = (sequence, value, deadline_ms)
                elif self._known[space] is not None:
                    self._all[space, key, sequence] = (space, key, value, sequence, deadline_ms)

    def _last_of(self, space: str) -> dict[bytes, Last] | None:
        """Where the last changes of the space go; None where each is stored, or none is."""
        last = self._last.get(space)
        if last is None:
            if space not in self._known:
                self._known[space] = self._coalesced(space)
            if self._known[space]:
                last = self._last[space] = {}
        return last

    def changes(self) -> list[Change]:
        """Those of one key in the order they were made."""
        lasting = [
            (space, key, value, sequence, deadline_ms)
            for space, last in self._last.items()
            for key, (sequence, value, deadline_ms) in last.items()
        ]
        return [*lasting, *self._all.values()]
