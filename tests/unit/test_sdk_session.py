"""Operation numbers: nothing is forgotten while it may be retried, and the floor comes along."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tupelo.session import Session, Sessions, session_id


def test_numbers_begin_at_one_and_are_in_a_row() -> None:
    session = Session(7, window=100)
    assert session.reserve(3) == 1
    assert session.reserve(1) == 4
    assert session.acked_below == 1


def test_the_floor_rises_over_what_is_answered_in_a_row() -> None:
    session = Session(7, window=100)
    session.reserve(10)
    session.answered(4, 6)
    assert session.acked_below == 1
    session.answered(1, 4)
    assert session.acked_below == 6
    session.answered(6, 11)
    assert session.acked_below == 11
    assert session.unanswered == 0


def test_a_full_window_gives_no_number() -> None:
    session = Session(7, window=4)
    assert session.reserve(4) == 1
    assert session.reserve(1) == 0
    session.answered(2, 5)
    assert session.reserve(1) == 0
    session.answered(1, 2)
    assert session.reserve(4) == 5


def test_answering_twice_changes_nothing() -> None:
    session = Session(7, window=100)
    session.reserve(10)
    session.answered(7, 8)
    session.answered(7, 8)
    session.answered(1, 11)
    session.answered(7, 8)
    assert session.acked_below == 11
    assert session.reserve(1) == 11


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_the_floor_is_the_lowest_unanswered_number(seed: int, frames: int) -> None:
    chance = random.Random(seed)
    session = Session(1, window=10_000)
    ranges = []
    for _ in range(frames):
        count = chance.randint(1, 20)
        first = session.reserve(count)
        cut = chance.randint(first, first + count)
        ranges += [part for part in ((first, cut), (cut, first + count)) if part[0] < part[1]]
    open_numbers = {number for first, stop in ranges for number in range(first, stop)}
    stop_of_all = max(open_numbers) + 1
    chance.shuffle(ranges)
    for first, stop in ranges:
        session.answered(first, stop)
        if chance.random() < 0.2:
            session.answered(first, stop)
        open_numbers -= set(range(first, stop))
        assert session.acked_below == (min(open_numbers) if open_numbers else stop_of_all)


def test_many_gaps_are_joined_and_bounded() -> None:
    session = Session(1, window=100_000)
    session.reserve(10_000)
    for number in range(2, 10_000, 2):
        session.answered(number, number + 1)
    for number in range(9_999, 0, -2):
        session.answered(number, number + 1)
    session.answered(10_000, 10_001)
    assert session.acked_below == 10_001


def test_a_full_window_is_followed_by_another_session() -> None:
    ids = iter([10, 5, 5])
    sessions = Sessions(lambda: next(ids), window=8)
    stuck, first = sessions.reserve(1)
    assert (stuck.id, first) == (10, 1)
    sessions.reserve(7)
    stuck.answered(2, 9)
    other, first = sessions.reserve(2)
    assert other.id > 10, "a later session has a greater id, whatever the clock says"
    assert first == 1
    assert stuck.acked_below == 1, "the operation that is stuck keeps its token"


def test_a_session_the_grid_forgot_is_renewed_once() -> None:
    ids = iter([10, 50, 60])
    sessions = Sessions(lambda: next(ids), window=8)
    assert sessions.renew(40).id == 50
    assert sessions.renew(40).id == 50
    assert sessions.renew(50).id == 60


def test_ids_fit_64_bits_and_grow_with_time() -> None:
    early, late = session_id(1_700_000_000_000, 2**36 - 1), session_id(1_700_000_016_000, 0)
    assert 0 < early < late < 2**64


def test_sessions_that_are_refused_together_do_not_become_one() -> None:
    made = [Sessions(lambda low=low: low, window=8).renew(above=10**15).id for low in range(100)]
    assert len(set(made)) == 100
    assert all(one > 10**15 for one in made)
