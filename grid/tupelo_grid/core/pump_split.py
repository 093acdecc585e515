"""A pump whose frames each concern one partition. Pure.

A transport with a subject per partition carries each partition by itself: each has its own
message, its own answer and its own place among those that wait, and none waits for another's.
"""

from __future__ import annotations

from collections.abc import Iterator

from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_frames import PartitionBatch, PumpFrame


def subject_of(frame: PumpFrame) -> tuple[int, int, int, int]:
    """What a frame of one partition is about: (partition, epoch, from, to); a claim has 0 and 0."""
    if frame.claims:
        ((partition, epoch),) = frame.claims
        return partition, epoch, 0, 0
    (batch,) = frame.batches
    return batch.partition, batch.epoch, batch.from_sequence, batch.to_sequence


class SplitPump(Pump):
    """A partition's frame leaves when the partition has `batch_records` waiting, or one of them has
    waited `batch_s`: a few records of many partitions would be as many messages.

    `frames_in_flight` of its limits counts partitions; the frames of one turn may exceed it.
    """

    _due_now: frozenset[int] | None = None  # partitions that may be sent; None: all

    def next_frames(self, now: float, flush: bool = False) -> list[PumpFrame]:
        """What `next_frame` gives, with a frame for each partition; all count as in flight."""
        self._due_now = None if flush else frozenset(self._find_due(now))
        joined = super().next_frame(now, flush)
        if joined is None:
            return []
        del self._flight[joined.position]
        frames = [self._fly(partition, [(partition, e)], []) for partition, e in joined.claims]
        frames += [self._fly(batch.partition, [], [batch]) for batch in joined.batches]
        return frames

    def _find_due(self, now: float) -> Iterator[int]:
        return (partition for partition in self._queue if self._is_due(partition, now))

    def _due(self, now: float) -> bool:
        return bool(self._due_now)

    def _take_batches(self) -> list[PartitionBatch]:
        if self._due_now is None:
            return super()._take_batches()
        held = [partition for partition in self._queue if partition not in self._due_now]
        for partition in held:
            del self._queue[partition]
        batches = super()._take_batches()
        # Partitions of this turn may have been put at its end again: those of before go first.
        self._queue = dict.fromkeys(held) | self._queue
        return batches

    def _fly(
        self, partition: int, claims: list[tuple[int, int]], batches: list[PartitionBatch]
    ) -> PumpFrame:
        self._position += 1
        frame = PumpFrame(self._position, claims, batches)
        self._flight[frame.position] = frame
        self._parts[partition].flight = frame.position
        return frame
