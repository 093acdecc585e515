"""What a unit sends to the data writer, and what it makes of the answers. Pure.

Per partition the store keeps a fence row (epoch, cursor). A primary first claims the partition for
its epoch and is told the cursor; it then sends what was committed after it, in batches that each
take the cursor from one sequence to the next. PROTOCOL section 9 says why that is safe:

- Only committed records are sent, and these never change. So a batch (from, to] has one content.
- A batch takes effect only when the store's cursor is its `from` and the store's epoch is its own,
  in one transaction with the rows. So nothing is applied twice, skipped, or out of order.
- Whenever an answer is missing or says RETRY, the partition is claimed again before anything else
  is sent: only the store knows whether a transaction in doubt took effect.

A partition is in at most one frame in flight, so a frame's answer never meets a later frame's
assumption. A store whose cursor does not fit the journal (beyond the committed records, or before
the oldest kept one) is reported in `problems` and claimed again now and then; it is never skipped
over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from tupelo.schema import SpaceSchema

from tupelo_grid.core.pump_changes import LOOKED_AT_FACTOR, Room, take
from tupelo_grid.core.pump_frames import (
    Answer,
    PartitionBatch,
    PumpAck,
    PumpFrame,
)
from tupelo_grid.core.pump_parts import PartitionLag, PartState, Phase
from tupelo_grid.core.pump_port import PumpLimits, PumpListener, PumpSource


class Pump:
    """The pump of one unit.

    The shell calls `observe` often and `reconcile` about once a second, sends what `next_frame`
    returns, and hands back what it hears by `on_ack` and `on_stream_lost`.
    """

    def __init__(
        self, source: PumpSource, limits: PumpLimits, schemas: Mapping[str, SpaceSchema]
    ) -> None:
        """`schemas` may grow and change; a space without one is persisted and coalesced."""
        self._source = source
        self._limits = limits
        self._schemas = schemas
        self._parts: dict[int, PartState] = {}
        self._queue: dict[int, None] = {}  # claimed, with something to send, in turn
        self._claims: dict[int, None] = {}  # to be claimed
        self._urgent: set[int] = set()
        self._flight: dict[int, PumpFrame] = {}
        self._position = 0
        self._ripe_until = -math.inf  # what was committed until then leaves now
        self.problems: dict[int, str] = {}
        self.stopped: dict[int, str] = {}
        self.dead_letters = 0
        self.persisted_records = 0
        self.listener: PumpListener | None = None

    # What the journals have.

    def observe(self, now: float) -> None:
        """Takes in the partitions with new commits."""
        dirty = self._source.dirty()
        if not dirty:
            return
        primaries = self._source.primaries()
        for partition in sorted(dirty):
            self._look(partition, primaries.get(partition), now)

    def reconcile(self, now: float) -> None:
        """Compares with all primaries: roles that ended, began, or stand in `problems`."""
        primaries = self._source.primaries()
        for partition in [p for p in self._parts if p not in primaries]:
            self._look(partition, None, now)
        for partition, epoch in primaries.items():
            self._look(partition, epoch, now)
        for partition in [*self.problems, *self.stopped]:
            self._unclaim(partition)

    def _look(self, partition: int, epoch: int | None, now: float) -> None:
        part = self._parts.get(partition)
        if part is not None and part.epoch != epoch:
            self._drop(partition)
            part = None
        if epoch is None:
            return
        if part is None:
            part = self._parts[partition] = PartState(epoch)
            self._claims[partition] = None
        committed = self._source.committed(partition)
        if committed > part.committed:
            part.rise(committed, now, self._source, partition)
            self._enqueue(partition, part)

    def hurry(self, partitions: Iterable[int]) -> None:
        """Somebody waits for what they have committed: their next frame does not wait to fill."""
        self._urgent.update(partition for partition in partitions if partition in self._parts)

    def _drop(self, partition: int) -> None:
        del self._parts[partition]
        self._urgent.discard(partition)
        self._queue.pop(partition, None)
        self._claims.pop(partition, None)
        self.problems.pop(partition, None)
        self.stopped.pop(partition, None)
        if self.listener is not None:
            self.listener.dropped(partition)

    def _enqueue(self, partition: int, part: PartState) -> None:
        """Puts the partition at the end of the turn, when it has something to send and may."""
        if part.phase is Phase.CLAIMED and not part.flight and part.committed > part.cursor:
            self._queue.setdefault(partition)

    # What to send.

    def next_frame(self, now: float, flush: bool = False) -> PumpFrame | None:
        """The next frame, or None while there is nothing to send, or more may still come.

        A frame leaves when there are claims, or a partition has `batch_records` waiting, or one of
        them has waited `batch_s`; with `flush` at once. It takes along what else is waiting, and
        what has waited half as long follows in frames of its own: so that the writer gets what is
        there in few transactions, not one for each partition's moment. It counts as in flight from
        here on.
        """
        if len(self._flight) >= self._limits.frames_in_flight:
            return None
        claims = self._take_claims()
        batches: list[PartitionBatch] = []
        if claims or flush or self._due(now):
            batches = self._take_batches()
        if not claims and not batches:
            return None
        self._position += 1
        frame = PumpFrame(self._position, claims, batches)
        self._flight[frame.position] = frame
        for partition, _ in claims:
            self._parts[partition].flight = frame.position
        for batch in batches:
            self._parts[batch.partition].flight = frame.position
        return frame

    def _take_claims(self) -> list[tuple[int, int]]:
        claims = []
        for partition in list(self._claims):
            part = self._parts[partition]
            if not part.flight:
                claims.append((partition, part.epoch))
                del self._claims[partition]
        return claims

    def _due(self, now: float) -> bool:
        batch_s = self._limits.batch_s
        for partition in self._queue:
            if self._is_due(partition, now):
                marks = self._parts[partition].marks
                if marks and now - marks[0][0] >= batch_s:
                    self._ripe_until = now - batch_s / 2
                return True
        return False

    def _is_due(self, partition: int, now: float) -> bool:
        """By its own records, not by those of all: so that each partition's wait long enough for
        several changes of a key to become one."""
        part, limits = self._parts[partition], self._limits
        if part.committed - part.cursor >= limits.batch_records or partition in self._urgent:
            return True
        if not part.marks:
            return False
        since = part.marks[0][0]
        return since <= self._ripe_until or now - since >= limits.batch_s

    def _take_batches(self) -> list[PartitionBatch]:
        changes_left, bytes_left = self._limits.batch_records, self._limits.batch_bytes
        records_left = changes_left * LOOKED_AT_FACTOR
        primaries = self._source.primaries()
        batches: list[PartitionBatch] = []
        for partition in list(self._queue):
            if changes_left <= 0 or bytes_left <= 0 or records_left <= 0:
                break
            del self._queue[partition]
            if primaries.get(partition) != self._parts[partition].epoch:
                self._drop(partition)
                continue
            limit = min(self._limits.batch_records, records_left)
            taken = self._take_partition(partition, limit, changes_left, bytes_left, not batches)
            if taken is None:
                continue
            batch, records, size = taken
            self._urgent.discard(partition)
            batches.append(batch)
            changes_left -= len(batch.changes)
            bytes_left -= size
            records_left -= records
        return batches

    def _take_partition(
        self, partition: int, limit: int, changes_max: int, bytes_max: int, first: bool
    ) -> tuple[PartitionBatch, int, int] | None:
        """The partition's batch, the records it stands for, and its bytes; None when there is none.

        A record is never divided. One that alone exceeds what is left goes with the next frame,
        unless it would be the first of this one.
        """
        part = self._parts[partition]
        if part.cursor < (base := self._source.base(partition)):
            self.problems[partition] = (
                f"the store has partition {partition} up to {part.cursor}, but its journal begins "
                f"after {base}: was the store replaced by an older copy?"
            )
            return None
        records = self._source.read(partition, part.cursor, limit)
        assert not records or records[0][0] == part.cursor + 1, "the journal skips records"
        share = None
        if records:
            share = take(records, self._coalesced, Room(changes_max, bytes_max), first)
        if share is None:
            self._queue.setdefault(partition)
            return None
        batch = PartitionBatch(partition, part.epoch, part.cursor, share.last, share.changes)
        return batch, share.last - part.cursor, share.size

    def _coalesced(self, space: str) -> bool | None:
        """Whether of several changes of a key the last one will do; None: they are not stored."""
        schema = self._schemas.get(space)
        if schema is None:
            return True
        return schema.coalesce if schema.persist else None

    # What came back.

    def on_ack(self, ack: PumpAck) -> bool:
        """Takes in an answer; False when a partition has to be sent again after a pause.

        An answer to a frame that is not in flight is ignored.
        """
        frame = self._flight.pop(ack.position, None)
        if frame is None:
            return True
        self.dead_letters += ack.dead_letters
        self._tell_dead(frame, ack)
        done = True
        for partition, epoch, cursor, answer in ack.answers:
            part = self._parts.get(partition)
            if part is None or part.epoch != epoch or part.flight != ack.position:
                continue
            part.flight = 0
            if answer is Answer.FENCED:
                part.phase = Phase.FENCED
                part.marks.clear()
                self.problems.pop(partition, None)
                self.stopped.pop(partition, None)
            elif answer is Answer.RETRY:
                self._unclaim(partition)
                done = False
            elif answer is Answer.STOPPED:
                # Until the next `reconcile`, so that it costs the others nothing.
                part.phase = Phase.UNCLAIMED
                self.stopped[partition] = f"partition {partition} is not stored: {ack.error}"
            else:
                self._advance(partition, part, cursor, answer)
        self._forget(frame)
        return done

    def _tell_dead(self, frame: PumpFrame, ack: PumpAck) -> None:
        if self.listener is None or not ack.dead_rows:
            return
        for batch in frame.batches:
            mine = [row for row in ack.dead_rows if row.partition == batch.partition]
            if mine:
                self.listener.dead(mine, batch.from_sequence)

    def _advance(self, partition: int, part: PartState, cursor: int, answer: Answer) -> None:
        if cursor > part.committed:
            self.problems[partition] = (
                f"the store has partition {partition} up to {cursor}, but the grid only up to "
                f"{part.committed}: was committed data lost, or is this the store of another grid?"
            )
            return
        self.problems.pop(partition, None)
        if answer is Answer.PERSISTED:
            self.stopped.pop(partition, None)
            self.persisted_records += max(0, cursor - part.cursor)
        part.phase = Phase.CLAIMED
        part.cursor = cursor
        part.unmark()
        if cursor:
            self._source.persisted(partition, part.epoch, cursor)
        self._enqueue(partition, part)

    def on_stream_lost(self) -> None:
        """Nothing in flight will be answered. Everything is claimed again on the next stream."""
        for frame in list(self._flight.values()):
            self._forget(frame)
        self._flight.clear()
        for partition in self._parts:
            self._unclaim(partition)

    def _forget(self, frame: PumpFrame) -> None:
        """Partitions of the frame that were not answered are claimed again."""
        partitions = [partition for partition, _ in frame.claims]
        partitions += [batch.partition for batch in frame.batches]
        for partition in partitions:
            part = self._parts.get(partition)
            if part is not None and part.flight == frame.position:
                part.flight = 0
                self._unclaim(partition)

    def _unclaim(self, partition: int) -> None:
        part = self._parts[partition]
        if part.phase is not Phase.FENCED and not part.flight:
            part.phase = Phase.UNCLAIMED
            self._queue.pop(partition, None)
            self._claims.setdefault(partition)

    # How it stands.

    @property
    def in_flight(self) -> int:
        """Frames that wait for their answer."""
        return len(self._flight)

    def lag_records(self) -> int:
        """Committed records that the store is not known to have."""
        return sum(part.lag for part in self._parts.values())

    def lag_bytes(self) -> int:
        """About how much they take in the journals."""
        return sum(self._bytes(number, part) for number, part in self._parts.items() if part.lag)

    def lag_s(self, now: float) -> float:
        """Age in seconds of the oldest committed record that the store is not known to have."""
        return max((part.lag_s(now) for part in self._parts.values()), default=0.0)

    def lags(self, now: float) -> list[PartitionLag]:
        """Of all partitions, in order."""
        return [
            PartitionLag(
                number,
                part.epoch,
                part.goal,
                part.cursor,
                self._bytes(number, part) if part.lag else 0,
                part.lag_s(now),
                part.known,
                self.problems.get(number) or self.stopped.get(number, ""),
            )
            for number, part in sorted(self._parts.items())
        ]

    def _bytes(self, partition: int, part: PartState) -> int:
        primaries = self._source.primaries()
        if primaries.get(partition) != part.epoch:
            return 0
        after = max(part.cursor, self._source.base(partition))
        return self._source.bytes_after(partition, after)

    def fenced(self) -> list[int]:
        """Partitions that a higher epoch has claimed, and this unit still takes for its own."""
        return sorted(p for p, part in self._parts.items() if part.phase is Phase.FENCED)

    def cursor(self, partition: int) -> int | None:
        """Up to where the store has the partition; None before it was claimed."""
        part = self._parts.get(partition)
        return part.cursor if part is not None and part.phase is Phase.CLAIMED else None

    def validate(self) -> None:
        """Asserts what always holds; called by tests after every step."""
        for partition, part in self._parts.items():
            assert part.phase is not Phase.CLAIMED or part.cursor <= part.committed
            assert not part.flight or part.flight in self._flight
            queued = partition in self._queue
            assert not queued or (part.phase is Phase.CLAIMED and not part.flight)
        assert set(self._queue) <= set(self._parts)
        assert set(self._claims) <= set(self._parts)
