"""Schedules that random faults never find, as scripts: the core's pieces handed what they need."""

from __future__ import annotations

import zlib

from tupelo_grid.core.backup import Receiver
from tupelo_grid.core.batch import GET, PUT, Batch
from tupelo_grid.core.frames import Ack, CatchUp, Frame, Position, SnapshotChunk
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.link import Link
from tupelo_grid.core.minimums import Minimums
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Peers, Primary
from tupelo_grid.core.progress import Progress
from tupelo_grid.core.records import Record
from tupelo_grid.core.snapshot import Snapshot
from tupelo_grid.core.swaps import SwapOutcome, SwapResult
from tupelo_grid.core.table import PartitionConfig, Versioned
from tupelo_grid.core.unit import Unit

from tests.simulation.commands import SPACE, SPACES, Application


def _record(number: int) -> Record:
    return (1, 0, 0, 0, None, (("default", b"k%d" % number, b"v", 0),))


def _partition(*epochs: int) -> Partition:
    """A record of each epoch."""
    partition = Partition(0)
    for number, epoch in enumerate(epochs):
        partition.append(_record(number), epoch)
    return partition


def late_snapshot() -> str:
    """A snapshot ends where the replica has been, and went on from: what followed must stay."""
    source = _partition(1, 1, 1)
    chunks = list(Snapshot(source).chunks())
    replica = _partition(1, 1, 1, 1, 1)
    receiver = Receiver("b#2", {0: replica}, {0: 1}, lambda number, epoch: None)
    frame = Frame("a#1", "b#2", 1, 1)

    frame.snapshots = [
        SnapshotChunk(0, 1, 1, index, index == len(chunks) - 1, zlib.crc32(body), body)
        for index, body in enumerate(chunks)
    ]
    receiver.receive(frame)
    last = receiver.replicas[0].journal.last
    return "" if last == 5 else f"the replica held 5 records, after a late snapshot {last}"


def late_answer() -> str:
    """The answer to a probe of epoch 1 arrives in epoch 3; epoch 2 has cut what it told of."""
    mine = _partition(1, 1, 1, 3)
    link = Link("a#1", "b#2")
    link.open(1)
    progress = Progress(mine, 3, 7, link)
    progress.probe()
    progress.position(Position(0, 1, False, 3, 0, [(1, 1)]))
    if progress.acked:
        return f"{progress.acked} records count as held by a replica that told so in epoch 1"
    return ""


def _primary(epochs: tuple[int, ...], commit: int) -> Primary:
    """Of epoch 2, with one backup, b#2, and a learner, c#3; its links are open."""
    mine = _partition(*epochs)
    mine.advance_commit(commit)
    links = {peer: Link("a#1", peer) for peer in ("b#2", "c#3")}
    for link in links.values():
        link.open(1)
    config = PartitionConfig(2, "a#1", ("a#1", "b#2"), learner="c#3")
    peers = Peers(links.__getitem__, lambda peer: False, [])
    primary = Primary("a#1", mine, Versioned(config, 5), peers, Minimums(1))
    primary.start(False)
    return primary


def early_learner() -> str:
    """A new primary knows less to be committed than is: a learner that has only that must wait."""
    primary = _primary((1, 1, 1), commit=1)
    primary.progress["c#3"].position(Position(0, 2, False, 1, 0, [(1, 1)]))
    primary.maintain()
    if primary.peers.swaps:
        return f"a learner with {primary.progress['c#3'].acked} of 4 records is to be taken in"
    return ""


def growth_in_doubt() -> str:
    """A growth whose end nobody knows: the joiner counts until the table shows that it does not."""
    primary = _primary((), commit=0)
    for progress in primary.progress.values():
        progress.position(Position(0, 2, False, 1, 0, [(1, 2)]))
    primary.advance()
    primary.maintain()
    (growth,) = primary.peers.swaps
    primary.swapped(SwapResult(growth, SwapOutcome.IN_DOUBT))
    primary.append(_record(1))
    primary.progress["b#2"].settled(2)
    primary.advance()
    if primary.partition.commit == 2:
        return "committed without the joiner, which the table may count by now"
    return ""


class _Clock:
    seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return int(self.seconds * 1000)


def _grid(*peers: str) -> tuple[_Clock, Unit, list[Unit]]:
    """A ready primary of partition 0, and its backups."""
    clock = _Clock()
    names = ("a#1", *peers)
    primary, *others = (Unit(name, clock, Limits(), Application(), SPACES) for name in names)
    table = {0: Versioned(PartitionConfig(1, "a#1", names), 1)}
    for unit in (primary, *others):
        unit.renewed(clock.now() + 1)
        unit.set_table(table)
    for peer in peers:
        primary.link_up(peer)
    for _ in range(4):
        _deliver(primary, others)
    assert primary.serving, "the primary never became ready"
    return clock, primary, others


def _acks(primary: Unit, peers: list[Unit]) -> list[Ack]:
    answers = [peer.receive(frame) for frame in primary.flush() for peer in peers]
    return [ack for ack in answers if ack is not None]


def _deliver(primary: Unit, peers: list[Unit]) -> None:
    for ack in _acks(primary, peers):
        primary.acknowledged(ack)


def _batch(kind: int, number: int) -> Batch:
    return Batch(1, 0, bytes([kind]), [0], [SPACE], None, [b"k"], [b"v"], [number], deadline=1e9)


def _read_after_the_lease(peers: tuple[str, ...], answering: int) -> bool:
    """Whether a primary tells a value when its lease is over and so many peers confirmed it."""
    clock, primary, others = _grid(*peers)
    clock.seconds += 2
    pending = primary.submit(_batch(GET, 0))
    _deliver(primary, others[:answering])
    return pending.done


def read_without_lease() -> str:
    """Another primary may have taken over since the lease ended."""
    told = _read_after_the_lease(("b#2",), 0)
    return "a value was told without a lease and without a question" if told else ""


def read_confirmed_by_one() -> str:
    """Any in-sync member may have become primary, so every one must confirm."""
    if not _read_after_the_lease(("b#2", "c#3"), 2):
        return "a read that all have confirmed is not told"
    told = _read_after_the_lease(("b#2", "c#3"), 1)
    return "one of two peers confirmed, and the value was told" if told else ""


def lost_refusal() -> str:
    """A backup refuses records; the acknowledgement that says so is lost."""
    clock, primary, (backup,) = _grid("b#2")
    backup._receiver.drop(0, 99)
    pending = primary.submit(_batch(PUT, 1))
    _acks(primary, [backup])
    clock.seconds += 0.2
    _deliver(primary, [backup])
    return "a write that the backup refused is acknowledged" if pending.done else ""


def older_frame() -> str:
    """A refused frame is settled after the stream to that replica has begun anew."""
    _, primary, (backup,) = _grid("b#2")
    backup._receiver.drop(0, 99)
    pending = primary.submit(_batch(PUT, 1))
    first = _acks(primary, [backup])
    primary.submit(_batch(PUT, 2))
    for ack in (*first, *_acks(primary, [backup])):
        primary.acknowledged(ack)
    return "a frame from before the stream began anew counts" if pending.done else ""


def cut_floor() -> str:
    """A record that raised its session's floor is cut off: the floor is the old one again."""
    one, other = Partition(0), Partition(0)
    for partition in (one, other):
        partition.append((1, 7, 3, 2, None, ()), 1)
    one.append((1, 7, 9, 8, None, ()), 1)
    one.truncate(1)
    return "" if one.digest() == other.digest() else "replicas differ after a cut"


def repeated_catch_up() -> str:
    """An answer came late, and so a catch-up from where the replica was long ago."""
    replica = _partition(1, 1, 1, 1, 1)
    receiver = Receiver("b#2", {0: replica}, {0: 1}, lambda number, epoch: None)
    frame = Frame("a#1", "b#2", 1, 1)
    frame.catch_ups = [CatchUp(0, 1, 2, 1, 0, [(1, 1)], [_record(2)])]
    receiver.receive(frame)
    return "" if replica.journal.last == 5 else f"of 5 records {replica.journal.last} are left"


def fenced_learner() -> str:
    """A learner may be fenced between our look and the swap: the swap must be conditional."""
    primary = _primary((), commit=0)
    for progress in primary.progress.values():
        progress.position(Position(0, 2, False, 1, 0, [(1, 2)]))
    primary.advance()
    primary.maintain()
    (growth,) = primary.peers.swaps
    return "" if growth.lease_guard == "c#3" else "a growth that no lease guards"


def broken_snapshot() -> str:
    """A stream breaks in the middle of a snapshot: the next one brings the rest, and only that."""
    source = _partition(1)
    source.append(
        (1, 0, 0, 0, None, tuple(("s", b"%d" % n, b"v" * 40_000, 0) for n in range(99))), 1
    )
    source.advance_commit(2)
    source.persisted = 2
    source.journal.trim(2)
    receiver = Receiver("b#2", {}, {}, lambda number, epoch: None)
    link = Link("a#1", "b#2")
    progress = Progress(source, 1, 7, link)
    sent: list[int] = []
    for stream in (1, 2):
        link.open(stream)
        progress.probe()
        for _ in range(3 if stream == 1 else 30):
            frame = link.flush(0.0, 1e9)
            if frame is None:
                break
            sent += [chunk.index for chunk in frame.snapshots]
            ack = receiver.receive(frame)
            assert ack is not None
            for position in ack.positions:
                progress.position(position)
            for done in link.acknowledged(ack.position, 0.0):
                for carried, generation, sequence in done.marks:
                    if carried.generation == generation:
                        carried.settled(sequence)
        if stream == 1:
            link.close()
            progress.reset()
    replica = receiver.replicas.get(0)
    if replica is None or replica.digest() != source.digest():
        return f"the replica is not what it was made from; chunks sent: {sent}"
    return "" if sent == sorted(set(sent)) else f"chunks were sent twice: {sent}"


SCRIPTS = (
    broken_snapshot,
    late_snapshot,
    late_answer,
    early_learner,
    growth_in_doubt,
    read_without_lease,
    read_confirmed_by_one,
    lost_refusal,
    older_frame,
    cut_floor,
    repeated_catch_up,
    fenced_learner,
)
