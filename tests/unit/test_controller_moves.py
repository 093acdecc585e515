"""What the controller advises: repair at once, moves in a steady grid, one step at a time."""

from __future__ import annotations

from collections import Counter
from unittest.mock import MagicMock

import msgspec
import pytest
from tupelo_grid.core.balance import Balancer
from tupelo_grid.core.table import PartitionConfig, encode, part_key

from tests.unit.controller_grid import SETTINGS, Grid, started

# --- repair ---


def test_lost_copies_are_restored_at_once_within_the_limit_per_unit() -> None:
    grid, (first, *_) = started(partitions=60)
    grid.kill(first, seen=True)
    grid.control()
    grid.control()
    receiving = Counter(v.config.learner for v in grid.view().parts.values() if v.config.learner)
    assert receiving
    assert max(receiving.values()) == SETTINGS.moves_per_unit_max
    for versioned in grid.view().parts.values():
        assert versioned.config.learner not in versioned.config.in_sync
    grid.run(10)
    grid.settled()


def test_a_dead_learner_is_given_up_and_another_takes_its_place() -> None:
    grid, names = started(units=4)
    grid.kill(names[0], seen=True)
    grid.control()
    grid.control()
    partition, learner = next(
        (p, v.config.learner) for p, v in grid.view().parts.items() if v.config.learner
    )
    grid.kill(learner, seen=True)
    while grid.control():
        pass
    assert grid.part(partition).learner not in ("", learner)


def lacking_learner(grid: Grid) -> tuple[int, str]:
    """A partition that is short of a copy, and who is to become it."""
    return next((p, v.config.learner) for p, v in grid.view().parts.items() if v.config.learner)


def give_up(grid: Grid, partition: int) -> None:
    """What a primary does that does not reach its learner."""
    versioned = grid.view().parts[partition]
    assert grid.primary_swap(
        partition, versioned, msgspec.structs.replace(versioned.config, learner="")
    )


def test_a_learner_that_its_primary_cannot_reach_makes_room_for_another() -> None:
    grid, names = started(units=4)
    grid.kill(names[0], seen=True)
    grid.control()
    grid.control()
    partition, learner = lacking_learner(grid)
    give_up(grid, partition)
    grid.control()
    other = grid.part(partition).learner
    assert other not in ("", learner)
    # Once it is over, placement has its way again.
    grid.run(2 * SETTINGS.learner_retry_s)
    grid.settled()


def test_the_only_candidate_is_tried_again_at_once() -> None:
    grid, names = started(units=3)
    grid.kill(names[0], seen=True)
    grid.control()
    grid.control()
    partition, learner = lacking_learner(grid)
    give_up(grid, partition)
    grid.control()
    assert grid.part(partition).learner == learner


# --- balance ---


def test_a_joining_unit_gets_its_share_after_the_settle_time() -> None:
    grid, _ = started(partitions=60)
    grid.run(2)
    joined = grid.join("unit-4")
    grid.run(0.75)
    assert all(not v.config.learner for v in grid.view().parts.values())
    grid.run(20)
    grid.settled()
    held = Counter(v.config.primary for v in grid.view().parts.values())
    assert held[joined] == 15


def test_a_pause_shorter_than_a_lease_moves_nothing() -> None:
    grid, (first, *_) = started(partitions=60)
    grid.run(3)
    before = grid.view().parts
    grid.units[first].paused = True
    for _ in range(3):
        grid.now += 0.25
        for name in grid.running:
            grid.renew(grid.units[name])
        grid.control()
    grid.units[first].paused = False
    grid.run(3)
    assert grid.view().parts == before


def test_a_draining_unit_loses_everything_and_nobody_is_ever_short_of_a_copy() -> None:
    grid, (first, *_) = started(units=4, partitions=60)
    grid.run(3)
    grid.drain(first)
    for _ in range(100):
        grid.tick()
        assert all(len(v.config.in_sync) >= 2 for v in grid.view().parts.values())
    assert all(first not in v.config.in_sync for v in grid.view().parts.values())
    grid.settled()


def test_moves_are_bounded_per_unit_and_one_per_partition() -> None:
    grid, _ = started(partitions=60)
    grid.run(3)
    grid.join("unit-4")
    for _ in range(60):
        grid.tick()
        configs = [v.config for v in grid.view().parts.values()]
        for field in ("learner", "next_primary"):
            count = Counter(getattr(c, field) for c in configs if getattr(c, field))
            assert max(count.values(), default=0) <= SETTINGS.moves_per_unit_max
        for config in configs:
            assert sum(map(bool, (config.learner, config.next_primary, config.leaving))) <= 1
            assert len(config.in_sync) <= 3
    grid.settled()


def test_a_settled_grid_is_left_alone() -> None:
    grid, _ = started()
    grid.run(5)
    grid.reasons.clear()
    grid.run(20)
    assert grid.reasons == []


def test_a_settled_grid_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each renewal of a lease is a step: they must cost next to nothing."""
    grid, (first, *_) = started()
    grid.run(5)
    assert grid.controllers[0].step(grid.view(), grid.now) == []
    looked = MagicMock(wraps=Balancer)
    monkeypatch.setattr("tupelo_grid.core.controller.Balancer", looked)
    for _ in range(20):
        grid.now += 0.1
        for unit in grid.units.values():
            grid.renew(unit)
        assert grid.controllers[0].step(grid.view(), grid.now) == []
    assert not looked.called
    grid.drain(first)
    assert grid.controllers[0].step(grid.view(), grid.now)


def test_the_primary_is_never_told_to_leave_even_while_no_hand_over_is_possible() -> None:
    grid, (first, second, third) = started(partitions=4)
    busy = PartitionConfig(1, second, (second, third), next_primary=third)
    draining = PartitionConfig(1, first, (first, second, third))
    grid.state.txn([], {part_key(0): encode(busy), part_key(1): encode(draining)})
    grid.drain(first)
    grid.now += 5
    members = grid.controllers[0].members(grid.view(), grid.now)
    targets = [("unit-3", "unit-2")] * 4
    balancer = Balancer(grid.view(), members, targets, moves_per_unit_max=1)
    assert balancer.advise(0).next_primary == third
    advised = balancer.advise(1)
    assert (advised.learner, advised.next_primary, advised.leaving) == ("", "", "")


def test_a_step_under_way_is_finished_before_another_is_begun() -> None:
    """A change of mind would cost the primary its swap, and the partition the time for it."""
    grid, (first, second, third) = started(partitions=4)
    leaving = PartitionConfig(1, second, (second, first, third), leaving=first)
    grid.state.txn([], {part_key(0): encode(leaving)})
    members = grid.controllers[0].members(grid.view(), grid.now)
    members = grid.controllers[0].members(grid.view(), grid.now + 5)
    balancer = Balancer(grid.view(), members, [("unit-3", "unit-2")] * 4, moves_per_unit_max=4)
    assert balancer.advise(0) == leaving
