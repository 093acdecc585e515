"""The ordered log of one partition's changes.

Sequence numbers are contiguous. Epochs are kept as runs (first sequence, epoch), since they change
only with the primary; runs are never trimmed, so that any position of the past can be compared.
Divergence of two journals is found from their runs alone, in one round: the records of one epoch
come from one primary, so equal (sequence, epoch) means equal records (KIP-101's leader epochs).
"""

from __future__ import annotations

from collections.abc import Sequence

from tupelo_grid.core.records import Record, content_bytes, mutation_count

Run = tuple[int, int]  # (first sequence, epoch)

# What a record costs beside its keys and values, roughly: three tuples, numbers and list places.
RECORD_OVERHEAD_BYTES = 240
# Each further mutation of a record: its tuple, and what Python adds to a key and a value.
MUTATION_OVERHEAD_BYTES = 160
# Trimming moves the rest of the list down, so it waits until it is worth it.
TRIM_RECORDS_MIN = 64


def record_bytes(record: Record) -> int:
    further = max(0, mutation_count(record) - 1)
    return RECORD_OVERHEAD_BYTES + MUTATION_OVERHEAD_BYTES * further + content_bytes(record)


def epoch_at(runs: Sequence[Run], sequence: int) -> int:
    """Epoch of the record at `sequence`; 0 before the first run."""
    for start, epoch in reversed(runs):
        if start <= sequence:
            return epoch
    return 0


def common_point(runs_a: Sequence[Run], last_a: int, runs_b: Sequence[Run], last_b: int) -> int:
    """The highest sequence up to which two journals are the same; 0 when they share nothing."""
    sequence = min(last_a, last_b)
    while sequence > 0:
        epoch_a, epoch_b = epoch_at(runs_a, sequence), epoch_at(runs_b, sequence)
        if epoch_a == epoch_b:
            return sequence
        # The higher of two different epochs began after the point where they parted.
        runs = runs_a if epoch_a > epoch_b else runs_b
        sequence = max(start for start, _ in runs if start <= sequence) - 1
    return 0


class Journal:
    """Records (base, last] of a partition, with the epochs of all it ever held.

    Attributes:
        base: sequence before the first record still held.
        last: sequence of the newest record; `base` when none is held.
        runs: epochs as runs, from the beginning of the partition.
        last_epoch: of the newest record; 0 before the first.
        bytes: estimate of the memory the held records take.
    """

    __slots__ = ("_records", "base", "bytes", "last", "last_epoch", "runs")

    def __init__(self) -> None:
        self.base = 0
        self.last = 0
        self.runs: list[Run] = []
        self.last_epoch = 0
        self.bytes = 0
        self._records: list[Record] = []

    @classmethod
    def restore(cls, base: int, records: list[Record], runs: list[Run]) -> Journal:
        journal = cls()
        journal.base = base
        journal.last = base + len(records)
        journal.runs = runs
        journal.last_epoch = runs[-1][1] if runs else 0
        journal._records = records
        journal.bytes = sum(map(record_bytes, records))
        return journal

    def append(self, record: Record, epoch: int, size: int) -> int:
        """Adds a record of `record_bytes` size and returns its sequence. Epochs never fall."""
        sequence = self.last = self.last + 1
        if epoch != self.last_epoch:
            assert epoch > self.last_epoch, "an epoch older than the journal's end"
            self.runs.append((sequence, epoch))
            self.last_epoch = epoch
        self._records.append(record)
        self.bytes += size
        return sequence

    def epoch_at(self, sequence: int) -> int:
        return epoch_at(self.runs, sequence)

    def at(self, sequence: int) -> Record:
        assert self.base < sequence <= self.last, "not in the journal"
        return self._records[sequence - self.base - 1]

    def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` records that follow `after`, which must not lie before `base`."""
        assert after >= self.base, "trimmed away"
        start = after - self.base
        return self._records[start : start + limit]

    def pop(self) -> Record:
        """Takes the newest record off again."""
        record = self._records.pop()
        if self.runs[-1][0] == self.last:
            self.runs.pop()
            self.last_epoch = self.runs[-1][1] if self.runs else 0
        self.last -= 1
        self.bytes = max(0, self.bytes - record_bytes(record)) if self._records else 0
        return record

    def trim(self, through: int, at_once: bool = False, size: int | None = None) -> None:
        """Forgets records up to `through`, when that is enough to be worth the move, or at once.
        `size`: what they take, where somebody knows."""
        count = min(through, self.last) - self.base
        if count < TRIM_RECORDS_MIN and count < len(self._records) and not at_once:
            return
        if count <= 0:
            return
        # The share of so many records: to look at each would cost as much as appending it did.
        self.bytes -= self.bytes * count // len(self._records) if size is None else size
        del self._records[:count]
        self.base += count

    def validate(self) -> None:
        assert self.last == self.base + len(self._records)
        starts = [start for start, _ in self.runs]
        epochs = [epoch for _, epoch in self.runs]
        assert self.last_epoch == (epochs[-1] if epochs else 0)
        assert starts == sorted(set(starts)), "runs out of order"
        assert epochs == sorted(set(epochs)), "epochs fall"
        assert not starts or starts[-1] <= self.last, "a run without records"
