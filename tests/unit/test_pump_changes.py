"""What a frame takes of a partition: everything that has room, and no record by halves."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from tupelo_grid.core.pump_changes import Room, take
from tupelo_grid.core.pump_frames import Change
from tupelo_grid.core.records import LOAD, WRITE, Mutation, Record, mutations_of

SPACES = {"last": True, "each": False, "none": None}

mutations = st.lists(
    st.tuples(
        st.sampled_from(sorted(SPACES)),
        st.sampled_from([b"a", b"b", b"long key"]),
        st.none() | st.binary(max_size=12),
        st.sampled_from([0, 9]),
    ),
    max_size=4,
    unique_by=lambda mutation: mutation[:2],
)


def record(kind: int, changes: list[Mutation]) -> Record:
    return (kind, 1, 1, 0, None, tuple(changes))


records = st.lists(
    st.builds(record, st.sampled_from([WRITE, WRITE, WRITE, LOAD]), mutations),
    min_size=1,
    max_size=12,
).map(lambda found: list(enumerate(found, start=101)))


def expected(rows: list[tuple[int, Record]]) -> set[Change]:
    """By the words of the promise: the last change of each key, or each where that is asked for."""
    changes: list[Change] = [
        (space, key, value, sequence, deadline_ms)
        for sequence, row in rows
        if row[0] != LOAD
        for space, key, value, deadline_ms in mutations_of(row)
        if SPACES[space] is not None
    ]
    newest = {(one[0], one[1]): one[3] for one in changes}
    return {one for one in changes if not SPACES[one[0]] or newest[one[0], one[1]] == one[3]}


def size_of(changes: list[Change]) -> int:
    return sum(len(key) + len(value or b"") for _, key, value, _, _ in changes)


@given(records)
def test_all_is_taken_where_there_is_room(rows: list[tuple[int, Record]]) -> None:
    share = take(rows, SPACES.get, Room(1000, 100_000), first=False)
    assert share is not None
    assert share.last == rows[-1][0]
    assert len(share.changes) == len(set(share.changes))
    assert set(share.changes) == expected(rows)
    assert share.size == size_of(share.changes)


@given(records, st.integers(0, 12), st.integers(0, 80), st.booleans())
def test_what_has_no_room_is_left_whole(
    rows: list[tuple[int, Record]], changes_max: int, bytes_max: int, first: bool
) -> None:
    share = take(rows, SPACES.get, Room(changes_max, bytes_max), first)
    if share is None:
        assert not first
        kind, changes = rows[0][1][0], mutations_of(rows[0][1])
        assert kind != LOAD, "there is nothing in it to be stored"
        size = sum(len(key) + len(value or b"") for _, key, value, _ in changes)
        assert len(changes) > changes_max or size > bytes_max
        return
    taken = rows[: share.last - rows[0][0] + 1]
    assert set(share.changes) == expected(taken)
    if len(taken) > 1 or not first:
        assert len(share.changes) <= changes_max
        assert size_of(share.changes) <= share.size <= bytes_max


def test_changes_of_one_key_keep_their_order() -> None:
    rows = [(n, record(WRITE, [("each", b"k", bytes([n]), 0)])) for n in (1, 2, 3)]
    share = take(rows, SPACES.get, Room(10, 100), first=False)
    assert share is not None
    assert [change[3] for change in share.changes] == [1, 2, 3]


def test_a_key_written_often_has_room_for_its_last_value() -> None:
    rows = [(n, record(WRITE, [("last", b"k", bytes(50), 0)])) for n in range(1, 5)]
    share = take(rows, SPACES.get, Room(1, 51), first=False)
    assert share is not None
    assert share.last == 4
    assert [change[3] for change in share.changes] == [4]


class Untouched(tuple[Mutation, ...]):
    """Ten thousand changes that nobody may look at."""

    __slots__ = ()

    def __len__(self) -> int:
        return 10_000

    def __iter__(self) -> Iterator[Mutation]:
        raise AssertionError("what has no room was looked at")


def test_of_a_long_backlog_only_what_has_room_is_looked_at() -> None:
    rows = [(n, record(WRITE, [("last", b"%d" % n, b"v", 0)])) for n in range(1, 9)]
    rows += [(n, (WRITE, 1, 1, 0, None, Untouched())) for n in range(9, 99)]
    share = take(rows, SPACES.get, Room(20, 1000), first=True)
    assert share is not None
    assert share.last == 8
