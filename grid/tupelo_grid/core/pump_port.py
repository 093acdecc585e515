"""What the pump needs of a unit, and what it tells. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tupelo_grid.core.pump_frames import DeadRow
from tupelo_grid.core.records import Record


class PumpSource(Protocol):
    """The journals of one unit, as the pump reads them."""

    def primaries(self) -> Mapping[int, int]:
        """Partition -> epoch of the partitions this unit is the ready primary of."""
        ...

    def committed(self, partition: int) -> int:
        """Sequence of the newest committed record."""
        ...

    def base(self, partition: int) -> int:
        """Records up to it are no longer held."""
        ...

    def read(self, partition: int, after: int, limit: int) -> Sequence[tuple[int, Record]]:
        """At most `limit` committed records that follow `after`, in order, with their sequences;
        none while they are being read from a file.

        `after` is not below `base`, and the unit is primary of the partition.
        """
        ...

    def bytes_after(self, partition: int, sequence: int) -> int:
        """About how much the records take that follow `sequence`."""
        ...

    def persisted(self, partition: int, epoch: int, cursor: int) -> None:
        """The store has everything up to `cursor`."""
        ...

    def dirty(self) -> set[int]:
        """Partitions with commits, or newly ready, since the last call; the set is handed over."""
        ...


class PumpListener(Protocol):
    """Who waits for changes to be stored."""

    def dead(self, rows: Sequence[DeadRow], after: int) -> None:
        """The store put these changes aside, of a batch that began after that sequence. Called
        before the source is told that the batch is persisted."""
        ...

    def dropped(self, partition: int) -> None:
        """The partition is not this unit's any more."""
        ...


@dataclass(frozen=True, slots=True)
class PumpLimits:
    """Changes and bytes of a frame, frames unanswered at a time, seconds that a change may wait."""

    batch_records: int
    batch_bytes: int
    batch_s: float
    frames_in_flight: int = 1
