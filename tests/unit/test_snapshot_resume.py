"""A snapshot whose stream breaks goes on where it broke off, or begins again where it must."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
from tupelo_grid.core.backup import Receiver
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.core.link import Link
from tupelo_grid.core.minimums import Minimums
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Peers, Primary
from tupelo_grid.core.progress import Phase, Progress
from tupelo_grid.core.table import PartitionConfig, Versioned

RECORDS = 40


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with (
        mock.patch("tupelo_grid.core.snapshot.CHUNK_BYTES", 256),
        mock.patch("tupelo_grid.core.progress.SNAPSHOT_CHUNKS_IN_FLIGHT_MAX", 2),
        mock.patch("tupelo_grid.core.journal.TRIM_RECORDS_MIN", 1),
    ):
        yield


def record(number: int) -> tuple[int, int, int, int, None, tuple[tuple[str, bytes, bytes, int]]]:
    return (1, 0, 0, 0, None, (("default", b"k%d" % number, b"v" * 40, 0),))


class Pair:
    """A primary's replica at a unit that has nothing, and the stream between them."""

    def __init__(self, epoch: int = 1) -> None:
        self.held = Partition(0)
        for number in range(RECORDS):
            self.held.append(record(number), 1)
        self.stored()
        self.streams = 0
        self.receiver = Receiver("b#2", {}, {}, lambda number, epoch: None)
        self.begin(epoch)

    def stored(self) -> None:
        """The store has everything, and the journal forgets it."""
        self.held.advance_commit(self.held.journal.last)
        self.held.persisted = self.held.commit
        self.held.journal.trim(self.held.commit)

    def begin(self, epoch: int) -> None:
        """A role, and a link that knows nothing of earlier ones."""
        self.link = Link("a#1", "b#2")
        self.progress = Progress(self.held, epoch, 7, self.link)
        self.sent: list[int] = []

    def connect(self) -> None:
        if self.link.up:
            self.link.close()
            self.progress.reset()
        self.streams += 1
        self.link.open(self.streams)
        self.progress.probe()

    def frame(self) -> Frame | None:
        frame = self.link.flush(0.0, 1e9)
        if frame is not None:
            self.sent += [chunk.index for chunk in frame.snapshots]
        return frame

    def heard(self, ack: Ack) -> None:
        for position in ack.positions:
            if position.refused:
                self.progress.refused()
            else:
                self.progress.position(position)
        for sent in self.link.acknowledged(ack.position, 0.0):
            for carried, generation, sequence in sent.marks:
                if carried.generation == generation:
                    carried.settled(sequence)

    def exchange(self, times: int) -> None:
        """So many frames and acknowledgements."""
        for _ in range(times):
            frame = self.frame()
            if frame is None:
                return
            ack = self.receiver.receive(frame)
            assert ack is not None
            self.heard(ack)

    def whole(self) -> bool:
        self.exchange(100)
        replica = self.receiver.replicas.get(0)
        same = replica is not None and replica.digest() == self.held.digest()
        return same and self.progress.phase is Phase.STREAMING and not self.receiver._building


def broken_off(frames: int = 4) -> Pair:
    pair = Pair()
    pair.connect()
    pair.exchange(frames)
    assert pair.progress.phase is Phase.SNAPSHOT
    return pair


def chunks() -> int:
    pair = broken_off()
    assert pair.whole()
    return len(pair.sent)


def test_only_the_rest_is_sent_after_the_stream_broke() -> None:
    pair, total = broken_off(), chunks()
    had = pair.receiver._building[0].next_index
    assert 2 <= had < total - 2
    pair.sent.clear()
    pair.connect()
    assert pair.whole()
    assert pair.sent == list(range(had, total))


def test_what_arrived_and_was_not_acknowledged_is_not_sent_again() -> None:
    pair, total = broken_off(), chunks()
    frame = pair.frame()
    assert frame is not None
    assert len(frame.snapshots) == 2
    pair.receiver.receive(frame)  # its acknowledgement is lost with the stream
    pair.sent.clear()
    pair.connect()
    assert pair.whole()
    assert pair.sent == list(range(frame.snapshots[-1].index + 1, total))


def test_what_was_sent_and_did_not_arrive_is_sent_again() -> None:
    pair, total = broken_off(), chunks()
    frame = pair.frame()
    assert frame is not None
    pair.sent.clear()
    pair.connect()
    assert pair.whole()
    assert pair.sent == list(range(frame.snapshots[0].index, total))


def test_it_may_break_at_every_frame() -> None:
    pair, total = Pair(), chunks()
    for _ in range(total // 2):
        pair.connect()
        pair.exchange(2)  # the probe, and two chunks
        assert pair.progress.phase is not Phase.STREAMING or len(pair.sent) == total
    pair.connect()
    assert pair.whole()
    assert pair.sent == list(range(total))


def test_a_frame_of_the_broken_stream_that_comes_late_does_nothing() -> None:
    pair = broken_off()
    late = pair.frame()
    assert late is not None
    pair.connect()
    pair.exchange(1)
    assert pair.receiver.receive(late) is None
    assert pair.whole()


def test_a_repeated_answer_to_the_probe_does_no_harm() -> None:
    pair = broken_off()
    pair.connect()
    frame = pair.frame()
    assert frame is not None
    ack = pair.receiver.receive(frame)
    assert ack is not None
    pair.heard(ack)
    pair.exchange(1)
    pair.progress.probe()
    pair.heard(ack)  # late: the replica has come further since
    assert pair.whole()


def test_what_was_written_meanwhile_follows_from_the_journal() -> None:
    pair = broken_off()
    pair.connect()
    for number in range(30, 60):
        pair.held.append(record(number), 1)
    assert pair.whole()
    assert pair.receiver.replicas[0].journal.last == RECORDS + 30


def test_the_journal_is_kept_for_it_while_the_stream_is_broken() -> None:
    pair = broken_off()
    pair.link.close()
    pair.progress.reset()
    assert pair.progress.hold == RECORDS


def test_it_begins_again_when_the_journal_was_trimmed_meanwhile() -> None:
    pair = broken_off()
    for number in range(30, 60):
        pair.held.append(record(number), 1)
    pair.stored()
    pair.sent.clear()
    pair.connect()
    assert pair.whole()
    assert pair.sent[0] == 0


def test_it_begins_again_when_the_receiver_was_started_anew() -> None:
    pair, total = broken_off(), chunks()
    pair.receiver = Receiver("b#2", {}, {}, lambda number, epoch: None)
    pair.sent.clear()
    pair.connect()
    assert pair.whole()
    assert pair.sent == list(range(total))


def test_it_begins_again_in_another_epoch() -> None:
    pair, total = broken_off(), chunks()
    pair.begin(epoch=2)
    pair.held.append(record(99), 2)
    pair.connect()
    assert pair.whole()
    assert pair.sent[0] == 0
    assert len(pair.sent) >= total


def test_another_snapshot_of_the_same_stream_is_never_taken_for_it() -> None:
    """The link was forgotten and made again, the role is the same: it counts its snapshots anew."""
    pair = broken_off(frames=2)
    pair.begin(epoch=1)
    pair.held.append(record(99), 1)
    pair.stored()
    pair.connect()
    pair.exchange(1)
    first = pair.frame()  # lost, as many chunks as the replica has of the earlier one
    assert first is not None
    assert [chunk.index for chunk in first.snapshots] == [0, 1]
    pair.sent.clear()
    pair.connect()
    assert pair.whole()
    assert pair.sent[0] == 0


def test_nor_is_one_of_another_sender_or_epoch() -> None:
    for origin in (("c#3", 1), ("a#1", 0)):
        pair = broken_off()
        pair.receiver._building[0].origin = origin
        pair.sent.clear()
        pair.connect()
        assert pair.whole()
        assert pair.sent[0] == 0


@pytest.mark.parametrize("claimed", [0, 1, 99])
def test_it_begins_again_where_the_replica_says_what_cannot_be(claimed: int) -> None:
    """Chunks that are not kept any more, or were never sent."""
    pair = broken_off()
    pair.receiver._building[0].next_index = claimed
    pair.sent.clear()
    pair.connect()
    assert pair.whole()
    assert pair.sent[0] == 0


def test_it_begins_again_after_a_damaged_chunk() -> None:
    pair = broken_off()
    frame = pair.frame()
    assert frame is not None
    frame.snapshots[0].crc ^= 1
    ack = pair.receiver.receive(frame)
    assert ack is not None
    pair.sent.clear()
    pair.heard(ack)
    frame.snapshots[0].crc ^= 1
    assert pair.whole()
    assert pair.sent[0] == 0


def test_the_beginning_goes_with_whoever_sent_it_and_with_its_epoch() -> None:
    pair = broken_off()
    pair.receiver.forget({"a#1"})
    assert pair.receiver._building
    pair.receiver.epochs[0] = 2  # somebody else, or we ourselves, became primary
    pair.receiver.forget({"a#1"})
    assert not pair.receiver._building
    pair = broken_off()
    pair.receiver.forget({"c#3"})
    assert not pair.receiver._building


def test_a_full_unit_keeps_nothing_for_it() -> None:
    pair = broken_off()
    config = PartitionConfig(1, "a#1", ("a#1",), learner="b#2")
    peers = Peers(lambda peer: pair.link, lambda peer: False, [])
    primary = Primary("a#1", pair.held, Versioned(config, 7), peers, Minimums(1))
    primary.progress, primary.replicas = {"b#2": pair.progress}, (pair.progress,)
    primary.tend(full=True)
    assert pair.progress.hold == RECORDS  # it is on its way: the replica counts on it
    pair.link.close()
    pair.progress.reset()
    primary.tend()
    assert pair.progress.hold == RECORDS
    primary.tend(full=True)
    assert pair.progress.hold is None
