"""What is written to a disk journal, when, and what is made of it again: without any disk."""

from __future__ import annotations

import pytest
from tupelo_grid.core.disk import Batch, Disk
from tupelo_grid.core.disk_format import (
    Chunk,
    Drop,
    Item,
    Records,
    Undecodable,
    decode_items,
    encode_items,
    later_blocks,
    open_block,
    pieces,
    seal,
)
from tupelo_grid.core.disk_replay import Replay, Unreplayable
from tupelo_grid.core.disk_segments import Segments
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Puts, Record


def put(number: int, value: bytes = b"v") -> Record:
    return (1, 9, number, 0, None, (("carts", b"k%d" % number, value, 0),))


def filled(number: int, *epochs: int) -> Partition:
    partition = Partition(number)
    for count, epoch in enumerate(epochs):
        partition.append(put(count), epoch)
    return partition


def items_of(batch: Batch | None) -> list[Item]:
    assert batch is not None
    written = [payload for _, payload in batch.payloads()]
    return [item for payload in written for item in decode_items(memoryview(payload))]


class Written:
    """A disk that takes everything, and what a restart would find on it."""

    def __init__(self, *replicas: Partition) -> None:
        self.replicas = {one.number: one for one in replicas}
        self.disk = Disk(self.replicas, {})
        self.replay = Replay()

    def write(self, *due: int) -> list[Item]:
        batch = self.disk.collect(due)
        if batch is None:
            return []
        items = items_of(batch)
        for item in items:
            self.replay.take(item)
        self.disk.done(batch)
        return items

    def same(self, number: int) -> bool:
        held, found = self.replicas[number], self.replay.partitions[number]
        assert found.journal.runs == held.journal.runs
        found.validate()
        return found.digest() == held.digest() and found.journal.last == held.journal.last


def test_a_replica_is_written_once_whole_and_then_record_by_record() -> None:
    held = filled(3, 1, 1, 2)
    written = Written(held)
    assert {type(item) for item in written.write()} == {Chunk}
    held.append(put(7), 2)
    held.append((1, 9, 8, 0, None, Puts("carts", (b"a", b"b"), (b"1", b"2"), 0)), 5)
    (records,) = written.write()
    assert isinstance(records, Records)
    assert (records.previous, records.runs) == (3, [(4, 2), (5, 5)])
    assert written.write() == []
    assert written.same(3)


def test_a_commit_waits_until_its_batch_is_on_disk() -> None:
    held = filled(0, 1)
    disk = Disk({0: held}, {})
    batch = disk.collect()
    assert batch is not None
    held.append(put(1), 1)
    assert disk.durable(held) == 0
    assert disk.done(batch) == [0]
    assert disk.durable(held) == 1


def test_an_answer_is_held_until_all_that_is_in_memory_is_on_disk() -> None:
    held, told = filled(0, 1), list[str]()
    disk = Disk({0: held}, {})
    first = disk.collect()
    held.append(put(1), 1)
    disk.hold(lambda: told.append("after the second record"))
    assert first is not None
    disk.done(first)
    assert told == []
    second = disk.collect()
    assert second is not None
    disk.done(second)
    assert told == ["after the second record"]
    disk.hold(lambda: told.append("nothing new"))
    assert disk.collect() is None
    assert told[1:] == ["nothing new"]


def test_a_replica_that_was_cut_back_is_written_anew_and_not_durable_before() -> None:
    held = filled(0, 1, 1, 1)
    written = Written(held)
    written.write()
    held.truncate(1)
    assert written.disk.durable(held) == 0
    held.append(put(5, b"other"), 2)
    held.append(put(6, b"other"), 2)
    assert written.disk.durable(held) == 0
    assert any(isinstance(item, Chunk) for item in written.write())
    assert written.disk.durable(held) == 3
    assert written.same(0)


def test_a_replica_that_was_replaced_is_written_anew() -> None:
    written = Written(filled(0, 1))
    written.write()
    written.replicas[0] = filled(0, 1, 1)
    assert written.disk.durable(written.replicas[0]) == 0
    assert any(isinstance(item, Chunk) for item in written.write())
    assert written.same(0)


def test_a_journal_that_was_trimmed_beyond_what_is_written_is_written_anew() -> None:
    held = filled(0, *[1] * 80)
    written = Written(held)
    written.write()
    for number in range(80, 240):
        held.append(put(number), 1)
    held.advance_commit(240)
    held.persisted = 240
    held.journal.trim(200)
    assert any(isinstance(item, Chunk) for item in written.write())
    assert written.same(0)


def test_a_replica_that_is_gone_is_dropped_from_the_disk() -> None:
    written = Written(filled(0, 1), filled(1, 1))
    written.write()
    del written.replicas[0]
    assert written.write() == [Drop(0)]
    assert list(written.replay.partitions) == [1]


def test_recovered_replicas_stay_on_disk_until_they_are_given_up() -> None:
    recovered = {4: filled(4, 1, 1)}
    disk = Disk({}, recovered)
    assert disk.collect() is None
    assert any(isinstance(item, Chunk) for item in items_of(disk.collect([4])))
    held = recovered.pop(4)
    assert items_of(disk.collect()) == [Drop(4)]
    assert disk.durable(held) == 0


def test_rewriting_is_left_out_where_there_is_no_room_and_no_record_is() -> None:
    held = filled(0, 1)
    written = Written(held)
    written.write()
    held.append(put(1), 1)
    batch = written.disk.collect([0])
    assert batch is not None
    batch.leave_out_spare()
    (records,) = items_of(batch)
    written.replay.take(records)
    assert isinstance(records, Records)
    assert written.same(0)


def test_a_snapshot_that_was_never_finished_changes_nothing() -> None:
    held = filled(0, 1, 1)
    written = Written(held)
    written.write()
    items = items_of(written.disk.collect([0]))
    for item in items[:-1]:
        written.replay.take(item)
    assert written.same(0)
    assert not written.replay.headless


def test_what_precedes_a_whole_snapshot_may_be_gone() -> None:
    held = filled(0, 1)
    written = Written(held)
    written.write()
    held.append(put(1), 1)
    tail = written.write()
    replay = Replay()
    for item in tail:
        replay.take(item)
    assert replay.headless == {0}
    for item in written.write(0):
        replay.take(item)
    assert not replay.headless
    assert replay.partitions[0].digest() == held.digest()


def test_records_that_do_not_follow_are_refused() -> None:
    written = Written(filled(0, 1))
    written.write()
    with pytest.raises(Unreplayable, match="partition 0 that follow 5"):
        written.replay.take(Records(0, 5, 1, [(6, 1)], 0, 0, [put(6)]))


def test_the_dedupe_table_and_evictions_come_back() -> None:
    held = filled(0, 1, 1)
    held.append((1, 77, 5, 3, (1, 0, b"no"), ()), 1)
    held.append((4, 0, 0, 0, (0, 0, b"\x91\x09"), ()), 1)
    written = Written(held)
    written.write()
    held.append((1, 78, 1, 0, None, ()), 1)
    written.write()
    found = written.replay.partitions[0]
    assert found.sessions.dump() == held.sessions.dump()
    assert found.sessions.evicted_through == 9


def test_long_batches_are_cut_into_blocks() -> None:
    records = [put(n) for n in range(100)]
    whole = Records(0, 0, 0, [(1, 1), (60, 2)], 100, 100, records)
    parts = list(pieces(whole))
    assert [len(part.records) for part in parts] == [32, 32, 32, 4]
    assert [record for part in parts for record in part.records] == records
    ends = [(part.previous + len(part.records)) for part in parts]
    assert [part.previous for part in parts] == [0, *ends[:-1]]
    replay = Replay()
    replay.partitions[0] = Partition(0)
    for part in parts:
        replay.take(part)
    assert replay.partitions[0].journal.runs == [(1, 1), (60, 2)]


def test_a_block_that_was_touched_is_no_block() -> None:
    block = seal(encode_items([Drop(1)]), 7, 6)
    whole = open_block(memoryview(block), 0)
    assert whole is not None
    assert (whole.number, whole.durable, whole.end) == (7, 6, len(block))
    for place in range(len(block)):
        for bit in (1, 128):
            damaged = bytearray(block)
            damaged[place] ^= bit
            assert open_block(memoryview(bytes(damaged)), 0) is None
    assert open_block(memoryview(block[:-1]), 0) is None
    assert [one.number for one in later_blocks(b"noise" + block + block, 0)] == [7, 7]


def test_a_payload_of_something_else_is_refused() -> None:
    with pytest.raises(Undecodable):
        decode_items(memoryview(b"\x91\x92\x05\x01"))


def test_files_go_when_no_replica_needs_them_and_replicas_are_rewritten_in_time() -> None:
    segments = Segments(segment_bytes=1000, snapshot_bytes_min=100)
    whole = [Chunk(0, 1, 0, True, b"x" * 300), Chunk(1, 1, 0, True, b"x" * 300)]
    segments.files[1] = 0
    segments.note(whole, 1, 700)
    record = Records(0, 0, 0, [(1, 1)], 0, 0, [put(1)])
    segments.note([record], 2, 400)
    assert segments.due(1) == []
    segments.files[3] = 0
    segments.note([record], 3, 300)
    assert segments.due(1) == [0]
    segments.note([Chunk(0, 3, 0, True, b"x" * 300)], 4, 400)
    assert segments.due(1) == []
    assert segments.unneeded() == []
    segments.note([Drop(1)], 5, 30)
    assert segments.unneeded() == [1]


def test_a_replica_that_pins_an_old_file_is_rewritten_when_the_files_hold_much_more() -> None:
    segments = Segments(segment_bytes=1000, snapshot_bytes_min=100)
    segments.files[1] = 0
    segments.note([Chunk(0, 1, 0, True, b"x" * 100)], 1, 120)
    for number in range(2, 40):
        segments.files[number] = 0
        segments.note([Chunk(1, number, 0, True, b"x" * 100)], number, 120)
    assert segments.due(1) == [0]
