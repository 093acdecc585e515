"""loadtest.scale and loadtest.impact from end to end, as short as they can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest import impact, scale


@pytest.fixture(autouse=True)
def _any_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests after these are not to stay on the load's core."""
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)


def last_line(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_scale_measures_a_grid_by_two_locust_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--part", "units", "--units", "2", "--mixes", "ycsb-b", "--quick", "--plot"]
    assert scale.main([*arguments, "--workers", "2", "--json", "--out", str(tmp_path)]) == 0
    (measured,) = last_line(capsys)["units"]
    assert measured["errors"] == 0
    assert measured["ops_s"] > 100
    assert 0 < measured["unit_us"] < 5000
    assert 0.5 < measured["balance"] <= 1.0
    overload, half = measured["steps"]
    assert overload["ops_s"] < overload["offered_s"]
    assert half["ops_s"] == pytest.approx(half["offered_s"], rel=0.3)
    # The same calls are in locust's own report, as locust's statistics.
    report = next((tmp_path / "locust").glob("*.html")).read_text()
    for name in ("read", "update"):
        assert f'"name": "{name}"' in report
    assert (tmp_path / "scale-units.png").stat().st_size < 150_000


@pytest.mark.parametrize("system", ["database", "grid"])
def test_impact_sells_no_seat_twice(
    system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--part", system, "--rates", "80", "--quick", "--plot", "--json"]
    # What is tested is not this machine's speed.
    arguments += ["--p99-ms", "60000", "--out", str(tmp_path)]
    assert impact.main(arguments) == 0
    found = last_line(capsys)[system]
    (step,) = found["steps"]
    assert step["ops_s"] > 0
    assert step["offered_s"] == 80.0
    verdict = found["verdict"]
    assert verdict["acknowledged"] > 0
    assert verdict["in_database"] >= verdict["acknowledged"]
    assert (verdict["oversold"], verdict["lost"], verdict["mismatches"]) == (0, 0, 0)
    assert (tmp_path / "impact.png").stat().st_size < 150_000
