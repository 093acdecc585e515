"""A bounded run of every kind of fault, and a rolling restart, on real processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.__main__ import parse, settings_of
from tests.chaos.namespaces import usable
from tests.chaos.plan import KINDS
from tests.chaos.run import Outcome, Run

FAULTS = 22


async def outcome_of(folder: Path, *arguments: str) -> Outcome:
    """With leases of a second, and fewer partitions, so that each recovery is quick."""
    options = parse(["--fast", "--partitions", "64", *arguments])
    outcome = await Run(settings_of(options), folder).run()
    assert outcome.violations == []
    assert outcome.verdict.lost == outcome.verdict.duplicates == 0
    assert outcome.verdict.linearizable
    assert outcome.store_mismatches == 0
    assert outcome.acknowledged > 1000
    return outcome


# Half of it on an idle machine; the fault that does not heal ends the run long before.
@pytest.mark.timeout(540)
async def test_every_promise_holds_under_every_fault(tmp_path: Path) -> None:
    outcome = await outcome_of(tmp_path, "--faults", str(FAULTS), "--seed", "20")
    assert outcome.faults == Counter(dict.fromkeys(KINDS, 1))
    assert outcome.faults.total() == FAULTS
    assert outcome.network == ("proxy" if usable() else "namespaces")
    # Unknown outcomes are rare, or the history proves little.
    assert outcome.unknown + outcome.failed < outcome.acknowledged / 20
    assert len(outcome.verdict.undecided) < outcome.verdict.keys / 20
    # A unit that has just come back may be primary of nothing: its death keeps nobody waiting.
    deaths = [kind for kind in ("unit_kill", "scale_and_kill") if kind in outcome.failover_s]
    assert deaths
    assert max(max(outcome.failover_s[kind]) for kind in deaths) < 5


@pytest.mark.timeout(240)
async def test_a_rolling_restart_fails_no_call(tmp_path: Path) -> None:
    outcome = await outcome_of(tmp_path, "--rolling", "--seed", "21")
    assert outcome.faults == {"unit_term": 3}
    assert outcome.unknown == outcome.failed == 0
