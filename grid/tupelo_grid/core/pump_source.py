"""The journals of a unit as the data pump reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tupelo_grid.core.records import Record
from tupelo_grid.core.unit import Unit


class UnitPumpSource:
    """`tupelo_grid.core.pump.PumpSource` over a `Unit`."""

    def __init__(self, unit: Unit, on_persisted: Callable[[int, int], None] | None = None) -> None:
        """`on_persisted(partition, cursor)` is called when the store has everything up to there."""
        self._unit = unit
        self._on_persisted = on_persisted

    def primaries(self) -> Mapping[int, int]:
        """Partition -> epoch of the partitions this unit is the ready primary of."""
        return {
            number: primary.epoch
            for number, primary in self._unit.primaries.items()
            if primary.ready
        }

    def committed(self, partition: int) -> int:
        return self._unit.replicas[partition].commit

    def read(self, partition: int, after: int, limit: int) -> list[tuple[int, Record]]:
        """Committed records only: what follows may yet be cut off."""
        held = self._unit.replicas[partition]
        if held.spilled is not None and after < held.journal.base:
            return held.spilled.read(after, limit)
        records = held.journal.read(after, min(limit, max(0, held.commit - after)))
        return list(enumerate(records, start=after + 1))

    def base(self, partition: int) -> int:
        """Records up to it are no longer held."""
        return self._unit.replicas[partition].journal_after

    def bytes_after(self, partition: int, sequence: int) -> int:
        """The records' share of the journal, as if all were of one size."""
        partition_held = self._unit.replicas[partition]
        journal, tail = partition_held.journal, partition_held.spilled
        spilled = tail.size_between(sequence, journal.base) if tail is not None else 0
        held = journal.last - journal.base
        behind = journal.last - max(sequence, journal.base)
        return spilled + (journal.bytes * max(0, behind) // held if held else 0)

    def persisted(self, partition: int, epoch: int, cursor: int) -> None:
        """The store has everything up to `cursor`: the journal may forget it."""
        primary = self._unit.primaries.get(partition)
        if primary is not None and primary.epoch == epoch:
            held = primary.partition
            held.persisted = max(held.persisted, min(cursor, held.commit))
            if self._on_persisted is not None:
                self._on_persisted(partition, held.persisted)

    def dirty(self) -> set[int]:
        """Partitions with something new since the last call."""
        dirty, self._unit.dirty = self._unit.dirty, set()
        return dirty
