"""The verdict on a sale, and CPU time between two moments."""

from __future__ import annotations

import pytest

from loadtest.cpu import interpolate
from loadtest.verdict import judge

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
