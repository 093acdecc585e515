"""Exactly-once: what each client session has done in a partition.

The table is built from the records alone, so every replica has the same one, and a snapshot
carries it. A session's `floor` is the client's word that every operation below it has been
answered: results below are forgotten, and a late duplicate from there is refused. Sessions are
numbered by their creation, so of the sessions that were evicted only the highest number is kept: an
unknown session at or below it may have been evicted and is refused; one above is certainly new.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from tupelo.session import SESSION_PERIOD_MS, SESSION_STEP_BITS, session_id

from tupelo_grid.core.records import JOINT, Record, Result

# The sequence of the record, when the result is OK with that sequence; else both.
Remembered = int | tuple[int, Result]

# Answered results are swept out when a session holds this many.
SWEEP_RESULTS_MIN = 32

# The floor before a record that began its session.
NEW_SESSION = -1

_numbers = msgspec.msgpack.Decoder(list[int]).decode


def numbers_of(record: Record) -> list[int]:
    """Of the session's operations that the record carries out."""
    result = record[4]
    return _numbers(result[2]) if record[0] == JOINT and result is not None else [record[2]]


def session_now(now_ms: int) -> int:
    """Above every session that a client with a true clock has made until now.

    Also above one that was made to exceed what this said a second ago or earlier (`Sessions.renew`
    goes up by one step at most): or what ran under it would run again after a second load.
    """
    second = now_ms % SESSION_PERIOD_MS // 1000
    return session_id(now_ms + SESSION_PERIOD_MS, second << SESSION_STEP_BITS)


class SessionState:
    """One session in one partition.

    `last` is about the sequence of its newest record here: the primary evicts those first that were
    quiet the longest. Replicas need not agree on it.
    """

    __slots__ = ("floor", "last", "results")

    def __init__(self) -> None:
        self.floor = 0
        self.results: dict[int, Remembered] = {}
        self.last = 0

    def sweep(self, floor: int) -> None:
        """Forgets results below a floor that is committed."""
        results = self.results
        for number in [number for number in results if number < floor]:
            del results[number]


class SessionTable:
    """The sessions of one partition. `evicted_through` is the highest session ever evicted."""

    __slots__ = ("evicted_through", "states")

    def __init__(self) -> None:
        self.states: dict[int, SessionState] = {}
        self.evicted_through = 0

    def note(self, record: Record, sequence: int) -> int:
        """Takes in a client's record. Returns the floor before it, for `undo`."""
        kind, session, number, floor, result = record[:5]
        state = self.states.get(session)
        if state is None:
            state = self.states[session] = SessionState()
            state.floor = floor
            before = NEW_SESSION
        else:
            before = state.floor
            if floor > before:
                state.floor = floor
        if kind == JOINT:
            state.results.update(dict.fromkeys(numbers_of(record), sequence))
        else:
            state.results[number] = sequence if result is None else (sequence, result)
        state.last = sequence
        return before

    def undo(self, record: Record, floor_before: int) -> None:
        if floor_before == NEW_SESSION:
            del self.states[record[1]]
            return
        state = self.states[record[1]]
        for number in numbers_of(record):
            del state.results[number]
        state.floor = floor_before

    def sweep(self, session: int, committed_floor: int) -> None:
        state = self.states.get(session)
        if state is not None and len(state.results) >= SWEEP_RESULTS_MIN:
            state.sweep(committed_floor)

    def oldest(self, count: int) -> list[int]:
        """Sessions to evict: those whose newest record is the oldest."""
        return sorted(self.states, key=lambda session: self.states[session].last)[:count]

    def evict(self, sessions: Iterable[int]) -> tuple[int, dict[int, SessionState]]:
        """Returns what `restore` needs to undo it."""
        before = self.evicted_through
        gone: dict[int, SessionState] = {}
        for session in sessions:
            state = self.states.pop(session, None)
            if state is not None:
                gone[session] = state
                self.evicted_through = max(self.evicted_through, session)
        return before, gone

    def restore(self, before: tuple[int, dict[int, SessionState]]) -> None:
        self.evicted_through, gone = before[0], before[1]
        self.states.update(gone)

    def dump(self) -> list[tuple[int, int, list[tuple[int, Remembered]]]]:
        """For snapshots and digests: only what a replica must agree on, in a fixed order."""
        return [
            (
                session,
                state.floor,
                sorted((n, r) for n, r in state.results.items() if n >= state.floor),
            )
            for session, state in sorted(self.states.items())
        ]

    @classmethod
    def load(
        cls,
        evicted_through: int,
        rows: Iterable[tuple[int, int, list[tuple[int, Remembered]]]],
    ) -> SessionTable:
        table = cls()
        table.evicted_through = evicted_through
        for session, floor, results in rows:
            state = table.states[session] = SessionState()
            state.floor = floor
            state.results = dict(results)
            sequences = [r if isinstance(r, int) else r[0] for r in state.results.values()]
            state.last = max(sequences, default=0)
        return table
