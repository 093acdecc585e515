"""Journals as the pump reads them, for tests: what was committed, and what was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.core.records import LOAD, NOOP, WRITE, Mutation, Record, mutations_of, record_of

State = dict[tuple[str, bytes], tuple[bytes, int, int]]


def write(*changes: Mutation) -> Record:
    return record_of(WRITE, 1, 1, 0, None, changes)


def put(key: str, value: str, space: str = "s", deadline_ms: int = 0) -> Record:
    return write((space, key.encode(), value.encode(), deadline_ms))


def remove(key: str, space: str = "s") -> Record:
    return write((space, key.encode(), None, 0))


NOOP_RECORD: Record = (NOOP, 0, 0, 0, None, ())


def load(key: str, value: str) -> Record:
    return (LOAD, 0, 0, 0, None, "s", key.encode(), value.encode(), 0)


class FakeSource:
    """The journals of one unit; `bases` says up to where a journal was trimmed."""

    def __init__(self, roles: dict[int, int] | None = None) -> None:
        self.roles: dict[int, int] = dict(roles or {})
        self.journals: dict[int, list[Record]] = {}
        self.bases: dict[int, int] = {}
        self.told: list[tuple[int, int, int]] = []
        self._dirty: set[int] = set(self.roles)

    def commit(self, partition: int, *records: Record) -> int:
        self.journals.setdefault(partition, []).extend(records)
        self._dirty.add(partition)
        return self.committed(partition)

    def become(self, partition: int, epoch: int) -> None:
        self.roles[partition] = epoch
        self._dirty.add(partition)

    def primaries(self) -> Mapping[int, int]:
        return self.roles

    def committed(self, partition: int) -> int:
        return len(self.journals.get(partition, []))

    def base(self, partition: int) -> int:
        return self.bases.get(partition, 0)

    def read(self, partition: int, after: int, limit: int) -> Sequence[tuple[int, Record]]:
        assert partition in self.roles
        assert after >= self.base(partition), "trimmed away"
        records = self.journals[partition][after : after + limit]
        return list(enumerate(records, after + 1))

    def bytes_after(self, partition: int, sequence: int) -> int:
        return 100 * max(0, self.committed(partition) - sequence)

    def persisted(self, partition: int, epoch: int, cursor: int) -> None:
        assert cursor <= self.committed(partition)
        self.told.append((partition, epoch, cursor))

    def dirty(self) -> set[int]:
        found, self._dirty = self._dirty, set()
        return found


def fold(journal: Sequence[Record], upto: int) -> State:
    """What a store holds that has the first `upto` records of a journal."""
    state: State = {}
    for sequence, record in enumerate(journal[:upto], 1):
        for space, key, value, deadline_ms in mutations_of(record):
            if value is None:
                state.pop((space, key), None)
            else:
                state[space, key] = (value, sequence, deadline_ms)
    return state


def keys_of(batch: PartitionBatch) -> list[tuple[bytes, bytes | None, int]]:
    return [(key, value, version) for _, key, value, version, _ in batch.changes]
