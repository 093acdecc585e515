"""Entries that come from the store while their partition serves: read-through, and refresh. Pure.

What is read from the store is as of a cursor, read before it: the store has every change up to
there, and perhaps more. The journal knows what was changed after it. So a row counts only for a key
that no record after that cursor has touched; for any other, memory is newer than what was read,
however late it arrives and whatever happened meanwhile:

- written since: the entry's version is above the cursor, since it is its record's sequence;
- removed since: the journal has the removal, since it keeps what the store does not have. Where it
  was trimmed beyond the cursor, the store has more by now and has to be read again.

Nothing has to be remembered of reads under way, and it does not matter which unit began them: a
cursor that a later epoch's primary has written is not taken, and records up to a cursor of an
earlier epoch are in every later primary's journal.

What is taken becomes a record of its own kind (LOAD), replicated as any other; the pump passes it
over, as the store has it already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tupelo_grid.core.journal import Journal
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.records import LOAD, Entry, Mutation, mutations_of, record_of
from tupelo_grid.core.unit import Unit

LOAD_ENTRIES_MAX: Final = 500
LOAD_BYTES_MAX: Final = 1024 * 1024
"""Of one record, which may exceed it by its last entry."""

Found = tuple[bytes, int]
"""(value, deadline_ms or 0) of a row"""

Place = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Fence:
    """What the store's row of the partition said before its entries were read."""

    epoch: int
    cursor: int


class Fit(IntEnum):
    """Whether what was read could be compared with the partition."""

    YES = 1
    ELSEWHERE = 2  # this unit does not serve the partition, or not any more
    AGAIN = 3  # the journal does not reach back to the cursor: the store has to be read again
    AHEAD = 4  # the store has more than the grid ever committed


@dataclass(slots=True)
class Taken:
    """What became of the rows. `newer`, `dead`: kept as they are, because the grid's change is not
    in the store yet, or is a dead letter."""

    fit: Fit = Fit.YES
    added: int = 0
    changed: int = 0
    removed: int = 0
    same: int = 0
    newer: int = 0
    dead: int = 0


class Removals:
    """The newest removal of each key that the journal still holds, found as it is asked for."""

    def __init__(self) -> None:
        self._seen = 0
        self._newest: dict[Place, int] = {}
        self._order: deque[tuple[int, Place]] = deque()

    def follow(self, journal: Journal) -> None:
        after = max(self._seen, journal.base)
        records = journal.read(after, journal.last - after)
        for sequence, record in enumerate(records, after + 1):
            for space, key, value, _ in mutations_of(record):
                if value is None:
                    self._newest[space, key] = sequence
                    self._order.append((sequence, (space, key)))
        self._seen = journal.last
        while self._order and self._order[0][0] <= journal.base:
            sequence, place = self._order.popleft()
            if self._newest.get(place) == sequence:
                del self._newest[place]

    def newest(self, space: str, key: bytes) -> int:
        """Its sequence; 0 for none."""
        return self._newest.get((space, key), 0)


class Loads:
    """Brings rows of the store into the partitions that a unit serves."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._removals: dict[int, tuple[Primary, Removals]] = {}

    def missing(self, number: int, space: str, key: bytes) -> bool:
        """Whether only the store can tell if there is such an entry: this unit serves the
        partition, has none, and has not removed one that the store may still have."""
        primary = self._unit.serving.get(number)
        if primary is None or key in primary.partition.spaces.get(space, ()):
            return False
        return self._removals_of(primary).newest(space, key) <= primary.partition.persisted

    def take(
        self,
        number: int,
        fence: Fence,
        space: str,
        rows: Mapping[bytes, Found | None],
        replace: bool = False,
        dead: Collection[bytes] = (),
    ) -> Taken:
        """Compares rows with the partition and writes a record of what the grid shall have.

        Args:
            fence: read before the rows.
            rows: by key; None where the store has none.
            replace: also entries that are there become what the store has; else only what is
                missing is added.
            dead: keys whose newest change is a dead letter, known before the rows were read.
        """
        primary = self._unit.serving.get(number)
        if primary is None or fence.epoch > primary.epoch:
            return Taken(Fit.ELSEWHERE)
        partition = primary.partition
        if fence.cursor > partition.commit:
            return Taken(Fit.AHEAD)
        if fence.cursor < partition.journal.base:
            return Taken(Fit.AGAIN)
        taken = Taken()
        entries: Mapping[bytes, Entry] = partition.spaces.get(space, {})
        removals = self._removals_of(primary)
        changes: list[Mutation] = []
        for key, row in rows.items():
            entry = entries.get(key)
            newest = removals.newest(space, key) if entry is None else entry.version
            if row is None if entry is None else row == (entry.value, entry.deadline_ms):
                taken.same += 1
            elif newest > fence.cursor or (entry is not None and not replace):
                taken.newer += 1
            elif entry is not None and key in dead:
                taken.dead += 1
            elif row is None:
                changes.append((space, key, None, 0))
                taken.removed += 1
            else:
                changes.append((space, key, *row))
                taken.added += entry is None
                taken.changed += entry is not None
        self._write(primary, changes)
        return taken

    def _write(self, primary: Primary, changes: list[Mutation]) -> None:
        part: list[Mutation] = []
        size = 0
        for mutation in changes:
            part.append(mutation)
            size += len(mutation[1]) + len(mutation[2] or b"")
            if len(part) >= LOAD_ENTRIES_MAX or size >= LOAD_BYTES_MAX:
                self._unit.write(primary, record_of(LOAD, 0, 0, 0, None, tuple(part)))
                part, size = [], 0
        if part:
            self._unit.write(primary, record_of(LOAD, 0, 0, 0, None, tuple(part)))

    def _removals_of(self, primary: Primary) -> Removals:
        known = self._removals.get(primary.number)
        if known is None or known[0] is not primary:
            # Those of roles that ended go with them.
            serving = self._unit.primaries
            for number in [
                n for n, (one, _) in self._removals.items() if serving.get(n) is not one
            ]:
                del self._removals[number]
            known = self._removals[primary.number] = (primary, Removals())
        known[1].follow(primary.partition.journal)
        return known[1]
