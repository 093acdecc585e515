"""A unit's journal on a real folder, without the unit: written, left behind, and read again."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tupelo_grid.core.disk import Disk
from tupelo_grid.core.disk_segments import Segments
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Record
from tupelo_grid.journal_files.folder import Folder
from tupelo_grid.journal_files.log import Log
from tupelo_grid.journal_files.recovery import Recovered, recover

SEGMENT_BYTES = 4096


def put(number: int, size: int = 40) -> Record:
    return (1, 9, number, number, None, (("carts", b"k%d" % (number % 50), b"v" * size, 0),))


def read(path: Path) -> Recovered:
    """As a starting unit does. Raises CorruptJournal."""
    with Folder(path) as folder:
        return recover(folder, Segments(SEGMENT_BYTES, SEGMENT_BYTES // 4))


class Journal:
    """One life of a unit that holds some partitions. `told`: per partition, the sequence up to
    which everything was on disk, and so may have been acknowledged."""

    def __init__(self, path: Path, partitions: int = 2, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.path = path
        self.folder = Folder(path)
        self.replicas = {number: Partition(number) for number in range(partitions)}
        self.told: dict[int, int] = {}
        self._segment_bytes = segment_bytes

    def __enter__(self) -> Self:
        self.folder.__enter__()
        found = recover(self.folder, Segments(self._segment_bytes, self._segment_bytes // 4))
        self.replicas |= found.partitions
        self.disk = Disk(self.replicas, {})
        self.log = Log(self.folder, found, self._segment_bytes)
        self.log.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.log.close()
        self.folder.__exit__(kind, error, trace)

    def append(self, count: int, partition: int = 0, size: int = 40) -> None:
        held = self.replicas[partition]
        for _ in range(count):
            held.append(put(held.journal.last, size), 1)

    def write(self, sync: bool = True) -> None:
        """Raises DiskFull: what was collected is lost to this life then."""
        batch = self.disk.collect(self.log.segments.due(SEGMENT_BYTES))
        if batch is not None:
            self.log.write(batch, sync)
            self.log.clean()
            for number in self.disk.done(batch):
                held = self.replicas[number]
                self.told[number] = held.journal.last
                held.advance_commit(held.journal.last)
                held.persisted = held.commit
                held.journal.trim(held.persisted)

    def run(self, batches: int, records: int = 3, sync: bool = True) -> None:
        for number in range(batches):
            self.append(records, number % len(self.replicas))
            self.write(sync)


def copy(path: Path, target: Path) -> Path:
    """As the disk is at this moment: what a loss of the process leaves."""
    return Path(shutil.copytree(path, target))
