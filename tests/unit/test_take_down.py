"""The table is taken down only when everything is in the store, and whole even after a crash."""

from __future__ import annotations

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.core.table import (
    DRAINED_PREFIX,
    EMPTY_PREFIX,
    GRID_KEY,
    GridInfo,
    PartitionConfig,
    decode_grid,
    encode,
    encode_drained,
    part_key,
)
from tupelo_grid.runtime.take_down import finish, take_down

from tests.memory_store import MemoryStateStore


async def grid(drained: dict[str, dict[int, int]]) -> MemoryStateStore:
    store = MemoryStateStore(GridConfig())
    puts = {GRID_KEY: encode(GridInfo("00" * 16, 3))}
    puts |= {part_key(n): encode(PartitionConfig(n + 1, "a#1", ("a#1", "b#2"))) for n in range(3)}
    puts |= {f"{DRAINED_PREFIX}{name}": encode_drained(one) for name, one in drained.items()}
    await store.txn([], puts)
    return store


async def left(store: MemoryStateStore) -> tuple[int, set[str]]:
    entries = (await store.read("")).entries
    return decode_grid(entries[GRID_KEY].value).epoch_base, set(entries) - {GRID_KEY}


async def test_a_drained_grid_is_taken_down() -> None:
    store = await grid({"a#1": {0: 1, 1: 2}, "b#2": {2: 3}})
    await take_down(store)
    assert await left(store) == (3, set())


@pytest.mark.parametrize(
    "drained",
    [
        {},
        {"a#1": {0: 1, 1: 2}},
        {"a#1": {0: 1, 1: 2, 2: 2}},  # partition 2 had another primary after it was drained
    ],
)
async def test_a_grid_that_may_hold_more_than_the_store_is_kept(
    drained: dict[str, dict[int, int]],
) -> None:
    store = await grid(drained)
    await take_down(store)
    base, keys = await left(store)
    assert base == 0
    assert {part_key(n) for n in range(3)} <= keys


@pytest.mark.parametrize(
    ("empty", "again_empty"),
    [
        ({"a#1": {0: 1, 1: 2}, "b#2": {2: 3}}, True),
        ({"a#1": {0: 1, 1: 2}}, False),
        (
            {"a#1": {0: 1, 1: 2, 2: 2}},
            False,
        ),  # it had another primary since, who says no such thing
    ],
)
async def test_a_grid_that_nothing_was_ever_written_to_has_nothing_to_load(
    empty: dict[str, dict[int, int]], again_empty: bool
) -> None:
    store = await grid({"a#1": {0: 1, 1: 2}, "b#2": {2: 3}})
    await store.txn([], {f"{EMPTY_PREFIX}{n}": encode_drained(one) for n, one in empty.items()})
    await take_down(store)
    info = decode_grid((await store.read("")).entries[GRID_KEY].value)
    assert (info.epoch_base, info.empty) == (3, again_empty)
    assert await left(store) == (3, set())


async def test_what_was_still_to_be_loaded_is_in_the_store() -> None:
    """A cold start that is broken off leaves nothing that the store does not have."""
    store = await grid({"a#1": {0: 1}})
    loading = {
        part_key(n): encode(PartitionConfig(n + 1, "a#1", ("a#1",), load=True)) for n in (1, 2)
    }
    await store.txn([], loading)
    await take_down(store)
    assert await left(store) == (3, set())


async def test_a_take_down_that_broke_off_is_finished() -> None:
    store = await grid({})
    await store.txn([], {GRID_KEY: encode(GridInfo("00" * 16, 3, epoch_base=2))})
    await finish(store)
    assert await left(store) == (2, {part_key(2)})
