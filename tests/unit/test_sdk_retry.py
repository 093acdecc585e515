"""When to try again, and what to tell the caller when not."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tupelo._sync import runtime
from tupelo.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidArgument,
    NotReady,
    OutcomeUnknown,
    Overloaded,
    PartitionLost,
    RequestError,
    ResultCode,
    SessionExpired,
    StaleToken,
    TupeloError,
    error_of,
)
from tupelo.retry import (
    CLOSED,
    DEADLINE,
    NOT_SENT,
    Attempts,
    Failure,
    RetryBudget,
    RetryPolicy,
    backoff_s,
    no_primary,
)

POLICY = RetryPolicy(base_s=0.01, max_s=1.0)


def budget(burst: float = 100.0) -> RetryBudget:
    return RetryBudget(0.1, burst, 0.0, now=0.0)


def attempts(*, writes: bool = True, deadline: float = 10.0, burst: float = 100.0) -> Attempts:
    return Attempts(POLICY, budget(burst), writes=writes, deadline=deadline)


def failure(code: int, *, maybe: bool = False) -> Failure:
    return Failure(code, "why", {}, maybe)


@given(st.integers(0, 100), st.floats(0, 0.999))
def test_the_pause_is_drawn_from_zero_to_a_doubling_bound(attempt: int, chance: float) -> None:
    pause = backoff_s(attempt, 0.01, 1.0, chance)
    assert 0.0 <= pause <= min(1.0, 0.01 * 2**attempt)
    assert pause == pytest.approx(chance * min(1.0, 0.01 * 2**attempt))


def test_who_looks_for_a_new_owner_never_waits_much_longer_than_it_has_waited() -> None:
    """A fail-over of 0.2 s must not become one of 0.4 s; overload is left more time."""
    tried, waited_s = attempts(), 0.0
    for _ in range(20):
        longest = tried.after(failure(ResultCode.NOT_READY), 0.0, 0.999, moved=False).delay_s
        assert longest <= max(0.04, 0.8 * waited_s)
        waited_s += longest / 2
    busy = attempts()
    pauses = [
        busy.after(failure(ResultCode.OVERLOADED), 0.0, 0.999, moved=False).delay_s
        for _ in range(5)
    ]
    assert pauses[4] == pytest.approx(16 * pauses[0])


def test_pauses_begin_anew_with_another_unit() -> None:
    tried = attempts()
    first = tried.after(failure(ResultCode.NOT_READY), 0.0, 0.5, moved=False).delay_s
    for _ in range(8):
        tried.after(failure(ResultCode.NOT_READY), 0.0, 0.5, moved=False)
    tried.rerouted()
    assert tried.after(failure(ResultCode.NOT_READY), 0.0, 0.5, moved=False).delay_s == first


def test_a_thread_that_waits_for_news_goes_on_when_there_are_some() -> None:
    news = runtime.News()
    ended = threading.Event()

    def wait() -> None:
        news.wait(60.0)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    while not ended.wait(0.01):
        news.tell()


def test_a_budget_is_a_burst_and_then_a_share_of_the_operations() -> None:
    bucket = RetryBudget(0.5, 3, 0.0, now=0.0)
    assert [bucket.spend(0.0) for _ in range(4)] == [True, True, True, False]
    bucket.deposit(4)
    assert [bucket.spend(0.0) for _ in range(3)] == [True, True, False]
    bucket.deposit(1_000)
    assert bucket.tokens == 3


def test_a_budget_fills_with_time_too() -> None:
    bucket = RetryBudget(0.0, 10, 2.0, now=0.0)
    while bucket.spend(0.0):
        pass
    assert bucket.spend(1.0)
    assert bucket.spend(1.0)
    assert not bucket.spend(1.0)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ResultCode.INVALID_ARGUMENT, InvalidArgument),
        (ResultCode.STALE_TOKEN, StaleToken),
        (CLOSED, ConnectionLost),
        (DEADLINE, DeadlineExceeded),
        (33, RequestError),
    ],
)
def test_what_no_retry_can_help_is_raised_at_once(code: int, error: type[TupeloError]) -> None:
    with pytest.raises(error, match="why"):
        attempts().after(failure(code), 0.0, 0.5, moved=False)


@pytest.mark.parametrize("code", [17, 18, 21, 22, 30, 64, NOT_SENT, 16])
def test_what_may_pass_is_tried_again_until_the_deadline(code: int) -> None:
    tried = attempts(deadline=2.0)
    now = 0.0

    def retry_for_ever() -> None:
        nonlocal now
        while True:
            now += max(0.001, tried.after(failure(code), now, 0.5, moved=False).delay_s)

    with pytest.raises(TupeloError, match="the time of the call ran out after") as caught:
        retry_for_ever()
    assert 1.0 < now < 2.0
    assert caught.value.retryable


def test_only_a_stale_route_asks_for_a_newer_table() -> None:
    assert attempts().after(failure(ResultCode.WRONG_OWNER), 0.0, 0.5, moved=False).refresh
    assert not attempts().after(failure(ResultCode.WRONG_OWNER), 0.0, 0.5, moved=True).refresh
    assert not attempts().after(failure(ResultCode.OVERLOADED), 0.0, 0.5, moved=False).refresh


def test_the_first_move_is_followed_at_once_and_later_ones_with_a_pause() -> None:
    tried = attempts()
    wrong = failure(ResultCode.WRONG_OWNER)
    assert tried.after(wrong, 0.0, 0.5, moved=True).delay_s == 0.0
    assert tried.after(wrong, 0.0, 0.5, moved=True).delay_s > 0.0


def test_a_write_that_may_have_happened_is_never_called_failed() -> None:
    tried = attempts()
    tried.after(failure(ResultCode.OUTCOME_UNKNOWN, maybe=True), 0.0, 0.5, moved=False)
    tried.after(failure(ResultCode.NOT_READY), 0.1, 0.5, moved=False)
    for code in (ResultCode.STALE_TOKEN, ResultCode.SESSION_EXPIRED, ResultCode.INVALID_ARGUMENT):
        with pytest.raises(OutcomeUnknown, match="may have been carried out"):
            tried.after(failure(code), 0.2, 0.5, moved=False)
    with pytest.raises(OutcomeUnknown):
        tried.after(failure(ResultCode.NOT_READY), 9.999, 0.9, moved=False)


def test_a_read_has_no_unknown_outcome() -> None:
    tried = attempts(writes=False)
    tried.after(failure(ResultCode.OUTCOME_UNKNOWN, maybe=True), 0.0, 0.5, moved=False)
    with pytest.raises(DeadlineExceeded):
        tried.after(failure(ResultCode.OUTCOME_UNKNOWN, maybe=True), 10.0, 0.5, moved=False)


def test_a_fresh_operation_of_a_forgotten_session_gets_a_new_token_at_once() -> None:
    decision = attempts().after(failure(ResultCode.SESSION_EXPIRED), 0.0, 0.5, moved=False)
    assert decision.fresh
    assert decision.delay_s == 0.0
    with pytest.raises(SessionExpired):
        attempts(burst=0).after(failure(ResultCode.SESSION_EXPIRED), 0.0, 0.5, moved=False)


def test_a_spent_budget_ends_the_retries_with_the_last_error() -> None:
    shared = budget(burst=2)
    tried = Attempts(POLICY, shared, writes=True, deadline=10.0)
    tried.after(failure(ResultCode.NOT_READY), 0.0, 0.5, moved=False)
    tried.after(failure(ResultCode.NOT_READY), 0.0, 0.5, moved=False)
    with pytest.raises(NotReady, match="budget is spent"):
        tried.after(failure(ResultCode.NOT_READY), 0.0, 0.5, moved=False)
    tried.after(failure(NOT_SENT), 0.0, 0.5, moved=False)  # what is not sent costs nothing


def test_codes_become_their_exceptions() -> None:
    assert isinstance(error_of(18, "m", {"a": 1}), Overloaded)
    assert error_of(18, "m", {"a": 1}).fields == {"a": 1}
    assert isinstance(error_of(70, ""), OutcomeUnknown)
    assert isinstance(error_of(40, ""), RequestError)
    assert error_of(17).message == "NOT_READY"
    for code in ResultCode:
        if code >= 16:
            expected = ResultCode.OUTCOME_UNKNOWN if code == ResultCode.ANSWER_FULL else code
            assert error_of(code).code in (expected, ResultCode.INVALID_ARGUMENT, 27)


def test_waiting_for_a_lost_partition_costs_nobody_else_a_retry() -> None:
    """By the table: nothing is sent. The error is that of the partition in the end."""
    spent = RetryBudget(0.0, 1.0, 0.0, 0.0)
    patient = Attempts(RetryPolicy(0.1, 0.1), spent, writes=True, deadline=1.0)
    for now in (0.0, 0.3, 0.6):
        decision = patient.after(no_primary(7, lost=True), now, 0.5, moved=False)
        assert decision.refresh
        assert decision.delay_s > 0
    assert spent.tokens == 1.0
    with pytest.raises(PartitionLost, match=r"partition 7 is lost.*time of the call ran out"):
        patient.after(no_primary(7, lost=True), 0.99, 0.5, moved=False)
