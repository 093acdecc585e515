"""A unit that is heard but hears nobody: it must not take healthy backups out of their sets."""

from __future__ import annotations

import pytest
from tupelo_grid.core.swaps import Purpose

from tests.unit.test_core_unit import Cluster


def shrinks(cluster: Cluster, *, store_answers: bool) -> set[int]:
    """Partitions of a#1 that it wants to shrink, 2.4 s after its backup b#2 was last heard."""
    unit = cluster.units["a#1"]
    wanted = set()
    for _ in range(8):
        cluster.clock.seconds += 0.3
        if store_answers:
            unit.renewed(cluster.clock.now() + 3)
        unit.tick()
        unit.flush()  # whatever comes back is lost
        wanted |= {swap.partition for swap in unit.take_swaps() if swap.purpose is Purpose.SHRINK}
    return wanted


@pytest.fixture
def cluster() -> Cluster:
    """Its backups were heard after its lease was last renewed."""
    cluster = Cluster(["a#1", "b#2", "c#3"])
    for _ in range(3):
        cluster.tick()
    return cluster


def test_a_silent_backup_is_taken_out_while_the_store_answers(cluster: Cluster) -> None:
    assert shrinks(cluster, store_answers=True) == set(cluster.units["a#1"].primaries)


def test_who_hears_neither_backup_nor_store_takes_nobody_out(cluster: Cluster) -> None:
    assert shrinks(cluster, store_answers=False) == set()
    # As soon as the store answers, it is the backup that is silent.
    unit = cluster.units["a#1"]
    unit.renewed(cluster.clock.now() + 3)
    unit.tick()
    assert {swap.purpose for swap in unit.take_swaps()} == {Purpose.SHRINK}
