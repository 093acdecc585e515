"""What an operator gives up is named beforehand, and stays given up."""

from __future__ import annotations

import pytest
from tupelo_grid.core.failover import force, force_from_store
from tupelo_grid.core.table import PartitionState, decode_lease, lease_key

from tests.unit.controller_grid import started


def test_forced_promotion_names_what_may_be_lost() -> None:
    grid, (first, second, third) = started()
    partition = next(
        p for p, v in grid.view().parts.items() if set(v.config.in_sync) == {first, second}
    )
    members = grid.controllers[0].members(grid.view(), grid.now)
    with pytest.raises(ValueError, match="needs no forcing"):
        force(grid.view(), members, partition, [third], {})
    grid.kill(first, seen=True)
    grid.kill(second, seen=True)
    grid.control()
    members = grid.controllers[0].members(grid.view(), grid.now)
    with pytest.raises(ValueError, match="live lease"):
        force(grid.view(), members, partition, [first], {})
    with pytest.raises(ValueError, match="no partition 999"):
        force(grid.view(), members, 999, [third], {})
    forced = force(grid.view(), members, partition, [first, third], {third: {partition: 12}})
    assert "12 records" in forced.may_lose
    assert first in forced.may_lose
    epoch = grid.part(partition).epoch
    assert grid.state.txn(forced.txn.conditions, forced.txn.puts).succeeded
    config = grid.part(partition)
    assert (config.primary, config.in_sync) == (third, (third,))
    assert (config.epoch, config.state) == (epoch + 1, PartitionState.OK)


def test_forcing_a_partition_whose_primary_is_dead_but_not_deposed_fences_it() -> None:
    grid, (first, second, third) = started()
    partition = next(
        p for p, v in grid.view().parts.items() if set(v.config.in_sync) == {first, second}
    )
    primary = grid.part(partition).primary
    grid.kill(first, seen=True)
    grid.kill(second, seen=True)
    members = grid.controllers[0].members(grid.view(), grid.now)
    forced = force(grid.view(), members, partition, [third], {})
    assert lease_key(primary) in dict(forced.txn.conditions)
    assert decode_lease(forced.txn.puts[lease_key(primary)]).fenced


def test_forcing_fences_everybody_who_may_hold_what_is_given_up() -> None:
    grid, (first, second, third) = started()
    partition = next(
        p for p, v in grid.view().parts.items() if set(v.config.in_sync) == {first, second}
    )
    grid.kill(first, seen=True)
    grid.kill(second, seen=True)
    members = grid.controllers[0].members(grid.view(), grid.now)
    with pytest.raises(ValueError, match="from the store"):
        force(grid.view(), members, partition, [third], {third: {partition: 12}}, cursor=13)
    forced = force_from_store(grid.view(), members, partition, [first, third], 13)
    assert forced.candidate == third
    assert "ends at change 13" in forced.may_lose
    assert grid.state.txn(forced.txn.conditions, forced.txn.puts).succeeded
    config = grid.part(partition)
    assert (config.primary, config.in_sync, config.load) == (third, (third,), True)
    # Also the backup, which was primary of nothing here: it must read the table before it acts.
    assert grid.fenced(first)
    assert grid.fenced(second)
    assert not grid.fenced(third)
