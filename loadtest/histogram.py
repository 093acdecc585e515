"""Latencies in microseconds, counted in buckets that can be added up across processes.

Buckets are logarithmic with linear parts, as in HdrHistogram: exact to 1 us below 128 us, within
1/64 (1.6 %) above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

EXACT_BITS: Final = 7
"""Latencies below 2**EXACT_BITS us have a bucket each; above, half as many for each doubling."""


def bucket_of(us: int) -> int:
    """The lowest latency, in us, of the bucket that `us` falls into; below 0 counts as 0."""
    if us <= 0:
        return 0
    shift = us.bit_length() - EXACT_BITS
    return us if shift <= 0 else us >> shift << shift


def middle_of(bucket: int) -> float:
    """What a bucket stands for, in us: its middle."""
    shift = bucket.bit_length() - EXACT_BITS
    return float(bucket) if shift <= 0 else bucket + (1 << shift) / 2


class Histogram:
    """Counts by bucket. `counts` may be read, and sent elsewhere, as it is."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    @classmethod
    def of(cls, latencies_us: Iterable[tuple[int, int]]) -> Histogram:
        """From pairs of a latency and how often it was seen."""
        found = cls()
        for us, count in latencies_us:
            bucket = bucket_of(us)
            found.counts[bucket] = found.counts.get(bucket, 0) + count
        return found

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def merge(self, other: Histogram) -> None:
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def percentile_us(self, share: float) -> float:
        """The smallest latency that at least `share` of all do not exceed; 0.0 without any."""
        left = share * self.count
        found = 0
        for found in sorted(self.counts):
            left -= self.counts[found]
            if left <= 0:
                break
        return middle_of(found)
