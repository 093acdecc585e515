"""A near cache learns of what its client writes, whichever `Space` it writes through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import tupelo
from tupelo.codec import encode_key, encode_value
from tupelo.near import FOREVER, NearAnswer, Part, Slot

from tests.fake_grid import FakeGrid, grids

MISSING = object()


@pytest.fixture
async def fake() -> AsyncIterator[FakeGrid]:
    async for grid in grids():
        yield grid


def plant(near: Any, key: str) -> None:
    """An entry in the near cache, as a read would leave it; the fake grid follows nobody."""
    part = Part()
    part.as_of = FOREVER
    answer = NearAnswer(encode_value("stale"), 1, 1, 1, 0)
    near._cache._slots[encode_key(key)] = Slot(part, answer, False, time.monotonic() + 60, 0)
    assert near.peek(key) == "stale"


def writes_of(space: Any) -> tuple[Any, ...]:
    return (
        lambda: space.put("ann", 1),
        lambda: space.put_if_absent("ann", 2),
        lambda: space.replace("ann", 3),
        lambda: space.compare_and_set("ann", 4, version=1),
        lambda: space.put_many({"ann": 5}),
        lambda: space.delete("ann"),
        lambda: space.delete_many(["ann"]),
    )


async def test_a_space_asked_for_before_the_near_cache_tells_it(fake: FakeGrid) -> None:
    async with tupelo.connect(fake.seed) as grid:
        made = await grid.create_space("carts")
        early = grid.space("carts")
        near = grid.space("carts", near_cache=tupelo.NearCache())
        late = grid.space("carts")
        for space in (made, early, late, near):
            await space.put("ann", 0)
            for write in writes_of(space):
                plant(near, "ann")
                await write()
                assert near.peek("ann", MISSING) is MISSING
        assert [isinstance(space, tupelo.NearSpace) for space in (made, early, late)] == [True] * 3
        assert not isinstance(grid.space("default"), tupelo.NearSpace)


async def test_so_does_one_of_the_sync_client(fake: FakeGrid) -> None:
    def use() -> Any:
        with tupelo.sync.connect(fake.seed) as grid:
            early = grid.space("default")
            near = grid.space("default", near_cache=tupelo.NearCache())
            plant(near, "ann")
            early.put("ann", 1)
            return near.peek("ann", MISSING)

    assert await asyncio.to_thread(use) is MISSING
