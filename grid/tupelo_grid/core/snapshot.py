"""A whole partition as a series of chunks, and back.

A snapshot is taken in one step: entries are immutable tuples, so copying the references is enough
and the encoding can be spread over many steps. It holds the entries and the dedupe table as of
sequence S, and the journal's records that the store does not have yet, so that a replica made from
it can feed the pump should it become primary.

    chunk            MessagePack [kind, payload]
    kind 0 head      [sequence, runs, commit, persisted, evicted_through, sequence before the tail]
    kind 1 entries   [space, [[key, value, version, deadline], ...]]
    kind 2 sessions  rows of SessionTable.dump
    kind 3 records   the tail's records, in order
    kind 4 spilled   [after, through, size, records encoded]; before the head

Of the records that the store does not have, those that are in files (core.tail) come first, an
extent in a chunk, as bytes that neither side looks into. The head follows when all of them have
arrived, and S is of that moment.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from tupelo_grid.core.dedupe import SessionTable
from tupelo_grid.core.journal import Journal
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Entry, Record, content_bytes, record_of, stored
from tupelo_grid.core.tail import Extent, Tail

CHUNK_BYTES = 256 * 1024

HEAD, ENTRIES, SESSIONS, RECORDS, SPILLED = range(5)
# How such a chunk begins: an array of two, the first of them its kind.
_SPILLED_START = bytes((0x92, SPILLED))


class SnapshotError(Exception):
    """A chunk is missing, out of order or damaged; the snapshot must be sent again."""


def spilled_chunk(extent: Extent, payload: bytes) -> bytes:
    row = (extent.after, extent.through, extent.size, payload)
    return msgspec.msgpack.encode((SPILLED, row))


class Snapshot:
    """The outgoing side. `sequence` and `epoch` are its end; `chunks()` can be taken bit by bit."""

    def __init__(self, partition: Partition) -> None:
        journal = partition.journal
        self.sequence = journal.last
        self.runs = list(journal.runs)
        self._commit = partition.commit
        self._persisted = partition.persisted
        self._entries = [(space, list(held.items())) for space, held in partition.spaces.items()]
        self._sessions = partition.sessions.dump()
        self._evicted_through = partition.sessions.evicted_through
        self._tail_after = max(journal.base, min(partition.persisted, journal.last))
        self._tail = journal.read(self._tail_after, journal.last - self._tail_after)

    def chunks(self) -> Iterator[bytes]:
        encode = msgspec.msgpack.encode
        head = (
            self.sequence,
            self.runs,
            self._commit,
            self._persisted,
            self._evicted_through,
            self._tail_after,
        )
        yield encode((HEAD, head))
        for space, rows in self._entries:
            for part in _by_bytes(rows, lambda row: len(row[0]) + len(row[1].value)):
                yield encode(
                    (
                        ENTRIES,
                        (
                            space,
                            [
                                (key, entry.value, entry.version, entry.deadline_ms)
                                for key, entry in part
                            ],
                        ),
                    )
                )
        for part in _by_bytes(self._sessions, lambda row: 40 * (1 + len(row[2]))):
            yield encode((SESSIONS, part))
        for part in _by_bytes(self._tail, content_bytes):
            yield encode((RECORDS, stored(part)))


def _by_bytes(rows: list[Any], size: Any) -> Iterator[list[Any]]:
    part: list[Any] = []
    held = 0
    for row in rows:
        part.append(row)
        held += 64 + size(row)
        if held >= CHUNK_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part


class TailTaker(Protocol):
    """Where extents of a snapshot go as they arrive: core.spill."""

    def begin(self) -> Tail: ...

    def receive(self, number: int, tail: Tail, extent: Extent) -> bool: ...


class SnapshotBuilder:
    """The incoming side: takes chunks in order, then makes the partition in one go.

    Until `build`, the replica keeps what it has: it may be the last holder of something. `origin`:
    (sender, epoch); it and the snapshot's number say which bytes a chunk has. `spill` takes what
    goes to files at once; None: there are none.
    """

    def __init__(
        self,
        snapshot_id: int,
        number: int,
        origin: tuple[str, int] = ("", 0),
        spill: TailTaker | None = None,
    ) -> None:
        self.snapshot_id = snapshot_id
        self.origin = origin
        self.next_index = 0
        self.tail: Tail | None = None
        self._spill = spill
        self._number = number
        self._chunks: list[bytes] = []

    def add(self, index: int, body: bytes, crc: int) -> None:
        """Raises SnapshotError."""
        if index != self.next_index:
            raise SnapshotError(f"chunk {index} where {self.next_index} was due")
        if zlib.crc32(body) != crc:
            raise SnapshotError(f"chunk {index} is damaged")
        if body.startswith(_SPILLED_START):
            self._take_spilled(body)
        else:
            self._chunks.append(body)
        self.next_index += 1

    def _take_spilled(self, body: bytes) -> None:
        try:
            _, row = msgspec.msgpack.decode(body, type=tuple[int, tuple[int, int, int, bytes]])
        except (msgspec.MsgspecError, ValueError) as error:
            raise SnapshotError(f"unreadable: {error}") from error
        if self._spill is None or self._chunks:
            raise SnapshotError("records of a file where none can be")
        if self.tail is None:
            self.tail = self._spill.begin()
        after, through, size, payload = row
        extent = Extent(after, through, size, payload=payload)
        if not self._spill.receive(self._number, self.tail, extent):
            raise SnapshotError(f"records of a file behind {after} where {self.tail.through} ended")

    def build(self) -> Partition:
        """Raises SnapshotError for anything but a whole snapshot."""
        try:
            return self._build()
        except (msgspec.MsgspecError, ValueError, TypeError, LookupError, RecursionError) as error:
            raise SnapshotError(f"unreadable: {error}") from error

    def _build(self) -> Partition:
        decode = msgspec.msgpack.decode
        partition = Partition(self._number)
        parts = [decode(body) for body in self._chunks]
        if not parts or parts[0][0] != HEAD:
            raise SnapshotError("no head")
        sequence, runs, commit, persisted, evicted, tail_after = parts[0][1]
        sessions: list[Any] = []
        tail: list[Record] = []
        for kind, payload in parts[1:]:
            if kind == ENTRIES:
                space, rows = payload
                held: dict[bytes, Entry] = partition.spaces.setdefault(space, {})
                held.update((row[0], Entry(row[1], row[2], row[3])) for row in rows)
            elif kind == SESSIONS:
                sessions.extend(payload)
            elif kind == RECORDS:
                tail.extend(map(_record, payload))
        if tail_after + len(tail) != sequence or not self._reaches(persisted, tail_after):
            raise SnapshotError("its tail is not whole")
        partition.journal = Journal.restore(tail_after, tail, [(s, e) for s, e in runs])
        partition.sessions = SessionTable.load(evicted, map(_session, sessions))
        partition.commit = commit
        partition.persisted = min(persisted, sequence)
        partition.spilled = self.tail
        partition.deadlines.rebuild(partition.spaces)
        return partition

    def _reaches(self, persisted: int, tail_after: int) -> bool:
        """Nothing is missing between what the store has and the first record that is here."""
        tail = self.tail
        if tail is None or persisted >= tail_after:
            return True
        return tail.after <= persisted and tail.through >= tail_after


def _record(row: list[Any]) -> Record:
    kind, session, number, floor, result, changes = row
    return record_of(
        kind,
        session,
        number,
        floor,
        None if result is None else (result[0], result[1], result[2]),
        tuple((space, key, value, deadline) for space, key, value, deadline in changes),
    )


def _session(row: list[Any]) -> Any:
    session, floor, results = row
    restored = [
        (n, r if isinstance(r, int) else (r[0], (r[1][0], r[1][1], r[1][2]))) for n, r in results
    ]
    return session, floor, restored
