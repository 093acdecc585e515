"""The verdict on a sale, and CPU time between two moments."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from loadtest import plots
from loadtest.cpu import interpolate
from loadtest.impact import Crash, Ladder, fill_crash, good
from loadtest.plan import Result
from loadtest.reports import Bound, Moment, StepFigures
from loadtest.verdict import Verdict, judge

SEAT, OTHER = ("UA1-EWR", 1), ("UA1-EWR", 2)


def test_a_sale_without_fault() -> None:
    found = judge([(*SEAT, "ann")], {SEAT: "ann", OTHER: "bob"})
    assert found.good
    assert (found.acknowledged, found.in_database, found.unconfirmed) == (1, 2, 1)


def test_a_seat_told_to_two_customers_is_oversold() -> None:
    found = judge([(*SEAT, "ann"), (*SEAT, "bob")], {SEAT: "bob"})
    assert found.oversold == 1
    assert not found.good


def test_the_same_purchase_told_twice_is_one() -> None:
    assert judge([(*SEAT, "ann"), (*SEAT, "ann")], {SEAT: "ann"}).good


@pytest.mark.parametrize("sales", [{}, {SEAT: "bob"}, {OTHER: "ann"}])
def test_a_purchase_that_is_not_in_the_database_is_lost(sales: dict[tuple[str, int], str]) -> None:
    found = judge([(*SEAT, "ann")], sales)
    assert found.lost == 1
    assert not found.good


def test_a_grid_that_differs_from_its_rows_is_no_good() -> None:
    assert not judge([], {}, mismatches=1).good


def test_cpu_time_between_samples() -> None:
    samples = [(10.0, 1.0), (11.0, 2.0), (13.0, 2.0)]
    assert interpolate(samples, 9.0) == 1.0
    assert interpolate(samples, 10.25) == pytest.approx(1.25)
    assert interpolate(samples, 12.0) == 2.0
    assert interpolate(samples, 99.0) == 2.0
    assert interpolate([], 1.0) == 0.0


def crash_of(hurt: int) -> Crash:
    """Killed at 105 s, with so many slices of half a second that answered nothing."""
    moments = [Moment(100 + number / 2, 50, 0, 4000.0) for number in range(1, 21)]
    for number in range(10, 10 + hurt):
        moments[number] = Moment(moments[number].at, 0, 3, 0.0)
    found = Crash("grid", "processing unit", 100.0)
    step = StepFigures("100", 100.0, ops_s=100.0, began=100.2, ended=110.0)
    fill_crash(found, Result([step], moments), Bound(), 105.1)
    return found


def test_a_crash_hurts_until_calls_are_answered_again() -> None:
    assert crash_of(0).hurt_s == 0.0
    found = crash_of(3)
    assert found.hurt_s == pytest.approx(106.5 - 105.1)
    assert found.failed == 9
    assert found.moments[0] == (pytest.approx(-4.6), 100.0, 0.0, 4000.0)


def test_pictures_are_made_of_what_there_is(tmp_path: Path) -> None:
    step = msgspec.to_builtins(StepFigures("a", 100.0, ops_s=90.0, p50_us=900.0, p99_us=5e3))
    step |= {"cpu": {"database": 0.5}, "seconds": 2.0}
    ladder = Ladder("grid", broke_at=135.0, steps=[step, step | {"offered_s": 135.0}])
    found = msgspec.to_builtins({"grid": ladder, "crash": [crash_of(1)]})
    plots.impact(found | {"cpus": 2, "placement": "nothing pinned"}, tmp_path)
    for name in ("impact.png", "impact-crash.png"):
        assert 0 < (tmp_path / name).stat().st_size < 150_000
    assert all(good(found))
    found["crash"][0]["verdict"] = msgspec.to_builtins(Verdict(lost=1))
    assert not all(good(found))
