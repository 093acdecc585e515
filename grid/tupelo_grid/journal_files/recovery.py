"""Reading a unit's journal back: what was there when its process ended.

A block that cannot be read ends the journal, when nothing shows that it ever was safely on disk: it
is what was being written at the end, and nobody was told of it. It is cut off, with what follows.
If a later block, or the mark beside the files, says that it was on disk, the journal is damaged,
and refused with file and offset: what would be left is an older state.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field

from tupelo_grid.core.disk_format import Undecodable, decode_items, later_blocks, open_block
from tupelo_grid.core.disk_replay import Replay, Unreplayable
from tupelo_grid.core.disk_segments import Segments
from tupelo_grid.core.partition import Partition
from tupelo_grid.journal_files.folder import SYNCED, CorruptJournal, Folder

SYNCED_MARK = struct.Struct("<QI")


@dataclass(slots=True)
class Recovered:
    """What a journal held. `last`: the number of its newest block; `cut`: bytes of a torn tail."""

    segments: Segments
    partitions: dict[int, Partition] = field(default_factory=dict)
    last: int = 0
    records: int = 0
    cut: int = 0


def pack_synced(number: int) -> bytes:
    body = number.to_bytes(8, "little")
    return SYNCED_MARK.pack(number, zlib.crc32(body))


def read_synced(folder: Folder) -> int:
    """The newest block known to be on disk; 0 when the mark says nothing."""
    try:
        data = (folder.path / SYNCED).read_bytes()
    except FileNotFoundError:
        return 0
    if len(data) != SYNCED_MARK.size:
        return 0
    number, crc = SYNCED_MARK.unpack(data)
    return int(number) if zlib.crc32(int(number).to_bytes(8, "little")) == crc else 0


def recover(folder: Folder, segments: Segments) -> Recovered:
    """Reads everything and cuts a torn tail off. `segments`: empty; it is filled.

    Raises CorruptJournal, OSError.
    """
    reader = _Reader(folder, segments, read_synced(folder))
    found = reader.found
    for first in folder.files():
        if reader.torn:
            reader.cut_file(first)
        else:
            reader.read(first)
    if found.last < reader.synced:
        path = folder.file(next(reversed(segments.files))) if segments.files else folder.path
        at = path.stat().st_size if segments.files else 0
        what = f"it ends with block {found.last}, and block {reader.synced} was on disk"
        raise CorruptJournal(path, at, what)
    if reader.replay.headless:
        numbers = ", ".join(map(str, sorted(reader.replay.headless)))
        path = folder.file(next(iter(segments.files)))
        raise CorruptJournal(path, 0, f"the beginning of partitions {numbers} is missing")
    found.partitions = reader.replay.partitions
    found.records = reader.replay.records
    return found


class _Reader:
    def __init__(self, folder: Folder, segments: Segments, synced: int) -> None:
        self.folder = folder
        self.synced = synced
        self.found = Recovered(segments)
        self.replay = Replay()
        self.torn = False
        self._next = 0

    def read(self, first: int) -> None:
        path = self.folder.file(first)
        data = path.read_bytes()
        view = memoryview(data)
        start = 0
        self.found.segments.files[first] = 0
        if self._next and first != self._next:
            raise CorruptJournal(path, 0, f"it begins with block {first}, {self._next} is missing")
        while start < len(data):
            block = open_block(view, start)
            if block is None or (self._next and block.number != self._next):
                self._tear(first, start, data)
                break
            try:
                items = decode_items(block.payload)
                for item in items:
                    self.replay.take(item)
            except (Undecodable, Unreplayable) as error:
                raise CorruptJournal(path, start, str(error)) from error
            self.found.segments.note(items, block.number, block.end - start)
            self.found.last = block.number
            self._next = block.number + 1
            start = block.end
        if not start:
            del self.found.segments.files[first]
            path.unlink(missing_ok=True)

    def _tear(self, first: int, start: int, data: bytes) -> None:
        """The block at `start` cannot be read. Cuts it off where it was never told to be there."""
        path = self.folder.file(first)
        number = self._next or first
        if number <= self.synced:
            raise CorruptJournal(
                path, start, f"block {number} cannot be read, and block {self.synced} was on disk"
            )
        later = list(later_blocks(data, start))
        for follower in self.folder.files():
            if follower > first:
                later += later_blocks(self.folder.file(follower).read_bytes(), -1)
        if any(block.durable >= number for block in later):
            raise CorruptJournal(path, start, f"block {number} cannot be read, later ones can")
        self.torn = True
        self.found.cut += len(data) - start
        _truncate(self.folder, first, start)

    def cut_file(self, first: int) -> None:
        """All of a file that follows a torn tail."""
        self.found.cut += self.folder.file(first).stat().st_size
        _truncate(self.folder, first, 0)


def _truncate(folder: Folder, first: int, size: int) -> None:
    path = folder.file(first)
    if not size:
        path.unlink()
        folder.sync()
        return
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())
