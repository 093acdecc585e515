"""Replicas made again from the items of a disk journal. No I/O."""

from __future__ import annotations

import zlib

from tupelo_grid.core.disk_format import Chunk, Drop, Item, Records
from tupelo_grid.core.journal import epoch_at
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import restored
from tupelo_grid.core.snapshot import SnapshotBuilder, SnapshotError


class Unreplayable(ValueError):
    """An item does not follow from those before it."""


class Replay:
    """Takes items in order; `partitions` is then what they make.

    A snapshot replaces its replica when its last piece is there, as on the network: one that was
    never finished changes nothing. Older blocks may be gone, so what there is of a replica before
    its first whole snapshot is passed over.

    Attributes:
        records: how many were applied.
        headless: replicas of which something was passed over, and no whole snapshot came yet.
    """

    def __init__(self) -> None:
        self.partitions: dict[int, Partition] = {}
        self.records = 0
        self.headless: set[int] = set()
        self._builders: dict[int, SnapshotBuilder] = {}

    def take(self, item: Item) -> None:
        """Raises Unreplayable."""
        if isinstance(item, Records):
            self._records(item)
        elif isinstance(item, Chunk):
            self._chunk(item)
        elif isinstance(item, Drop):
            self.partitions.pop(item.partition, None)
            self.headless.discard(item.partition)
            self._builders.pop(item.partition, None)

    def _records(self, item: Records) -> None:
        held = self.partitions.get(item.partition)
        if held is None:
            self.headless.add(item.partition)
            return
        journal = held.journal
        if journal.last != item.previous or journal.last_epoch != item.previous_epoch:
            raise Unreplayable(
                f"records of partition {item.partition} that follow {item.previous}, where it "
                f"ends at {journal.last}"
            )
        append, runs = held.append, item.runs
        if len(runs) == 1:
            epoch = runs[0][1]
            for record in restored(item.records):
                append(record, epoch)
        else:
            for sequence, record in enumerate(restored(item.records), item.previous + 1):
                append(record, epoch_at(runs, sequence))
        self.records += len(item.records)
        held.advance_commit(item.commit)
        held.persisted = max(held.persisted, min(item.persisted, held.commit))
        journal.trim(held.persisted)

    def _chunk(self, item: Chunk) -> None:
        builder = self._builders.get(item.partition)
        if item.index == 0:
            builder = SnapshotBuilder(item.snapshot_id, item.partition)
            self._builders[item.partition] = builder
        elif builder is None or builder.snapshot_id != item.snapshot_id:
            self.headless.add(item.partition)
            return
        try:
            builder.add(item.index, item.body, zlib.crc32(item.body))
            if item.last:
                del self._builders[item.partition]
                self.partitions[item.partition] = builder.build()
                self.headless.discard(item.partition)
        except SnapshotError as error:
            raise Unreplayable(f"a snapshot of partition {item.partition}: {error}") from error
