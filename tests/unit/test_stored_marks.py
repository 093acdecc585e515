"""A unit that stopped as the last copy: what its mark proves comes back from the store, no more."""

from __future__ import annotations

import pytest
from tupelo.schema import SpaceSchema
from tupelo_grid.config import GridConfig
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.table import (
    DRAINED_PREFIX,
    EMPTY_PREFIX,
    STORED_PREFIX,
    PartitionState,
    decode_drained,
    encode,
    encode_drained,
    lease_key,
    part_key,
)
from tupelo_grid.runtime import leaving
from tupelo_grid.runtime.leaving import is_empty, is_stored, last_words

from tests.unit.controller_grid import Grid, started
from tests.unit.test_core_unit import Cluster, one

SCHEMAS = {"default": SpaceSchema("default"), "brief": SpaceSchema("brief", persist=False)}


def stopped(grid: Grid, names: tuple[str, ...], marks: dict[str, dict[int, int]]) -> None:
    """All units have ended; of some there are marks."""
    grid.state.txn([], {f"{STORED_PREFIX}{n}": encode_drained(m) for n, m in marks.items()})
    for name in names:
        grid.kill(name, seen=True)
    for _ in range(3):
        grid.control()


def marks_of(grid: Grid, partitions: set[int], later: int = 0) -> dict[str, dict[int, int]]:
    marks: dict[str, dict[int, int]] = {}
    for partition in partitions:
        config = grid.part(partition)
        marks.setdefault(config.primary, {})[partition] = config.epoch + later
    return marks


def test_what_was_whole_in_the_store_is_loaded_by_whoever_comes() -> None:
    grid, names = started()
    before = grid.view().parts
    whole = {0, 3, 7}
    stopped(grid, names, marks_of(grid, whole))
    assert {v.config.state for v in grid.view().parts.values()} == {PartitionState.LOST}
    fourth = grid.join("unit-4")
    for _ in range(3):
        grid.control()
    for partition, versioned in grid.view().parts.items():
        config = versioned.config
        if partition in whole:
            assert (config.state, config.load) == (PartitionState.OK, True)
            assert (config.primary, config.in_sync) == (fourth, (fourth,))
            assert config.epoch == before[partition].config.epoch + 2
        else:
            assert config.state is PartitionState.LOST


@pytest.mark.parametrize("later", [-1, 1, 2])
def test_a_mark_of_any_other_epoch_proves_nothing(later: int) -> None:
    """There was a primary after it, or will have been: it may have answered for more."""
    grid, names = started()
    stopped(grid, names, marks_of(grid, {0, 3, 7}, later))
    grid.join("unit-4")
    for _ in range(3):
        grid.control()
    assert {v.config.state for v in grid.view().parts.values()} == {PartitionState.LOST}


def test_what_another_copy_holds_is_promoted_and_not_loaded() -> None:
    grid, (first, *_) = started()
    mine = {p for p, v in grid.view().parts.items() if v.config.primary == first}
    stopped(grid, (first,), marks_of(grid, mine))
    for partition in mine:
        config = grid.part(partition)
        assert (config.state, config.load) == (PartitionState.OK, False)


def test_who_may_return_with_it_is_fenced_first() -> None:
    grid, names = started()
    stopped(grid, names, marks_of(grid, {0}))
    holders = grid.part(0).in_sync
    fourth = grid.join("unit-4")
    one_of_them = grid.view().leases[holders[1]].lease
    grid.state.txn([], {lease_key(holders[1]): encode(one_of_them)})
    revisions = {name: grid.view().leases[name].revision for name in holders}
    for _ in range(3):
        grid.control()
    assert grid.part(0).primary == fourth
    for name in holders:
        held = grid.view().leases.get(name)
        assert held is None or (held.lease.fenced and held.revision > revisions[name])


def test_marks_go_when_no_partition_mentions_who_left_them() -> None:
    grid, (first, *_) = started()
    mine = {p for p, v in grid.view().parts.items() if v.config.primary == first}
    marks = marks_of(grid, mine)
    grid.state.txn([], {f"{DRAINED_PREFIX}{first}": encode_drained(marks[first])})
    stopped(grid, (first,), marks)
    assert f"{STORED_PREFIX}{first}" in grid.state.entries
    for partition, versioned in grid.view().parts.items():
        config = versioned.config
        left = tuple(name for name in config.in_sync if name != first)
        changed = type(config)(config.epoch, config.primary, left)
        grid.state.txn([], {part_key(partition): encode(changed)})
    grid.control()
    assert lease_key(first) not in grid.state.entries
    assert not [key for key in grid.state.entries if key.endswith("/" + first)]


def written(space: str) -> Cluster:
    """Partition 0 has an entry of the space; the store has it, as far as it ever will."""
    cluster = Cluster(["a#1", "b#2"], partitions=1)
    cluster.run(0, one(kinds.PUT, 0, target=space, value=b"v", op=1))
    held = cluster.primary(0).replicas[0]
    held.persisted = held.commit
    return cluster


def test_a_partition_is_stored_when_nothing_of_it_is_in_memory_only() -> None:
    primary = written("default").primary(0).primaries[0]
    assert is_stored(primary, SCHEMAS)
    assert not is_stored(primary, {})
    primary.partition.persisted -= 1
    assert not is_stored(primary, SCHEMAS)
    assert not is_stored(written("brief").primary(0).primaries[0], SCHEMAS)


@pytest.mark.parametrize(
    ("drained", "letters", "durability", "found"),
    [
        (True, False, "memory", {DRAINED_PREFIX, STORED_PREFIX}),
        (False, False, "memory", {STORED_PREFIX}),
        (True, True, "memory", {DRAINED_PREFIX}),
        (True, False, "disk", {DRAINED_PREFIX}),
    ],
)
async def test_the_marks_of_a_unit_that_stops(
    monkeypatch: pytest.MonkeyPatch, drained: bool, letters: bool, durability: str, found: set[str]
) -> None:
    async def no_letters(_: GridConfig) -> bool:
        return not letters

    monkeypatch.setattr(leaving, "_no_letters", no_letters)
    unit = written("default").primary(0)
    config = GridConfig(durability=durability)  # type: ignore[arg-type]
    puts = await last_words(config, unit, SCHEMAS, drained)
    assert set(puts) == {f"{prefix}{unit.me}" for prefix in found}
    assert all(decode_drained(value) == {0: 1} for value in puts.values())


async def test_when_nobody_can_tell_of_dead_letters_nothing_is_said() -> None:
    config = GridConfig(port=1, rpc_timeout_s=0.2)
    puts = await last_words(config, written("default").primary(0), SCHEMAS, drained=False)
    assert puts == {}


async def test_the_mark_of_a_partition_that_nothing_was_ever_written_to() -> None:
    cluster = Cluster(["a#1", "b#2"], partitions=1)
    unit = cluster.primary(0)
    config = GridConfig(port=1, rpc_timeout_s=0.2)
    puts = await last_words(config, unit, SCHEMAS, drained=True)
    assert decode_drained(puts[f"{EMPTY_PREFIX}{unit.me}"]) == {0: 1}
    cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1))
    held = unit.replicas[0]
    assert not is_empty(held)
    cluster.run(0, one(kinds.DELETE, 0, op=2))
    # Also when there is no entry any more: the store may have heard of it.
    assert not held.entries()
    assert not is_empty(held)
    puts = await last_words(config, unit, SCHEMAS, drained=True)
    assert f"{EMPTY_PREFIX}{unit.me}" not in puts


def test_a_journal_that_does_not_begin_at_the_beginning_proves_nothing() -> None:
    held = Partition(0)
    assert is_empty(held)
    held.begin_at(1, 1, 0)
    assert not is_empty(held)
