"""The Universal Scalability Law is found again in points made by it."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from loadtest.scale import models_of, with_earlier
from loadtest.scale_runs import Case, Measured, balance, model
from loadtest.usl import Usl, fit


@pytest.mark.parametrize(
    "law", [Usl(1000.0, 0.05, 0.002), Usl(7.5, 0.3, 0.0), Usl(5e4, 0.0, 0.01), Usl(20.0, 0.0, 0.0)]
)
def test_the_law_that_made_the_points_is_found(law: Usl) -> None:
    found = fit([(units, law.throughput(units)) for units in (1, 2, 4, 8, 16)])
    assert found.unit_ops_s == pytest.approx(law.unit_ops_s)
    assert found.contention == pytest.approx(law.contention, abs=1e-9)
    assert found.coherency == pytest.approx(law.coherency, abs=1e-9)


def test_noise_moves_the_law_little() -> None:
    law, chance = Usl(1000.0, 0.05, 0.002), random.Random(7)
    points = [
        (units, law.throughput(units) * chance.uniform(0.98, 1.02))
        for units in (2, 3, 4, 6, 8)
        for _ in range(5)
    ]
    assert fit(points).throughput(16) == pytest.approx(law.throughput(16), rel=0.1)


def test_better_than_linear_is_held_at_linear() -> None:
    found = fit([(1, 100.0), (2, 210.0), (4, 450.0)])
    assert (found.contention, found.coherency) == (0.0, 0.0)
    assert found.efficiency(32) == 1.0


def test_two_numbers_of_units_leave_coherency_out() -> None:
    found = fit([(2, 190.0), (4, 340.0)])
    assert found.coherency == 0.0
    assert found.throughput(2) == pytest.approx(190.0)
    assert found.throughput(4) == pytest.approx(340.0)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="two different"):
        fit([(2, 100.0), (2, 110.0)])
    with pytest.raises(ValueError, match="above 0"):
        fit([(1, 100.0), (2, 0.0)])


def test_only_grids_with_copies_are_fitted_and_earlier_cases_stay(tmp_path: Path) -> None:
    law = Usl(1000.0, 0.1, 0.0)
    rows = [Measured(Case("ycsb-b", units), points=[law.throughput(units)]) for units in (2, 4, 8)]
    alone = Measured(Case("ycsb-b", 1), points=[9e9])
    found = models_of([alone, *rows])["ycsb-b"]
    assert found["unit_ops_s"] == pytest.approx(1000.0)
    assert found["modelled_ops_s"]["16"] == round(law.throughput(16))
    path = tmp_path / "scale-units.json"
    path.write_bytes(msgspec.json.encode({"units": rows}))
    again = Measured(Case("ycsb-b", 4), ops_s=5.0)
    merged = with_earlier([again, alone], path)
    assert [one.case.units for one in merged] == [1, 2, 4, 8]
    assert merged[2].ops_s == 5.0


def test_a_busy_unit_limits_what_units_would_do() -> None:
    assert balance({"unit-1": 3.0, "unit-2": 1.0, "load": 9.0}, ["unit-1", "unit-2"]) == 2 / 3
    assert balance({"unit-1": 0.0}, ["unit-1"]) == 1.0
    assert model(4, 0.5, 10.0) == pytest.approx(200_000.0)
