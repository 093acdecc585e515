"""Units with disks under simulation, in bounded form; `--disks` of the program runs more."""

from __future__ import annotations

import pytest

from tests.simulation.disk_mutations import DISK_MUTATIONS, catch_disk
from tests.simulation.disks import disks_of
from tests.simulation.run import run

SCHEDULES = 120
# 30, 37, 41: an empty replica, begun as a learner, was written over what the disk had.
REGRESSIONS = (30, 37, 41)


@pytest.mark.parametrize("first", range(20_001, 20_001 + SCHEDULES, 30))
def test_no_loss_of_power_breaks_a_promise(first: int) -> None:
    blackouts = acknowledged = 0
    for seed in range(first, first + 30):
        result = run(seed, plan=disks_of(seed))
        assert not result.violation, f"seed {seed}: {result.violation}"
        blackouts += result.faults.get("blackout", 0)
        acknowledged += result.acknowledged
    assert blackouts > 5
    assert acknowledged > 300


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_fixed_stays_fixed(seed: int) -> None:
    assert run(seed, plan=disks_of(seed)).violation == ""


@pytest.mark.parametrize("name", [one.name for one in DISK_MUTATIONS])
def test_a_deliberate_bug_of_the_disk_is_caught(name: str) -> None:
    caught = catch_disk(name)
    assert caught.schedules, caught.how
