"""The part of a replica's journal that is in files, as whoever reads the journal sees it. Pure.

A tail is a series of extents: runs of committed records that follow one another without a gap, up
to where the records in memory begin, or beyond. Committed records never change, so an extent is
written once, read whole, and removed whole when the store has all of it. Reading takes time: who
asks for records gets those that are there, and finds the others when he asks again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

import msgspec

from tupelo_grid.core.records import Record, StoredRecord, restored, stored

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[StoredRecord])
_through = attrgetter("through")

Ready = Callable[[bytes | None], None]
"""Is given an extent's bytes, or None when it is gone: the store has it."""


@dataclass(slots=True, eq=False)
class Extent:
    """The records (after, through] of one replica.

    Attributes:
        size: bytes that they took in memory, as the journal counts them.
        file: the number of the file that holds them; 0: none does yet.
        file_bytes: of that file.
        payload: the records encoded, while they are in no file, if the journal does not have them.
        gone: nobody needs it any more.
    """

    after: int
    through: int
    size: int
    file: int = 0
    file_bytes: int = 0
    payload: bytes | None = None
    gone: bool = False


def encode_records(records: Sequence[Record]) -> bytes:
    return _encoder.encode(stored(records))


def decode_records(payload: bytes | memoryview) -> list[Record]:
    """Raises msgspec.DecodeError or ValidationError."""
    return restored(_decoder.decode(payload))


class TailReader(Protocol):
    """Whoever brings extents back from their files."""

    def records(self, extent: Extent, following: Extent | None) -> Sequence[Record]:
        """All of the extent's records; none while they are being read. `following` will be wanted
        next."""
        ...

    def fetch(self, extent: Extent, ready: Ready) -> None:
        """Calls `ready` when the extent's bytes are there, perhaps at once."""
        ...


class Tail:
    """Of one replica. `extents`: oldest first, those that are in no file yet come last; `size`: of
    all of them, as the journal counts."""

    __slots__ = ("_reader", "extents", "size")

    def __init__(self, reader: TailReader) -> None:
        self._reader = reader
        self.extents: list[Extent] = []
        self.size = 0

    @property
    def after(self) -> int:
        """The sequence before the first record; of a tail that is not empty."""
        return self.extents[0].after

    @property
    def through(self) -> int:
        """The sequence of the last record; 0 when there is none."""
        return self.extents[-1].through if self.extents else 0

    def add(self, extent: Extent) -> None:
        assert not self.extents or extent.after == self.through, "a gap in the tail"
        self.extents.append(extent)
        self.size += extent.size

    def forget(self, persisted: int) -> list[Extent]:
        """Takes out those of which the store has everything."""
        count = bisect_right(self.extents, persisted, key=_through)
        gone, self.extents = self.extents[:count], self.extents[count:]
        self.size -= sum(extent.size for extent in gone)
        return gone

    def following(self, sequence: int) -> Extent | None:
        """The extent with the first record behind that sequence."""
        place = bisect_right(self.extents, sequence, key=_through)
        return self.extents[place] if place < len(self.extents) else None

    def read(self, after: int, limit: int) -> list[tuple[int, Record]]:
        """Up to `limit` records that follow `after`, with their sequences; fewer where an extent
        ends, none while it is being read."""
        place = bisect_right(self.extents, after, key=_through)
        extent = self.extents[place]
        assert extent.after <= after, "not in the tail"
        following = self.extents[place + 1] if place + 1 < len(self.extents) else None
        records = self._reader.records(extent, following)
        start = after - extent.after
        return list(enumerate(records[start : start + limit], after + 1))

    def fetch(self, extent: Extent, ready: Ready) -> None:
        self._reader.fetch(extent, ready)

    def size_between(self, after: int, through: int) -> int:
        """About how much the records of that range take up in memory."""
        if not self.extents or after >= self.through:
            return 0
        total = self.size
        for extent in self.extents:
            if extent.after >= after:
                break
            count = min(after, extent.through) - extent.after
            total -= extent.size * count // (extent.through - extent.after)
        for extent in reversed(self.extents):
            if extent.through <= through:
                break
            count = extent.through - max(through, extent.after)
            total -= extent.size * count // (extent.through - extent.after)
        return max(0, total)

    def validate(self, base: int, persisted: int) -> None:
        """Nothing is missing between what the store has and what is in memory."""
        end = self.extents[0].after if self.extents else persisted
        assert end <= persisted or not self.extents, "the tail begins behind what is stored"
        for extent in self.extents:
            assert extent.after == end, "a gap in the tail"
            assert extent.file or extent.payload is not None, "an extent that is nowhere"
            end = extent.through
        assert max(end, persisted) >= base, "records between the tail and the memory are missing"
