"""How far the store is with each partition, as its primary knows it. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

MARKS_MAX: Final = 64
"""Points in time remembered per partition for the age of its backlog."""

MARK_S: Final = 0.05
"""Commits within this time share a mark: the age of the backlog is exact to it."""


class Phase(IntEnum):
    UNCLAIMED = 0
    CLAIMED = 1
    FENCED = 2  # a higher epoch owns the partition; over for this epoch


class PartitionLag(NamedTuple):
    """What the store lacks of a partition.

    Attributes:
        cursor: the store is known to have everything up to it.
        size: about how many bytes of the journal follow it.
        seconds: age of the oldest record that follows it; 0: none does.
        known: the store has said where it stands; before that, `cursor` is 0 or an old one.
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
    first seen, up to which sequence), oldest first."""

    epoch: int
    phase: Phase = Phase.UNCLAIMED
    cursor: int = 0
    committed: int = 0
    flight: int = 0
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def lag(self) -> int:
        return max(0, self.committed - self.cursor) if self.phase is not Phase.FENCED else 0

    def lag_s(self, now: float) -> float:
        return max(0.0, now - self.marks[0][0]) if self.marks else 0.0

    def mark(self, now: float) -> None:
        """`committed` has risen."""
        marks = self.marks
        if marks and (now - marks[-1][0] < MARK_S or len(marks) >= MARKS_MAX):
            marks[-1] = (marks[-1][0], self.committed)
        else:
            marks.append((now, self.committed))

    def unmark(self) -> None:
        """`cursor` has risen."""
        while self.marks and self.marks[0][1] <= self.cursor:
            self.marks.popleft()
