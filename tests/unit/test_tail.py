"""What of a journal is in files, by itself, and as it travels."""

from __future__ import annotations

import zlib

import pytest
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Puts, Record
from tupelo_grid.core.snapshot import Snapshot, SnapshotBuilder, SnapshotError, spilled_chunk
from tupelo_grid.core.spill import Spill
from tupelo_grid.core.tail import Extent, Tail, decode_records, encode_records


def test_a_snapshot_with_a_gap_before_its_records_is_refused() -> None:
    spill = Spill({}, list, 1 << 30)
    partition = Partition(0)
    for number in range(1, 9):
        partition.append((1, 9, number, 0, None, (("default", b"k", b"v", 0),)), 1)
    partition.advance_commit(8)
    records = partition.journal.read(0, 8)
    partition.journal.trim(4, at_once=True)
    for through, whole in ((3, False), (4, True)):
        builder = SnapshotBuilder(1, 0, spill=spill)
        bodies = [spilled_chunk(Extent(0, through, 100), encode_records(records[:through]))]
        bodies += Snapshot(partition).chunks()
        for index, body in enumerate(bodies):
            builder.add(index, body, zlib.crc32(body))
        if whole:
            built = builder.build()
            assert built.journal_after == 0
            built.validate()
        else:
            with pytest.raises(SnapshotError, match="not whole"):
                builder.build()


def test_records_of_bulk_writes_are_read_as_they_were_written() -> None:
    many = Puts("default", (b"a", b"b"), (b"1", b"2"), 9)
    records: list[Record] = [(1, 9, 1, 0, None, many), (1, 9, 2, 0, None, tuple(many))]
    assert decode_records(encode_records(records)) == records


def test_sizes_of_a_range() -> None:
    tail = Tail(Spill({}, list, 1))
    for after in range(0, 100, 10):
        tail.add(Extent(after, after + 10, 1000))
    assert tail.size_between(0, 100) == tail.size == 10_000
    assert tail.size_between(15, 95) == 8000
    assert tail.size_between(100, 100) == 0
    assert [extent.after for extent in tail.forget(30)] == [0, 10, 20]
    assert (tail.size, tail.after) == (7000, 30)


def test_extents_of_a_snapshot_follow_one_another_or_leave_out_what_is_stored() -> None:
    spill = Spill({}, list, 1)
    tail = spill.begin()
    assert spill.receive(0, tail, Extent(0, 10, 5, payload=b""))
    assert not spill.receive(0, tail, Extent(5, 20, 5, payload=b"")), "it overlaps"
    assert not spill.receive(0, tail, Extent(10, 10, 5, payload=b"")), "it is empty"
    assert not spill.receive(0, tail, Extent(10, 20, -5, payload=b""))
    first = tail.extents[0]
    assert spill.receive(0, tail, Extent(15, 20, 5, payload=b""))
    assert first.gone
    assert (tail.after, tail.through, tail.size) == (15, 20, 5)


def test_extents_where_there_are_no_files_are_refused() -> None:
    builder = SnapshotBuilder(1, 0)
    body = spilled_chunk(Extent(0, 1, 10), b"")
    with pytest.raises(SnapshotError, match="none can be"):
        builder.add(0, body, zlib.crc32(body))
