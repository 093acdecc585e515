"""Which blocks of a disk journal are still needed, and what to rewrite so that fewer are. Pure.

A replica needs the blocks from its newest whole snapshot on. It is written anew when the records
behind that snapshot have outgrown it; and those whose snapshots lie in the oldest file are, when
all files together hold much more than what is needed. So a journal takes at most about six times
what its replicas take, and two files; and each byte is rewritten about once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tupelo_grid.core.disk_format import Chunk, Drop, Item, Records

# Records behind a snapshot may be so many times its size.
GROWTH = 2
# All files may be so many times what is needed of them, and two files.
SLACK = 2


@dataclass(slots=True)
class Part:
    """A replica on disk: the block its newest snapshot begins with, its size, and what follows."""

    start: int
    snapshot_bytes: int = 0
    later_bytes: int = 0

    @property
    def bytes(self) -> int:
        return self.snapshot_bytes + self.later_bytes


class Segments:
    """Files by the number of their first block, with their sizes; the last one is written to."""

    def __init__(self, segment_bytes: int, snapshot_bytes_min: int) -> None:
        self.files: dict[int, int] = {}
        self.parts: dict[int, Part] = {}
        self._segment_bytes = segment_bytes
        self._snapshot_bytes_min = snapshot_bytes_min
        # Snapshots of which the last piece has not been seen.
        self._begun: dict[int, Part] = {}

    @property
    def total(self) -> int:
        return sum(self.files.values())

    def note(self, items: Sequence[Item], number: int, size: int) -> None:
        """A block of this number and size, with these items, is in the files."""
        self.files[max(first for first in self.files if first <= number)] += size
        records = sum(len(item.records) for item in items if isinstance(item, Records))
        for item in items:
            if isinstance(item, Chunk):
                self._note_chunk(item, number)
            elif isinstance(item, Drop):
                self.parts.pop(item.partition, None)
                self._begun.pop(item.partition, None)
            elif item.partition in self.parts:
                # Its share of the block, as if all records were of one size.
                self.parts[item.partition].later_bytes += size * len(item.records) // records

    def _note_chunk(self, chunk: Chunk, number: int) -> None:
        if chunk.index == 0:
            self._begun[chunk.partition] = Part(number)
        part = self._begun.get(chunk.partition)
        if part is not None:
            part.snapshot_bytes += len(chunk.body)
            if chunk.last:
                self.parts[chunk.partition] = self._begun.pop(chunk.partition)

    def unneeded(self) -> list[int]:
        """Files, oldest first, that no replica needs."""
        needed = min((part.start for part in self.parts.values()), default=None)
        firsts = list(self.files)
        return [
            first for first, following in pairwise(firsts) if needed is None or following <= needed
        ]

    def due(self, bytes_max: int) -> list[int]:
        """Replicas to be written anew now, of about `bytes_max` together; at least one."""
        chosen: list[int] = []
        size = 0
        for number in self._wanted():
            if chosen and size >= bytes_max:
                break
            chosen.append(number)
            size += self.parts[number].bytes
        return chosen

    def _wanted(self) -> list[int]:
        grown = [
            number
            for number, part in self.parts.items()
            if part.later_bytes > max(self._snapshot_bytes_min, GROWTH * part.snapshot_bytes)
        ]
        needed = sum(part.bytes for part in self.parts.values())
        if self.total <= SLACK * (needed + self._segment_bytes):
            return grown
        firsts = list(self.files)
        if len(firsts) < 2:
            return grown
        pinned = [n for n, part in self.parts.items() if part.start < firsts[1]]
        return pinned + [number for number in grown if number not in pinned]
