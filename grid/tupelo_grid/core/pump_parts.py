"""How far the store is with each partition, as its primary knows it. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from tupelo_grid.core.pump_port import PumpSource
from tupelo_grid.core.records import NOOP

MARKS_MAX: Final = 64
"""Points in time remembered per partition for the age of its backlog."""

MARK_S: Final = 0.05
"""Commits within this time share a mark: the age of the backlog is exact to it."""

NOOPS_MAX: Final = 8
"""So many new records are looked at for whether all of them are no-ops."""


class Phase(IntEnum):
    UNCLAIMED = 0
    CLAIMED = 1
    FENCED = 2  # a higher epoch owns the partition; over for this epoch


class PartitionLag(NamedTuple):
    """What the store lacks of a partition.

    Attributes:
        committed: the newest record, or `cursor` where only no-ops follow it.
        cursor: the store is known to have everything up to it.
        size: about how many bytes of the journal follow it.
        seconds: age of the oldest record that follows it; 0: none does.
        known: the store has said where it stands, or there is nothing that it could lack; before
            that, `cursor` is 0 or an old one.
        problem: why nothing more is stored; "": nothing is wrong with this partition.
    """

    partition: int
    epoch: int
    committed: int
    cursor: int
    size: int
    seconds: float
    known: bool
    problem: str

    @property
    def records(self) -> int:
        return max(0, self.committed - self.cursor)


@dataclass(slots=True)
class PartState:
    """Attributes: `flight`: position of the frame it is in, 0: none. `marks`: (when a record was
    first seen, up to which sequence), oldest first. `changed`: every record after it is a no-op:
    a store that lacks only such records lacks nothing."""

    epoch: int
    phase: Phase = Phase.UNCLAIMED
    cursor: int = 0
    committed: int = 0
    changed: int = 0
    flight: int = 0
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def lag(self) -> int:
        return self.goal - self.cursor if self.phase is not Phase.FENCED else 0

    @property
    def goal(self) -> int:
        """The store has all that matters when its cursor is there."""
        return self.committed if self.changed > self.cursor else self.cursor

    @property
    def known(self) -> bool:
        return self.phase is not Phase.UNCLAIMED or not self.changed

    def lag_s(self, now: float) -> float:
        behind = self.marks and self.changed > self.cursor
        return max(0.0, now - self.marks[0][0]) if behind else 0.0

    def rise(self, committed: int, now: float, source: PumpSource, partition: int) -> None:
        """`committed` is higher than it was."""
        self.changed = self._last_change(committed, source, partition)
        self.committed = committed
        marks = self.marks
        if marks and (now - marks[-1][0] < MARK_S or len(marks) >= MARKS_MAX):
            marks[-1] = (marks[-1][0], self.committed)
        else:
            marks.append((now, self.committed))

    def _last_change(self, committed: int, source: PumpSource, partition: int) -> int:
        """What cannot be looked at counts as changes; and while the store lacks some already, it
        does not matter whether what follows is more of them."""
        if self.changed > self.cursor:
            return committed
        after = max(self.committed, source.base(partition))
        count = committed - after
        new = source.read(partition, after, count) if count <= NOOPS_MAX else ()
        if len(new) < count or any(record[0] != NOOP for _, record in new):
            return committed
        return after if after > self.committed else self.changed

    def unmark(self) -> None:
        """`cursor` has risen."""
        while self.marks and self.marks[0][1] <= self.cursor:
            self.marks.popleft()
