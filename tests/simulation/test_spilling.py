"""Units that spill under simulation, in bounded form; `--spill` of the program runs more."""

from __future__ import annotations

import pytest

from tests.simulation.run import run
from tests.simulation.spill_mutations import SPILL_MUTATIONS, catch_spill, early_snapshot
from tests.simulation.spilling import spilling_of

SCHEDULES = 80


def test_no_outage_breaks_a_promise() -> None:
    files = arrived = acknowledged = 0
    for seed in range(30_001, 30_001 + SCHEDULES):
        result = run(seed, plan=spilling_of(seed))
        assert not result.violation, f"seed {seed}: {result.violation}"
        files += result.spilled.get("extents", 0) > 0
        arrived += result.spilled.get("arrived", 0)
        acknowledged += result.acknowledged
    assert files > SCHEDULES / 2, "little was spilled"
    assert arrived > 20, "hardly a learner was sent what is in files"
    assert acknowledged > 5000


def test_the_script_finds_nothing_in_the_core_as_it_is() -> None:
    assert early_snapshot() == ""


@pytest.mark.parametrize("name", [one.name for one in SPILL_MUTATIONS])
def test_a_deliberate_bug_of_spilling_is_caught(name: str) -> None:
    caught = catch_spill(name)
    assert caught.schedules, caught.how
