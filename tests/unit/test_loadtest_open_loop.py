"""Open-loop schedules, histograms that add up, and the figures of steps made of them."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import Histogram, bucket_of, middle_of
from loadtest.mixes import Zipf, scrambled
from loadtest.plan import Course, Plan, Setup, Step
from loadtest.reports import Bound, Entry, Moment, Report, StepFigures, figures_of, hurt_s
from loadtest.schedule import Schedule


def due_until(schedule: Schedule, now_s: float) -> list[float]:
    taken = []
    while (due := schedule.take(now_s)) is not None:
        taken.append(due)
    return taken


def test_arrivals_are_evenly_spaced_whoever_takes_them_when() -> None:
    schedule = Schedule(10.0, 100.0)
    assert due_until(schedule, 100.05) == []
    assert due_until(schedule, 100.35) == pytest.approx([100.1, 100.2, 100.3])
    # Nobody came for two seconds: all of those are still due, at their own times.
    late = due_until(schedule, 102.31)
    assert late == pytest.approx([100.4 + number / 10 for number in range(20)])


def test_random_arrivals_keep_the_rate() -> None:
    schedule = Schedule(1000.0, 0.0, random.Random(1))
    taken = due_until(schedule, 20.0)
    assert len(taken) == pytest.approx(20_000, rel=0.03)
    assert taken == sorted(taken)
    gaps = [later - earlier for earlier, later in itertools.pairwise(taken)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert spread == pytest.approx(mean, rel=0.05)  # as of a Poisson process


def test_starts_are_put_off_to_ticks_without_losing_the_rate() -> None:
    schedule = Schedule(300.0, 5.0, tick_s=0.001)
    taken = due_until(schedule, 7.0005)
    assert len(taken) == 600
    for due in taken:
        ticks = (due - 5.0) / 0.001
        assert ticks == pytest.approx(round(ticks), abs=1e-6)


def test_the_rest_is_what_was_due_and_not_taken() -> None:
    schedule = Schedule(10.0, 0.0)
    assert schedule.take(1.05) == pytest.approx(0.1)
    assert schedule.rest(0.55) == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert schedule.take(0.55) is None


def test_nothing_arrives_at_a_rate_of_zero() -> None:
    schedule = Schedule(0.0, 1.0, random.Random(1), 0.001)
    assert schedule.take(1e9) is None
    assert schedule.rest(1e9) == []
    with pytest.raises(ValueError, match="rate"):
        Schedule(-1.0, 0.0)


@given(st.integers(0, 10**9))
def test_a_bucket_is_within_a_64th(us: int) -> None:
    bucket = bucket_of(us)
    assert bucket <= us
    assert bucket_of(bucket) == bucket
    assert us - bucket <= us / 64
    assert abs(middle_of(bucket) - us) <= max(us / 64, 0)


@given(st.lists(st.integers(0, 10**7), min_size=1), st.lists(st.integers(0, 10**7), min_size=1))
def test_merged_histograms_are_that_of_both(first: list[int], second: list[int]) -> None:
    merged = Histogram.of((us, 1) for us in first)
    merged.merge(Histogram.of((us, 1) for us in second))
    assert merged.counts == Histogram.of((us, 1) for us in first + second).counts
    assert merged.count == len(first) + len(second)
    exact = sorted(first + second)[math.ceil(0.5 * merged.count) - 1]
    assert merged.percentile_us(0.5) == pytest.approx(exact, rel=1 / 64)


def test_percentiles() -> None:
    found = Histogram.of((us, 1) for us in range(1, 101))
    assert [found.percentile_us(share) for share in (0.01, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert Histogram().percentile_us(0.99) == 0.0


def report(step: int = 0, at: float = 0.0, measured: bool = True, **entry: object) -> Report:
    name = str(entry.pop("name", "read"))
    return Report(step, measured, at, at + 0.5, [Entry(name, **entry)])  # type: ignore[arg-type]


def test_figures_add_up_over_drivers() -> None:
    reports = [
        report(at=0.0, measured=False, counts={9: 500}),
        report(at=10.0, counts={100: 90}),
        report(at=10.5, counts={100: 60}),
        report(at=10.0, counts={1000: 50}, failures=20, errors={"Overloaded": 20}),
        report(at=10.5, name="not started", counts={8960: 10}, failures=10, errors={"x": 10}),
    ]
    found = figures_of("50 %", 200.0, reports)
    assert found.seconds == 1.0
    assert found.ops_s == 180.0
    assert (found.errors, found.error_share) == (30, pytest.approx(30 / 210))
    assert found.p50_us == 100.0
    assert found.p99_us == middle_of(8960)
    assert found.error_texts == {"Overloaded": 20, "x": 10}
    assert found.calls["read"]["count"] == 200


def test_no_measured_report_gives_no_figures() -> None:
    found = figures_of("50 %", 200.0, [report(measured=False, counts={9: 500})])
    assert (found.ops_s, found.p99_us) == (0.0, 0.0)
    assert Bound().broken_by(found) == "nothing was answered"


def test_what_breaks_a_system() -> None:
    bound = Bound(p99_ms=100.0, error_share=0.01)
    good = StepFigures("a", 100.0, ops_s=100.0, p99_us=99_000.0, error_share=0.01)
    assert bound.broken_by(good) == ""
    slow = StepFigures("a", 100.0, ops_s=100.0, p99_us=101_000.0)
    assert "p99 101 ms" in bound.broken_by(slow)
    wrong = StepFigures("a", 100.0, ops_s=100.0, p99_us=1.0, error_share=0.02)
    assert "2.0% errors" in bound.broken_by(wrong)


def moments(*seen: tuple[int, int, float]) -> list[Moment]:
    return [
        Moment(0.5 * (number + 1), answered, failed, p99_ms * 1000)
        for number, (answered, failed, p99_ms) in enumerate(seen)
    ]


def test_how_long_a_crash_hurt() -> None:
    bound = Bound(p99_ms=100.0, error_share=0.01)
    well, slow, starved, wrong = (50, 0, 5.0), (50, 0, 300.0), (10, 0, 5.0), (50, 5, 5.0)
    assert hurt_s(moments(well, well, well, well), bound, 0.6, 100.0) == 0.0
    assert hurt_s(moments(well, starved, slow, well, well), bound, 0.6, 100.0) == pytest.approx(0.9)
    # Well for a moment, and then not: it counts to the end of that.
    assert hurt_s(moments(well, slow, well, wrong, well), bound, 0.6, 100.0) == pytest.approx(1.4)


def course(*steps: Step, stop: Bound | None = None) -> Course:
    setup = Setup("grid", ("127.0.0.1:1",), "ycsb-b")
    return Course(Plan(setup, steps, rate_per_user=10.0, result="", stop=stop))


def test_a_course_takes_shares_of_what_the_first_step_took() -> None:
    found = course(
        Step("all", 2.0, rate=5000.0, settle_s=1.0, overload=True), Step("half", 2.0, share=0.5)
    )
    first = found.advance(0.0)
    assert first is not None
    assert (found.index, found.rate, found.users) == (0, 5000.0, 500)
    found.add(report(at=1.0, counts={10: 400}))
    found.add(report(at=1.5, counts={10: 400}))
    assert found.advance(2.9) is None
    second = found.advance(3.1)
    assert second is not None
    assert (second.label, found.rate, found.users) == ("half", pytest.approx(400.0), 40)
    assert found.advance(7.0) is None
    assert found.ended
    assert [one.label for one in found.all_figures()] == ["all", "half"]


def test_a_course_ends_after_the_step_that_broke() -> None:
    steps = [Step(str(rate), 1.0, rate=rate) for rate in (100.0, 200.0, 300.0)]
    found = course(*steps, stop=Bound(p99_ms=1.0))
    assert found.advance(0.0) is not None
    found.add(report(0, counts={900: 10}))
    assert found.advance(2.1) is not None
    found.add(report(1, at=3.0, counts={1100: 10}))
    assert found.advance(4.2) is None
    assert found.ended
    assert len(found.all_figures()) == 2


def test_a_zipf_draws_few_keys_often() -> None:
    ranks = 1000
    draw, chance = Zipf(ranks, 0.99).draw, random.Random(1)
    seen = [draw(chance.random()) for _ in range(20_000)]
    assert 0 <= min(seen) <= max(seen) < ranks
    zeta = sum(1 / rank**0.99 for rank in range(1, ranks + 1))
    assert seen.count(0) / len(seen) == pytest.approx(1 / zeta, rel=0.1)
    assert seen.count(9) / len(seen) == pytest.approx(1 / 10**0.99 / zeta, rel=0.25)
    assert {scrambled(rank, ranks) for rank in range(ranks)} == set(range(ranks))
    with pytest.raises(ValueError, match="theta"):
        Zipf(ranks, 1.0)
