"""The receiving side of replication streams: what a backup takes in, refuses and acknowledges.

A partition's records are taken from a stream only after a catch-up in it has shown that the
two journals meet; from then on they follow one another. A refusal stays in every acknowledgement
of the stream until the sender probes again, so that a lost acknowledgement cannot hide it.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from tupelo_grid.core.frames import Ack, CatchUp, Frame, Position, SnapshotChunk
from tupelo_grid.core.journal import common_point, epoch_at
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.snapshot import SnapshotBuilder, SnapshotError
from tupelo_grid.core.spill import Spill
from tupelo_grid.core.tail import Tail

TakeAudit = Callable[[str, Partition, tuple[int, int, int, int, int]], None]


@dataclass(slots=True)
class Inbound:
    """One stream. `accepted`: partitions whose journals met ours in it."""

    stream_id: int
    position: int = 0
    accepted: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)


def _no_audit(sender: str, held: Partition, audit: tuple[int, int, int, int, int]) -> None:
    """Until somebody compares digests."""


class Receiver:
    """All replication streams into one unit.

    `epochs` holds the highest epoch known of every partition, from the table or a primary: it
    outlives the replica, or a removed member would acknowledge a deposed primary's records.
    `adopt(partition, epoch)` is called before a higher epoch is taken on.
    """

    def __init__(
        self,
        me: str,
        replicas: dict[int, Partition],
        epochs: dict[int, int],
        adopt: Callable[[int, int], None],
    ) -> None:
        self.me = me
        self.replicas = replicas
        self.epochs = epochs
        self.adopt = adopt
        self.inbound: dict[str, Inbound] = {}
        self.audit: TakeAudit = _no_audit
        # Whoever asks for these is refused until it is known what becomes of what we hold of them.
        self.withheld: Container[int] = ()
        # Where the extents of snapshots go, and why our journals can take no more.
        self.spill: Spill | None = None
        self.trouble = ""
        # Replicas that differ from their primary's at the same record.
        self._damaged: set[int] = set()
        # Snapshots of which we have the beginning. They outlive their stream, so that the next one
        # of the same sender goes on with them.
        self._building: dict[int, SnapshotBuilder] = {}
        self._members: dict[int, int] = {}
        self._dropped: dict[int, int] = {}

    def drop(self, number: int, revision: int) -> None:
        """We are no member by the table at `revision`: the replica goes, unless that is old news.

        A primary that acts on a newer table has counted on what we hold, or is about to.
        """
        if revision <= self._members.get(number, 0):
            return
        self._dropped[number] = revision
        self.replicas.pop(number, None)
        self._damaged.discard(number)
        self._building.pop(number, None)
        for inbound in self.inbound.values():
            if number in inbound.accepted:
                inbound.accepted.discard(number)
                inbound.refused.add(number)

    def forget(self, living: Container[str]) -> None:
        """Drops the streams of senders that have no lease any more; a late frame begins anew."""
        for sender in [sender for sender in self.inbound if sender not in living]:
            del self.inbound[sender]
        for number, builder in list(self._building.items()):
            sender, epoch = builder.origin
            if sender not in living or epoch != self.epochs.get(number):
                del self._building[number]

    def damaged(self, number: int, sender: str) -> None:
        """Our replica is not what it should be: its primary has to send it anew."""
        inbound = self.inbound.get(sender)
        if inbound is not None and number in inbound.accepted:
            self._damaged.add(number)
            inbound.accepted.discard(number)
            inbound.refused.add(number)

    def arriving(self) -> list[Tail]:
        """Of snapshots that are not complete."""
        return [one.tail for one in self._building.values() if one.tail is not None]

    def receive(self, frame: Frame) -> Ack | None:
        """Takes in a frame. None: nothing to say (it was not for us, or out of date)."""
        if frame.receiver != self.me:
            return None
        inbound = self.inbound.get(frame.sender)
        if inbound is None or frame.stream_id > inbound.stream_id:
            inbound = self.inbound[frame.sender] = Inbound(frame.stream_id)
        elif frame.stream_id < inbound.stream_id:
            return None
        if frame.position > inbound.position + 1:
            return self._ack(frame.sender, inbound, [], reset=True)
        if frame.position <= inbound.position:
            return self._ack(frame.sender, inbound, [])
        inbound.position = frame.position
        answers = [self._probe(frame.sender, inbound, *probe) for probe in frame.probes]
        for chunk in frame.snapshots:
            self._snapshot(frame.sender, inbound, chunk)
        for catch_up in frame.catch_ups:
            self._catch_up(inbound, catch_up)
        if frame.records:
            self._append(inbound, frame)
        for number, epoch in frame.confirms:
            if epoch < self.epochs.get(number, 0):
                inbound.refused.add(number)
        for number, epoch, commit, persisted in frame.commits:
            self._commit(inbound, number, epoch, commit, persisted)
        for audit in frame.audits:
            number, epoch = audit[1], audit[2]
            if number in inbound.accepted and epoch == self.epochs[number]:
                self.audit(frame.sender, self.replicas[number], audit)
        return self._ack(frame.sender, inbound, answers)

    def _ack(
        self, sender: str, inbound: Inbound, answers: list[Position], reset: bool = False
    ) -> Ack:
        refusals = [self._position(number, refused=True) for number in sorted(inbound.refused)]
        return Ack(
            sender=self.me,
            receiver=sender,
            stream_id=inbound.stream_id,
            position=inbound.position,
            reset=reset,
            positions=answers + refusals,
            paused=self.spill.paused if self.spill is not None else (),
            trouble=self.trouble,
        )

    def _position(self, number: int, refused: bool) -> Position:
        epoch = self.epochs.get(number, 0)
        partition = self.replicas.get(number)
        if partition is None:
            return Position(number, epoch, refused, 0, 0, [])
        journal = partition.journal
        cut_base = max(partition.undo_base, partition.commit)
        runs, damaged = list(journal.runs), number in self._damaged
        return Position(number, epoch, refused, journal.last, cut_base, runs, damaged)

    def _current(self, inbound: Inbound, number: int, epoch: int) -> bool:
        """Refuses an epoch that is over; takes a higher one on."""
        known = self.epochs.get(number, 0)
        if epoch < known:
            inbound.accepted.discard(number)
            inbound.refused.add(number)
            return False
        if epoch > known:
            self.adopt(number, epoch)
            self.epochs[number] = epoch
        return True

    def _probe(
        self, sender: str, inbound: Inbound, number: int, epoch: int, revision: int
    ) -> Position:
        inbound.refused.discard(number)
        inbound.accepted.discard(number)
        if number in self.withheld or not self._current(inbound, number, epoch):
            inbound.refused.discard(number)
            return self._position(number, refused=True)
        self._members[number] = max(revision, self._members.get(number, 0))
        position = self._position(number, refused=False)
        builder = self._building.get(number)
        if builder is not None and builder.origin == (sender, epoch):
            position.snapshot_id, position.next_chunk = builder.snapshot_id, builder.next_index
        return position

    def _is_member(self, inbound: Inbound, number: int) -> bool:
        """Refuses what was sent before its sender knew that we are no member any more: a replica
        made of it would be named by no table, and so never be dropped again."""
        if number in self.replicas:
            return True
        if self._members.get(number, 0) > self._dropped.get(number, -1):
            return True
        inbound.accepted.discard(number)
        inbound.refused.add(number)
        return False

    def _catch_up(self, inbound: Inbound, catch_up: CatchUp) -> None:
        number = catch_up.partition
        if not self._current(inbound, number, catch_up.epoch):
            return
        if not self._is_member(inbound, number):
            return
        partition = self.replicas.get(number)
        if partition is None:
            partition = self.replicas[number] = Partition(number)
        journal = partition.journal
        previous = catch_up.previous_sequence
        end = previous + len(catch_up.records)
        # What is there already stays there: it may have been counted since the sender asked.
        same = common_point(journal.runs, journal.last, catch_up.runs, end)
        cut_base = max(partition.undo_base, partition.commit)
        conflict = same < min(journal.last, end)
        if same < previous or (conflict and same < cut_base):
            inbound.accepted.discard(number)
            inbound.refused.add(number)
            return
        if conflict:
            partition.truncate(same)
        for sequence in range(journal.last + 1, end + 1):
            record = catch_up.records[sequence - previous - 1]
            partition.append(record, epoch_at(catch_up.runs, sequence))
        partition.advance_commit(catch_up.commit)
        inbound.accepted.add(number)
        self._building.pop(number, None)

    def _append(self, inbound: Inbound, frame: Frame) -> None:
        accepted, epochs, replicas = inbound.accepted, self.epochs, self.replicas
        rows = zip(frame.partitions, frame.epochs, frame.sequences, frame.records, strict=True)
        for number, epoch, sequence, record in rows:
            if number in accepted and epoch == epochs[number]:
                partition = replicas[number]
                if sequence == partition.journal.last + 1:
                    partition.append(record, epoch)
                    continue
            accepted.discard(number)
            inbound.refused.add(number)

    def _snapshot(self, sender: str, inbound: Inbound, chunk: SnapshotChunk) -> None:
        number = chunk.partition
        if number in inbound.refused or not self._current(inbound, number, chunk.epoch):
            return
        if not self._is_member(inbound, number):
            return
        builder, origin = self._building.get(number), (sender, chunk.epoch)
        if builder is None or (builder.snapshot_id, builder.origin) != (chunk.snapshot_id, origin):
            builder = SnapshotBuilder(chunk.snapshot_id, number, origin, self.spill)
            self._building[number] = builder
        if chunk.index < builder.next_index:
            return  # it is there already, and comes again
        try:
            builder.add(chunk.index, chunk.body, chunk.crc)
            if chunk.last:
                del self._building[number]
                self._install(builder.build())
        except SnapshotError:
            self._building.pop(number, None)
            inbound.refused.add(number)

    def _install(self, received: Partition) -> None:
        """Replaces the replica, unless it holds all of the snapshot and more already."""
        held = self.replicas.get(received.number)
        if held is not None:
            end = received.journal.last
            same = held.journal.epoch_at(end) == received.journal.last_epoch
            renews = received.number in self._damaged and held.journal.last == end
            if held.journal.last >= end and same and not renews:
                return
            assert end >= held.commit, "a snapshot would take back what is committed"
        self._damaged.discard(received.number)
        self.replicas[received.number] = received

    def _commit(
        self, inbound: Inbound, number: int, epoch: int, commit: int, persisted: int
    ) -> None:
        if number not in inbound.accepted or epoch != self.epochs[number]:
            return
        partition = self.replicas[number]
        partition.advance_commit(commit)
        partition.persisted = max(partition.persisted, min(persisted, partition.commit))
        partition.journal.trim(partition.persisted)
