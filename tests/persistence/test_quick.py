"""Bounded forms of this folder's programs; see their docstrings for the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.persistence import outage, poison, power_loss


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_an_outage_with_a_killed_owner_loses_repeats_and_resurrects_nothing(
    tmp_path: Path, store: str
) -> None:
    settings = outage.Settings(store=store, seconds=4.0, tasks=16, pause_s=0.02)
    report = await outage.run(settings, tmp_path)
    assert report["ok"], report
    assert report["acknowledged_during_outage"] > 0
    assert report["lag_s_max"] > 2.0, "the store was never away"
    assert report["store_error"]


async def test_journals_that_spill_lose_nothing_when_copies_of_the_outage_take_over(
    tmp_path: Path,
) -> None:
    settings = outage.Settings(seconds=6.0, tasks=16, pause_s=0.02, spill=True)
    report = await outage.run(settings, tmp_path)
    assert report["ok"], report
    assert all(report["spill"]["records"].values()), "nothing was in files at the end"
    assert report["spill"]["sent"][outage.KILLED] > 0, "no copy was sent what was in files"
    assert not any(report["spill"]["unreadable"].values())


async def test_three_poison_rows_are_three_dead_letters_and_the_rest_is_stored(
    tmp_path: Path,
) -> None:
    report = await poison.run(poison.Settings(rows=3000), tmp_path)
    assert report["ok"], report


async def test_all_processes_are_killed_at_once_and_every_acknowledged_write_is_back(
    tmp_path: Path,
) -> None:
    report = await power_loss.run(power_loss.Settings(rounds=1, writes=800), tmp_path)
    assert report["ok"], report
    assert report["processes_killed"] == [5]
    assert report["acknowledged"] >= 800
