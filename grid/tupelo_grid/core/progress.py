"""One replica of one partition, as its primary sees it."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import partial

from tupelo_grid.core.frames import CatchUp, Position, SnapshotChunk
from tupelo_grid.core.journal import common_point
from tupelo_grid.core.link import Link
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import content_bytes
from tupelo_grid.core.snapshot import Snapshot, spilled_chunk
from tupelo_grid.core.tail import Extent

CATCH_UP_RECORDS_MAX = 1024
CATCH_UP_BYTES_MAX = 1024 * 1024
# Chunks of one snapshot that may be on their way at once: bounds memory on both sides. They are
# kept until they are acknowledged, for a stream that breaks.
SNAPSHOT_CHUNKS_IN_FLIGHT_MAX = 4


class Phase(Enum):
    IDLE = "idle"  # no stream
    PROBING = "probing"  # asked where the replica's journal ends
    SNAPSHOT = "snapshot"
    CATCHING_UP = "catching up"
    STREAMING = "streaming"  # every new record is sent at once


# Asked for at every record: a global is found faster than a member of an enumeration.
STREAMING = Phase.STREAMING


class Progress:
    """How far a replica has come.

    Attributes:
        generation: rises at every new start; acknowledgements of an older one do not count.
        acked: the replica holds our journal up to it, by this generation.
        sent: what the stream has carried so far.
        revision: of the configuration that the primary acts on.
        probed: the revision that the last probe named; the replica keeps its data against any
            older reading of the table.
    """

    __slots__ = (
        "_chunk_index",
        "_chunks",
        "_fetching",
        "_lookahead",
        "_partition",
        "_snapshot",
        "_snapshot_id",
        "_tail_at",
        "_unacked",
        "acked",
        "epoch",
        "generation",
        "link",
        "partition",
        "phase",
        "probed",
        "revision",
        "sent",
    )

    def __init__(self, partition: Partition, epoch: int, revision: int, link: Link) -> None:
        self._partition = partition
        self.partition = partition.number
        self.epoch = epoch
        self.revision = revision
        self.probed = 0
        self.link = link
        self.generation = 0
        self.phase = Phase.IDLE
        self.acked = 0
        self.sent = 0
        self._snapshot: Snapshot | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._lookahead: bytes | None = None
        self._chunk_index = 0
        self._snapshot_id = 0
        self._unacked: deque[SnapshotChunk] = deque()
        # How far the extents were sent that come before the snapshot; -1: none is sent.
        self._tail_at = -1
        self._fetching = False

    @property
    def streaming(self) -> bool:
        return self.phase is Phase.STREAMING

    @property
    def hold(self) -> int | None:
        """The journal must keep what follows this sequence for the replica; None: nothing."""
        if self.phase is Phase.CATCHING_UP:
            return self.acked
        # Also of one that broke off: it goes on as soon as there is a stream again.
        return None if self._snapshot is None else self._snapshot.sequence

    def reset(self) -> None:
        """Forgets how far the replica came: the stream broke, or the role is over. Of a snapshot
        that it broke off the replica has a beginning, so the rest is kept."""
        self.generation += 1
        self.phase = Phase.IDLE
        self.acked = self.sent = 0
        self._fetching = False

    def probe(self) -> None:
        """Starts over by asking where the replica's journal ends."""
        self._take_back()
        if self.link.up:
            self.phase = Phase.PROBING
            self.probed = self.revision
            self.link.probes.append((self.partition, self.epoch, self.revision))

    def retire(self) -> None:
        """The role is over, or the replica no member any more."""
        self._take_back()
        self._end_snapshot()

    def let_go(self) -> None:
        """There is no room to keep anything for a snapshot that broke off: it begins again. Of one
        that had not come further than the extents, hardly anything is kept."""
        if self.phase is not Phase.SNAPSHOT and self._tail_at < 0:
            self._end_snapshot()

    def _take_back(self) -> None:
        """Takes back what is queued for the replica: it would not meet what is there."""
        self.reset()
        self.link.take_back(self)

    def refused(self) -> None:
        """The replica did not take what was sent; unless it was asked already, ask."""
        if self.phase is not Phase.PROBING:
            self.probe()

    def position(self, answer: Position) -> None:
        """The replica said where its journal ends: decide how to bring it up to ours.

        An answer from an earlier epoch is late: a primary in between may have cut what it tells of.
        """
        if self.phase is not Phase.PROBING or answer.epoch != self.epoch:
            return
        journal = self._partition.journal
        point = common_point(journal.runs, journal.last, answer.runs, answer.last)
        cannot_cut = point < answer.last and point < answer.cut_base
        if answer.damaged or point < journal.base or cannot_cut:
            if not self._resume_snapshot(answer):
                self._start_snapshot()
            return
        self._end_snapshot()
        self.acked = self.sent = point
        self._catch_up()

    def _catch_up(self) -> None:
        """Sends what is missing in bounded pieces; the last one switches to streaming."""
        journal = self._partition.journal
        records = journal.read(self.sent, CATCH_UP_RECORDS_MAX)
        size = 0
        for count, record in enumerate(records):
            size += content_bytes(record)
            if size > CATCH_UP_BYTES_MAX:
                records = records[: count + 1]
                break
        end = self.sent + len(records)
        catch_up = CatchUp(
            partition=self.partition,
            epoch=self.epoch,
            previous_sequence=self.sent,
            previous_epoch=journal.epoch_at(self.sent),
            commit=self._partition.commit,
            runs=[(s, e) for s, e in journal.runs if s <= end],
            records=records,
        )
        self.link.catch_ups.append((self, catch_up))
        self.sent = end
        self.phase = Phase.STREAMING if end == journal.last else Phase.CATCHING_UP
        if self.streaming:
            # What all were told before: it may be long until there is more to tell.
            held = self._partition
            self.link.commits.append((self.partition, self.epoch, held.commit, held.persisted))

    def _start_snapshot(self) -> None:
        self.phase = Phase.SNAPSHOT
        self._snapshot = None
        self._tail_at = 0
        self._chunk_index = 0
        self.link.snapshots_made += 1
        # Of no other snapshot of ours, also when the link was forgotten and made again in between.
        self._snapshot_id = self.link.stream_id << 32 | self.link.snapshots_made
        self._unacked.clear()
        self._send_chunks()

    def _resume_snapshot(self, answer: Position) -> bool:
        """Goes on with a snapshot that broke off, where we have all that the replica lacks."""
        snapshot, unacked = self._snapshot, self._unacked
        tail = self._tail_at >= 0
        if (snapshot is None and not tail) or answer.snapshot_id != self._snapshot_id:
            return False
        kept_from = self._chunk_index - len(unacked)
        if not kept_from <= answer.next_chunk <= self._chunk_index:
            return False
        whole = answer.next_chunk == self._chunk_index and self._lookahead is None
        if snapshot is not None and (whole or snapshot.sequence < self._partition.journal.base):
            return False
        while unacked and unacked[0].index < answer.next_chunk:
            unacked.popleft()
        self.phase = Phase.SNAPSHOT
        self.link.snapshots.extend([(self, chunk) for chunk in unacked])
        self._send_chunks()
        return True

    def _end_snapshot(self) -> None:
        self._snapshot, self._lookahead, self._tail_at = None, None, -1
        self._chunks = iter(())
        self._unacked.clear()

    def _send_chunks(self) -> None:
        """All chunks on their way are in one frame: the next ones follow its acknowledgement."""
        if self._tail_at >= 0:
            if self._send_tail():
                return
            self._tail_at = -1
            self._snapshot = Snapshot(self._partition)
            self._chunks = self._snapshot.chunks()
            self._lookahead = next(self._chunks, None)
        size = sum([len(chunk.body) for chunk in self._unacked])
        while self._lookahead is not None and len(self._unacked) < SNAPSHOT_CHUNKS_IN_FLIGHT_MAX:
            if self._unacked and size >= CATCH_UP_BYTES_MAX:
                break
            size += len(self._lookahead)
            body, self._lookahead = self._lookahead, next(self._chunks, None)
            self._send_chunk(body, self._lookahead is None)

    def _send_chunk(self, body: bytes, last: bool) -> None:
        chunk = SnapshotChunk(
            partition=self.partition,
            epoch=self.epoch,
            snapshot_id=self._snapshot_id,
            index=self._chunk_index,
            last=last,
            crc=zlib.crc32(body),
            body=body,
        )
        self._chunk_index += 1
        self._unacked.append(chunk)
        self.link.snapshots.append((self, chunk))

    def _send_tail(self) -> bool:
        """What of the journal is in files goes first, an extent at a time; nothing is kept in
        memory for that long. False: the replica has all of it, up to what is in memory."""
        if self._unacked or self._fetching:
            # Nothing may overtake it: its acknowledgement would be taken for the snapshot's.
            return True
        tail = self._partition.spilled
        extent = tail.following(self._tail_at) if tail is not None else None
        if tail is None or extent is None:
            return False
        # A replica without room takes in what replaces all it has of it, as the store has that now.
        if self.partition not in self.link.paused or extent.after > self._tail_at:
            self._fetching = True
            tail.fetch(extent, partial(self._send_extent, self.generation, extent))
        return True

    def _send_extent(self, generation: int, extent: Extent, payload: bytes | None) -> None:
        if generation != self.generation:
            return
        self._fetching = False
        if payload is None:
            self._send_chunks()  # the store has it by now: what follows will do
            return
        self._tail_at = extent.through
        self._send_chunk(spilled_chunk(extent, payload), False)

    def go_on(self) -> None:
        """The replica may take in more of what is in files, or there may be less of it."""
        if self.phase is Phase.SNAPSHOT and self._tail_at >= 0:
            self._send_chunks()

    def settled(self, sequence: int) -> bool:
        """A frame that took the replica to `sequence` was acknowledged. True: `acked` rose."""
        if self.phase is STREAMING:
            if sequence <= self.acked:
                return False
            self.acked = sequence
            return True
        if self.phase is Phase.SNAPSHOT:
            self._unacked.clear()
            self._send_chunks()
            if self._lookahead is None and not self._unacked and self._snapshot:
                self.acked = self.sent = self._snapshot.sequence
                self._end_snapshot()
                self._catch_up()
                return True
            return False
        rose = sequence > self.acked
        if rose:
            self.acked = sequence
        if self.phase is Phase.CATCHING_UP and self.acked == self.sent:
            self._catch_up()
        return rose
