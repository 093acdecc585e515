"""A pump whose frames each concern one partition. Pure.

A transport with a subject per partition carries each partition by itself: each has its own
message, its own answer and its own place among those that wait, and none waits for another's.
"""

from __future__ import annotations

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
    """`frames_in_flight` of its limits counts partitions; the frames of one turn may exceed it."""

    def next_frames(self, now: float, flush: bool = False) -> list[PumpFrame]:
        """What `next_frame` gives, with a frame for each partition; all count as in flight."""
        joined = self.next_frame(now, flush)
        if joined is None:
            return []
        del self._flight[joined.position]
        frames = [self._fly(partition, [(partition, e)], []) for partition, e in joined.claims]
        frames += [self._fly(batch.partition, [], [batch]) for batch in joined.batches]
        return frames

    def _fly(
        self, partition: int, claims: list[tuple[int, int]], batches: list[PartitionBatch]
    ) -> PumpFrame:
        self._position += 1
        frame = PumpFrame(self._position, claims, batches)
        self._flight[frame.position] = frame
        self._parts[partition].flight = frame.position
        return frame
