"""What an operator gives up is named beforehand, and stays given up; a load that broke off needs no
operator."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from tupelo_grid.core.failover import force, force_from_store, reload_lost
from tupelo_grid.core.table import PartitionState, decode_lease, encode, lease_key, part_key

from tests.unit.controller_grid import Grid, started


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


def lost_while_loading(grid: Grid, *units: str) -> None:
    """All that exists is loaded from the store, and everybody dies before it is there."""
    for partition, versioned in grid.view().parts.items():
        config = msgspec.structs.replace(versioned.config, load=True)
        assert grid.state.txn([], {part_key(partition): encode(config)}).succeeded
    for unit in units:
        grid.kill(unit, seen=True)
    for _ in range(3):
        grid.control()


def test_a_load_that_broke_off_is_done_by_whoever_comes() -> None:
    grid, units = started()
    lost_while_loading(grid, *units)
    parts = grid.view().parts
    assert {v.config.state for v in parts.values()} == {PartitionState.LOST}
    epochs = {partition: v.config.epoch for partition, v in parts.items()}
    fourth, fifth = grid.join("unit-4"), grid.join("unit-5")
    for _ in range(3):
        grid.control()
    for partition, versioned in grid.view().parts.items():
        config = versioned.config
        assert (config.state, config.load) == (PartitionState.OK, True)
        assert config.epoch == epochs[partition] + 1
        assert config.in_sync == (config.primary,)
    counts = Counter(v.config.primary for v in grid.view().parts.values())
    assert counts == {fourth: 12, fifth: 12}
    assert all(grid.fenced(unit) for unit in units)


def test_what_was_answered_for_is_never_loaded_again_by_itself() -> None:
    grid, units = started()
    lost_while_loading(grid, *units)
    partition = 7
    config = msgspec.structs.replace(grid.part(partition), load=False)
    grid.state.txn([], {part_key(partition): encode(config)})
    grid.join("unit-4")
    for _ in range(5):
        grid.control()
    assert grid.part(partition).state is PartitionState.LOST
    assert grid.part(8).state is PartitionState.OK


def test_who_may_return_to_a_broken_load_is_not_passed_over() -> None:
    grid, (first, second, third) = started()
    lost_while_loading(grid, first, second, third)
    members = grid.controllers[0].members(grid.view(), grid.now)
    assert reload_lost(grid.view(), members) == []
    grid.join("unit-4")
    view = grid.view()
    unfenced = msgspec.structs.replace(view.leases[first].lease, nonce="n9")
    grid.state.txn([], {lease_key(first): encode(unfenced)})
    members = grid.controllers[0].members(grid.view(), grid.now)
    [txn] = reload_lost(grid.view(), members)
    mine = {p for p, v in view.parts.items() if first in v.config.in_sync}
    assert {part_key(p) for p in mine}.isdisjoint(txn.puts)
