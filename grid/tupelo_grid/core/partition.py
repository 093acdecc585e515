"""A partition's data: entries, journal, and the table of what clients have done.

Records are applied at once and undone if they are cut off before they commit: the entries that a
pending record replaced are kept beside it and dropped when it commits. Primary and backup run the
same `append`; only the primary decides what a record holds.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import xxhash

from tupelo_grid.core.dedupe import SessionTable
from tupelo_grid.core.expiry import Deadlines
from tupelo_grid.core.journal import MUTATION_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, Journal
from tupelo_grid.core.records import (
    JOINT,
    SESSION_EVICT,
    SINGLE,
    WRITE,
    Entry,
    Mutations,
    Puts,
    Record,
    mutations_of,
)
from tupelo_grid.core.tail import Tail

_NOTHING: dict[bytes, Entry] = {}
# Kinds of record that the session table takes note of, where they have a session.
_NOTED = (WRITE, JOINT)
# Answered results are looked for once in so many committed records.
SWEEP_EVERY = 16


class Partition:
    """Entries by space, with the journal they come from.

    Attributes:
        commit: every record up to it is acknowledged by the whole in-sync set. A backup learns it
            with a delay.
        persisted: the store holds everything up to it.
        spilled: what of the journal is in files, ahead of the records in memory; None: nothing.
        undo_base: the lowest sequence the partition can be cut back to.
    """

    __slots__ = (
        "_noted",
        "_replaced",
        "commit",
        "deadlines",
        "journal",
        "number",
        "persisted",
        "sessions",
        "spaces",
        "spilled",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.spaces: dict[str, dict[bytes, Entry]] = {}
        self.journal = Journal()
        self.sessions = SessionTable()
        self.deadlines = Deadlines()
        self.commit = 0
        self.persisted = 0
        self.spilled: Tail | None = None
        # For each record that can be taken back: the entries it replaced, one a mutation (of a
        # SINGLE the entry itself), and what it did to the session table.
        self._replaced: deque[list[Entry | None] | Entry | None] = deque()
        self._noted: deque[Any] = deque()

    @property
    def undo_base(self) -> int:
        return self.journal.last - len(self._replaced)

    @property
    def journal_after(self) -> int:
        """Records up to it are no longer held, neither in memory nor in files."""
        tail = self.spilled
        return tail.after if tail is not None and tail.extents else self.journal.base

    def entries(self) -> int:
        return sum(map(len, self.spaces.values()))

    def begin_at(self, cursor: int, epoch: int, sessions_before: int) -> None:
        """The entries are what the store has up to `cursor`, written last under `epoch`.

        What clients did before is not known any more, so sessions at or below `sessions_before`
        are refused: a retry of theirs could otherwise be run a second time.
        """
        self.journal = Journal.restore(cursor, [], [(1, epoch)] if cursor else [])
        self.sessions.evicted_through = sessions_before
        self.commit = self.persisted = cursor
        self.deadlines.rebuild(self.spaces)

    def append(self, record: Record, epoch: int) -> int:
        """Applies a record and returns its sequence."""
        if len(record) != SINGLE or not record[1]:
            return self._append_other(record, epoch)
        # One client's write of one entry, by far the commonest: all in one step, as each call and
        # each look-up here is made for every write on every replica.
        single: Any = record
        _, session, number, floor, result, space, key, value, deadline_ms = single
        entries = self.spaces.get(space)
        if entries is None:
            entries = self.spaces[space] = {}
        replaced = entries.get(key)
        if value is None:
            sequence = self.journal.append(record, epoch, RECORD_OVERHEAD_BYTES + len(key))
            if replaced is not None:
                del entries[key]
        else:
            size = RECORD_OVERHEAD_BYTES + len(key) + len(value)
            sequence = self.journal.append(record, epoch, size)
            entries[key] = Entry(value, sequence, deadline_ms)
            if deadline_ms:
                self.deadlines.add(deadline_ms, space, key)
        self._replaced.append(replaced)
        state = self.sessions.states.get(session)
        if state is None:
            self._noted.append(self.sessions.note(record, sequence))
            return sequence
        floor_before = state.floor
        if floor > floor_before:
            state.floor = floor
        state.results[number] = sequence if result is None else (sequence, result)
        state.last = sequence
        self._noted.append(floor_before)
        return sequence

    def _append_other(self, record: Record, epoch: int) -> int:
        sequence = self.journal.last + 1
        replaced, size = self._apply(mutations_of(record), sequence)
        self.journal.append(record, epoch, size)
        noted: Any = None
        if record[0] in _NOTED:
            if record[1]:
                noted = self.sessions.note(record, sequence)
        elif record[0] == SESSION_EVICT:
            noted = self.sessions.evict(_evicted(record))
        self._replaced.append(replaced[0] if len(record) == SINGLE else replaced)
        self._noted.append(noted)
        return sequence

    def _apply(self, changes: Mutations, sequence: int) -> tuple[list[Entry | None], int]:
        """Returns what they replaced, and the `record_bytes` of their record."""
        if changes.__class__ is Puts:
            return self._put_all(changes, sequence)
        replaced: list[Entry | None] = []
        size = RECORD_OVERHEAD_BYTES + MUTATION_OVERHEAD_BYTES * max(0, len(changes) - 1)
        name, entries = "", _NOTHING
        for space, key, value, deadline_ms in changes:
            if space != name or entries is _NOTHING:
                name = space
                entries = self.spaces.setdefault(space, {})
            replaced.append(entries.get(key))
            if value is None:
                entries.pop(key, None)
                size += len(key)
                continue
            entries[key] = Entry(value, sequence, deadline_ms)
            size += len(key) + len(value)
            if deadline_ms:
                self.deadlines.add(deadline_ms, space, key)
        return replaced, size

    def _put_all(self, puts: Puts, sequence: int) -> tuple[list[Entry | None], int]:
        """As `_apply`, but column by column."""
        space, keys, values, deadline_ms = puts.space, puts.keys, puts.values, puts.deadline_ms
        entries = self.spaces.setdefault(space, {})
        replaced = list(map(entries.get, keys))
        for key, value in zip(keys, values, strict=True):
            entries[key] = Entry(value, sequence, deadline_ms)
        if deadline_ms:
            for key in keys:
                self.deadlines.add(deadline_ms, space, key)
        overhead = RECORD_OVERHEAD_BYTES + MUTATION_OVERHEAD_BYTES * (len(keys) - 1)
        return replaced, overhead + sum(map(len, keys)) + sum(map(len, values))

    def truncate(self, sequence: int) -> None:
        """Takes every record after `sequence` back. It must be neither committed nor too old."""
        assert sequence >= self.commit, "a committed record would be cut"
        assert sequence >= self.undo_base, "too old to be undone"
        while self.journal.last > sequence:
            self._undo_record(self.journal.pop())

    def _undo_record(self, record: Record) -> None:
        held, noted = self._replaced.pop(), self._noted.pop()
        replaced = held if isinstance(held, list) else [held]
        changes = reversed(mutations_of(record))
        for (space, key, _, _), entry in zip(changes, reversed(replaced), strict=True):
            if entry is None:
                self.spaces[space].pop(key, None)
            else:
                self.spaces[space][key] = entry
                if entry.deadline_ms:
                    self.deadlines.add(entry.deadline_ms, space, key)
        if record[0] in _NOTED and record[1]:
            self.sessions.undo(record, noted)
        elif record[0] == SESSION_EVICT:
            self.sessions.restore(noted)

    def advance_commit(self, commit: int) -> None:
        """Makes records up to `commit` final. Never goes back, never beyond what is held."""
        journal, replaced, noted = self.journal, self._replaced, self._noted
        pending = journal.last - commit
        if pending <= 0:
            pending, commit = 0, journal.last
        if commit <= self.commit:
            return
        sweep = commit // SWEEP_EVERY != self.commit // SWEEP_EVERY
        self.commit = commit
        while len(replaced) > pending:
            replaced.popleft()
            noted.popleft()
        if sweep and commit > journal.base:
            newest = journal.at(commit)
            if newest[1]:
                self.sessions.sweep(newest[1], newest[3])

    def digest(self) -> int:
        """Equal at equal sequence on every replica: order-independent sum of hashes, 64 bits."""
        total = 0
        for space, entries in self.spaces.items():
            seed = xxhash.xxh3_64_intdigest(space.encode())
            for key, entry in entries.items():
                line = msgspec.msgpack.encode((key, entry.value, entry.version, entry.deadline_ms))
                total += xxhash.xxh3_64_intdigest(line, seed)
        sessions = msgspec.msgpack.encode((self.sessions.evicted_through, self.sessions.dump()))
        return (total + xxhash.xxh3_64_intdigest(sessions)) & 0xFFFF_FFFF_FFFF_FFFF

    def validate(self) -> None:
        """Invariants that hold after every step."""
        self.journal.validate()
        assert self.commit <= self.journal.last, "commit beyond the journal"
        assert self.persisted <= self.commit or not self.commit, "persisted beyond commit"
        if self.spilled is not None:
            assert self.spilled.through <= self.commit, "what is not committed is in a file"
            self.spilled.validate(self.journal.base, self.persisted)
        assert len(self._replaced) <= self.journal.last, "more undo than records"
        for entries in self.spaces.values():
            for entry in entries.values():
                assert isinstance(entry.value, bytes)
                assert 0 < entry.version <= self.journal.last, "an entry from the future"


def _evicted(record: Record) -> list[int]:
    result = record[4]
    assert result is not None
    return msgspec.msgpack.decode(result[2], type=list[int])
