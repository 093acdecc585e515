"""Journal, undo, sessions and snapshots of one partition, against random histories."""

from __future__ import annotations

import gc
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tupelo_grid.core.dedupe import SWEEP_RESULTS_MIN, SessionTable
from tupelo_grid.core.expiry import NEVER_MS
from tupelo_grid.core.journal import TRIM_RECORDS_MIN, Journal, Run, common_point, record_bytes
from tupelo_grid.core.partition import SWEEP_EVERY, Partition
from tupelo_grid.core.records import (
    EXPIRE,
    JOINT,
    NOOP,
    SESSION_EVICT,
    WRITE,
    Mutations,
    Puts,
    Record,
    record_of,
    stored,
)
from tupelo_grid.core.snapshot import Snapshot, SnapshotBuilder, SnapshotError

KEYS = [b"a", b"b", b"c"]

mutations = st.lists(
    st.tuples(
        st.sampled_from(["s", "t"]),
        st.sampled_from(KEYS),
        st.none() | st.binary(max_size=4),
        st.sampled_from([0, 0, 50, 60]),
    ),
    max_size=3,
)


bulk_puts = st.builds(
    lambda space, rows, deadline_ms: Puts(space, *zip(*rows, strict=True), deadline_ms),
    st.sampled_from(["s", "t"]),
    st.lists(st.tuples(st.sampled_from(KEYS), st.binary(max_size=4)), min_size=2, max_size=4),
    st.sampled_from([0, 50]),
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Record, int]]:
    """(record, epoch) pairs: epochs rise, operation numbers are fresh, floors trail behind."""
    history: list[tuple[Record, int]] = []
    epoch = 1
    for number in range(1, draw(st.integers(0, 25)) + 1):
        epoch += draw(st.sampled_from([0, 0, 0, 1, 3]))
        session = draw(st.integers(1, 4))
        kind = draw(st.sampled_from([WRITE, WRITE, WRITE, JOINT, NOOP, EXPIRE, SESSION_EVICT]))
        history.append((make_record(draw, kind, session, number), epoch))
    return history


def make_record(draw: st.DrawFn, kind: int, session: int, number: int) -> Record:
    changes: Mutations = tuple(draw(mutations))
    if kind == WRITE:
        floor = draw(st.integers(0, number))
        result = draw(st.none() | st.just((1, 0, b"")))
        changes = draw(st.just(changes) | bulk_puts)
        return record_of(WRITE, session, number, floor, result, changes)
    if kind == JOINT:
        changes = draw(
            st.just((*changes, ("s", b"of", b"the", 0), ("s", b"other", b"group", 0))) | bulk_puts
        )
        numbers = [number, 1000 + number, 2000 + number]
        result = (0, 0, msgspec.msgpack.encode(numbers))
        floor = draw(st.integers(0, number))
        return record_of(JOINT, session, number, floor, result, changes)
    if kind == EXPIRE:
        removals = tuple((s, k, None, 0) for s, k, _, _ in changes)
        return record_of(EXPIRE, 0, 0, 0, None, removals)
    if kind == SESSION_EVICT:
        return (SESSION_EVICT, 0, 0, 0, (0, 0, msgspec.msgpack.encode([session])), ())
    return (NOOP, 0, 0, 0, None, ())


def apply_all(history: list[tuple[Record, int]]) -> Partition:
    partition = Partition(3)
    for record, epoch in history:
        partition.append(record, epoch)
        partition.validate()
    return partition


def state(partition: Partition) -> tuple[object, ...]:
    spaces = {name: dict(held) for name, held in partition.spaces.items() if held}
    sessions = partition.sessions
    return partition.journal.last, spaces, sessions.evicted_through, sessions.dump()


@given(histories(), st.data())
def test_cutting_a_tail_off_is_as_if_it_had_never_been(
    history: list[tuple[Record, int]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(history)))
    partition = apply_all(history)
    partition.truncate(cut)
    partition.validate()
    shorter = apply_all(history[:cut])
    assert state(partition) == state(shorter)
    assert partition.digest() == shorter.digest()
    assert partition.journal.runs == shorter.journal.runs


@given(histories())
def test_puts_do_what_the_mutations_do_that_they_stand_for(
    history: list[tuple[Record, int]],
) -> None:
    singly = [(record, epoch) for old, epoch in history for record in stored([old])]
    partition, other = apply_all(history), apply_all(singly)
    assert state(partition) == state(other)
    assert partition.digest() == other.digest()
    assert partition.journal.bytes == other.journal.bytes
    assert partition.deadlines.next_ms == other.deadlines.next_ms
    assert stored(partition.journal.read(0, 100)) == stored(other.journal.read(0, 100))


@given(histories(), st.data())
def test_a_committed_record_is_never_cut(
    history: list[tuple[Record, int]], data: st.DataObject
) -> None:
    partition = apply_all(history)
    commit = data.draw(st.integers(1, max(1, len(history))))
    partition.advance_commit(commit)
    if partition.commit:
        with pytest.raises(AssertionError):
            partition.truncate(partition.commit - 1)
    partition.truncate(partition.commit)
    assert partition.journal.last == partition.commit


@given(histories(), st.data())
def test_a_snapshot_is_the_same_partition(
    history: list[tuple[Record, int]], data: st.DataObject
) -> None:
    partition = apply_all(history)
    partition.advance_commit(data.draw(st.integers(0, len(history))))
    partition.persisted = data.draw(st.integers(0, partition.commit))
    builder = SnapshotBuilder(1, 3)
    for index, body in enumerate(Snapshot(partition).chunks()):
        builder.add(index, body, _crc(body))
    copy = builder.build()
    copy.validate()
    assert state(copy) == state(partition)
    assert copy.digest() == partition.digest()
    assert copy.journal.base == partition.persisted
    held = partition.journal.read(partition.persisted, 1000)
    assert copy.journal.read(partition.persisted, 1000) == held
    entries = [entry for held in partition.spaces.values() for entry in held.values()]
    assert copy.deadlines.next_ms <= min(
        [e.deadline_ms for e in entries if e.deadline_ms] or [NEVER_MS]
    )


def _crc(body: bytes) -> int:
    import zlib

    return zlib.crc32(body)


def test_damaged_snapshots_are_refused() -> None:
    partition = Partition(3)
    partition.append((WRITE, 5, 1, 0, None, (("s", b"k", b"v", 0),)), 1)
    bodies = list(Snapshot(partition).chunks())
    builder = SnapshotBuilder(1, 3)
    with pytest.raises(SnapshotError):
        builder.add(0, bodies[0], 7)
    with pytest.raises(SnapshotError):
        builder.add(1, bodies[1], _crc(bodies[1]))
    with pytest.raises(SnapshotError):
        builder.build()
    builder.add(0, bodies[0], _crc(bodies[0]))
    with pytest.raises(SnapshotError):
        builder.build()


def runs_of(epochs: list[int]) -> list[Run]:
    runs: list[Run] = []
    for sequence, epoch in enumerate(epochs, start=1):
        if not runs or runs[-1][1] != epoch:
            runs.append((sequence, epoch))
    return runs


epoch_lists = st.lists(st.sampled_from([0, 0, 1, 2]), max_size=12).map(
    lambda steps: [1 + sum(steps[: i + 1]) for i in range(len(steps))]
)


@given(epoch_lists, epoch_lists)
def test_the_common_point_is_the_last_place_of_equal_epoch(a: list[int], b: list[int]) -> None:
    """Both lists rise, as the epochs of one partition's journals do."""
    same = [i for i, (x, y) in enumerate(zip(a, b, strict=False), start=1) if x == y]
    point = common_point(runs_of(a), len(a), runs_of(b), len(b))
    assert point == (same[-1] if same else 0)


def test_trimming_keeps_positions() -> None:
    journal = Journal()
    records: list[Record] = [(WRITE, 1, n, 0, None, (("s", b"k", b"v", 0),)) for n in range(300)]
    for record in records:
        journal.append(record, 1, record_bytes(record))
    size = journal.bytes
    journal.trim(TRIM_RECORDS_MIN - 1)
    assert journal.base == 0
    journal.trim(100)
    journal.validate()
    assert (journal.base, journal.last) == (100, 300)
    assert journal.at(101) == records[100]
    assert journal.read(299, 10) == records[299:]
    assert journal.bytes == size * 2 // 3
    journal.trim(300)
    assert (journal.base, journal.bytes) == (300, 0)


def test_answered_results_are_forgotten_and_the_window_is_kept() -> None:
    partition = Partition(0)
    for number in range(1, 3 * SWEEP_RESULTS_MIN):
        floor = max(0, number - 5)
        partition.append((WRITE, 9, number, floor, None, ()), 1)
        partition.advance_commit(partition.journal.last)
    results = partition.sessions.states[9].results
    assert len(results) <= SWEEP_RESULTS_MIN + SWEEP_EVERY + 5
    newest = 3 * SWEEP_RESULTS_MIN - 1
    assert set(range(newest - 5, newest + 1)) <= set(results)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 50), unique=True, min_size=1), st.data())
def test_an_evicted_session_is_never_taken_for_new(ids: list[int], data: st.DataObject) -> None:
    table = SessionTable()
    for sequence, session in enumerate(ids, start=1):
        table.note((WRITE, session, 1, 0, None, ()), sequence)
    gone = table.oldest(data.draw(st.integers(1, len(ids))))
    assert gone == ids[: len(gone)]
    table.evict(gone)
    assert all(session <= table.evicted_through for session in gone)


def test_deadlines_come_up_once_and_only_for_live_entries() -> None:
    partition = Partition(0)
    partition.append((WRITE, 1, 1, 0, None, (("s", b"a", b"1", 50), ("s", b"b", b"1", 60))), 1)
    partition.append((WRITE, 1, 2, 0, None, (("s", b"a", b"2", 90),)), 1)
    deadlines = partition.deadlines
    assert deadlines.next_ms == 50
    assert deadlines.due(55, 10, partition.spaces) == ()
    assert deadlines.due(75, 10, partition.spaces) == (("s", b"b", None, 0),)
    assert deadlines.next_ms == 90
    deadlines.rebuild(partition.spaces)
    assert deadlines.next_ms == 60


@pytest.mark.parametrize("mutations", [1, 500])
def test_a_journal_s_bytes_are_about_what_it_takes(mutations: int) -> None:
    """They bound a unit's memory while the store is away."""

    def write(partition: Partition, number: int) -> None:
        first = number * mutations
        changes = tuple(
            ("s", b"%09d" % (first + n), bytes(bytearray(100)), 0) for n in range(mutations)
        )
        partition.append((1, 7, number + 1, number, None, changes), 1)

    partition = Partition(0)
    write(partition, 0)
    tracemalloc.start()
    try:
        before, counted = tracemalloc.get_traced_memory()[0], partition.journal.bytes
        for number in range(1, 4000 // mutations):
            write(partition, number)
            partition.advance_commit(partition.journal.last)
        # What the journal holds, and not what the entries take beside.
        partition.spaces.clear()
        partition.deadlines.rebuild(partition.spaces)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.65 < (partition.journal.bytes - counted) / taken < 1.4


@given(histories())
def test_the_collector_has_nothing_to_do_with_entries(
    history: list[tuple[Record, int]],
) -> None:
    """Else it stops the unit for the longer, the more of them there are."""
    partition = apply_all(history)
    builder = SnapshotBuilder(1, partition.number)
    for index, body in enumerate(Snapshot(partition).chunks()):
        builder.add(index, body, _crc(body))
    for held in (partition, builder.build()):
        for entries in held.spaces.values():
            assert not gc.is_tracked(entries)
            assert not any(map(gc.is_tracked, entries.values()))
