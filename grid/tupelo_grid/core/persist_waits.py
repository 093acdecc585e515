"""Who waits for a change of this unit's partitions to be in the store. Pure.

The pump tells of cursors that rose and of changes that were put aside; each wait ends once, with
one or the other, or when the partition goes to another unit, where it can be begun again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Final

from tupelo_grid.core.pump_frames import DeadRow

RECENT_DEAD_MAX: Final = 256
"""Changes put aside that a unit remembers, for waits that begin a little late."""

Places = frozenset[tuple[str, bytes]]


class WaitEnd(IntEnum):
    """The values are the wire's PersistState."""

    STORED = 1
    PENDING = 2
    DEAD_LETTER = 3
    WRONG_OWNER = 4
    UNKNOWN = 5


@dataclass(slots=True, eq=False)
class Wait:
    """For the change at `sequence`, which touched `places` (space, key). `done(end, why)` is called
    once."""

    partition: int
    sequence: int
    places: Places
    done: Callable[[WaitEnd, str], None]


class PersistWaits:
    """`tupelo_grid.core.pump_port.PumpListener`, and what a PumpSource tells its cursors."""

    def __init__(self, waits_max: int) -> None:
        self._max = waits_max
        self._waits: dict[int, dict[Wait, None]] = {}
        self._recent: deque[tuple[DeadRow, int]] = deque(maxlen=RECENT_DEAD_MAX)
        self.count = 0

    def add(self, wait: Wait) -> bool:
        """False when so many wait already that this one cannot."""
        if self.count >= self._max:
            return False
        self._waits.setdefault(wait.partition, {})[wait] = None
        self.count += 1
        return True

    def discard(self, wait: Wait) -> None:
        """Nobody waits any more; one that has ended is not there."""
        mine = self._waits.get(wait.partition)
        if mine is not None and wait in mine:
            del mine[wait]
            self.count -= 1
            if not mine:
                del self._waits[wait.partition]

    def persisted(self, partition: int, cursor: int) -> None:
        self._end(partition, lambda wait: wait.sequence <= cursor, WaitEnd.STORED, "")

    def dead(self, rows: Sequence[DeadRow], after: int) -> None:
        for row in rows:
            self._recent.append((row, after))
            self._end(row.partition, partial(_hit, row), WaitEnd.DEAD_LETTER, row.error)

    def dropped(self, partition: int) -> None:
        self._end(partition, lambda _: True, WaitEnd.WRONG_OWNER, "")

    def refusal(self, partition: int, sequence: int, places: Places) -> str:
        """Why a change that the cursor has passed is not in the store; "": it is.

        Without `places`, as of a record that is forgotten already, only its own dead letter counts.
        """
        for row, after in self._recent:
            if row.partition != partition or not after < sequence <= row.version:
                continue
            if row.version == sequence or (row.space, row.key) in places:
                return row.error
        return ""

    def _end(self, partition: int, ends: Callable[[Wait], bool], end: WaitEnd, why: str) -> None:
        for wait in [wait for wait in self._waits.get(partition, ()) if ends(wait)]:
            self.discard(wait)
            wait.done(end, why)


def _hit(row: DeadRow, wait: Wait) -> bool:
    """A later change of the same key took this one along, where both were in one batch; and what
    came in an earlier one has ended already."""
    return wait.sequence == row.version or (
        wait.sequence < row.version and (row.space, row.key) in wait.places
    )
