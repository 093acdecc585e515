"""Wrong arguments are said to be, before anything is sent, by both clients alike."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import tupelo
from tupelo import Grid
from tupelo.errors import InvalidArgument
from tupelo.schema import encode_schema
from tupelo.unit import Entry, ProcessingUnit

from tests.fake_grid import FakeGrid, grids


class Stock(Entry, frozen=True):
    item: str
    left: int


class Loose(Entry, frozen=True):
    item: str
    left: Any


stock = ProcessingUnit("shop").space("stock", Stock, key="item")
loose = ProcessingUnit("old").space("stock", Loose, key="item")

POISON: list[tuple[Any, Any, str]] = [
    ("poison", "notint", "entry 'poison' does not fit space 'stock'.*field `left`"),
    ("p", None, "entry 'p' does not fit space 'stock'.*field `left`"),
    (7, 1, "entry 7 does not fit space 'stock'.*field `item`"),
]


@pytest.fixture
async def fake() -> AsyncIterator[FakeGrid]:
    async for grid in grids():
        grid.spaces["stock"] = encode_schema(stock.schema)
        yield grid


@pytest.fixture
async def grid(fake: FakeGrid) -> AsyncIterator[Grid]:
    async with tupelo.connect(fake.seed) as connected:
        yield connected


def frames(fake: FakeGrid) -> int:
    return sum(unit.frames for unit in fake.units)


@pytest.mark.parametrize(("item", "left", "why"), POISON)
async def test_an_entry_of_the_wrong_type_is_not_sent(
    fake: FakeGrid, grid: Grid, item: Any, left: Any, why: str
) -> None:
    space, wrong, before = grid.space(stock), Stock(item, left), frames(fake)
    for write in (
        lambda: space.put(wrong),
        lambda: space.put_if_absent(wrong),
        lambda: space.replace(wrong),
        lambda: space.compare_and_set(wrong, version=1),
        lambda: space.put_many([Stock("tea", 1), wrong]),
        lambda: grid.space("stock").put({"item": item, "left": left}),
    ):
        with pytest.raises(InvalidArgument, match=why):
            await write()
    assert frames(fake) == before


async def test_reads_that_meet_a_misfit_name_its_key_and_it_can_be_deleted(grid: Grid) -> None:
    space = grid.space(stock)
    await space.put(Stock("tea", 1))
    await grid.space(loose).put(Loose("poison", "notint"))

    async def scanned() -> list[Any]:
        return [item.value async for item in space.scan()]

    says = re.escape("entry 'poison' of space 'stock': a stored entry does not fit")
    for read in (
        lambda: space.get("poison"),
        lambda: space.entry("poison"),
        lambda: space.get_many(["tea", "poison"]),
        lambda: grid.space("stock").get("poison"),
        scanned,
    ):
        with pytest.raises(InvalidArgument, match=says + ".*field `left`"):
            await read()
    assert await space.delete("poison") is not None
    assert await scanned() == [Stock("tea", 1)]


async def test_a_bulk_write_names_the_key_of_what_cannot_be_stored(grid: Grid) -> None:
    with pytest.raises(InvalidArgument, match="key 'b': the value cannot be stored"):
        await grid.space("default").put_many({"a": 1, "b": object(), "c": 2})


WRONG_SECONDS = (float("nan"), float("inf"), 0, -1, "x", True, 10**400)


@pytest.mark.parametrize("wrong", WRONG_SECONDS)
async def test_a_wrong_timeout_is_refused_by_every_call(
    fake: FakeGrid, grid: Grid, wrong: Any
) -> None:
    space, near = grid.space("default"), grid.space("default", near_cache=tupelo.NearCache())
    written = await space.put("a", 1)
    before = frames(fake)
    late: dict[str, Any] = {"timeout_s": wrong}
    for call in (
        lambda: space.get("a", **late),
        lambda: space.entry("a", **late),
        lambda: space.contains("a", **late),
        lambda: space.get_many(["a"], **late),
        lambda: space.count(**late),
        lambda: space.scan(**late).page(),
        lambda: space.put("a", 1, **late),
        lambda: space.put_if_absent("a", 1, **late),
        lambda: space.replace("a", 1, **late),
        lambda: space.compare_and_set("a", 1, version=1, **late),
        lambda: space.delete("a", **late),
        lambda: space.put_many({"a": 1}, **late),
        lambda: space.delete_many(["a"], **late),
        lambda: space.wait_persisted(written, **late),
        lambda: near.get("a", **late),
        lambda: near.entry("a", **late),
        lambda: near.contains("a", **late),
        lambda: near.get_many(["a"], **late),
        lambda: grid.call_with("shop.take", {}, route="tea", **late),
        lambda: grid.create_space("carts", **late),
        lambda: grid.status(**late),
    ):
        with pytest.raises(InvalidArgument, match="timeout_s is a number of seconds above 0"):
            await call()
    assert frames(fake) == before


@pytest.mark.parametrize("wrong", WRONG_SECONDS)
async def test_a_wrong_time_to_live_is_refused_by_every_write(
    fake: FakeGrid, grid: Grid, wrong: Any
) -> None:
    space, before = grid.space("default"), frames(fake)
    for call in (
        lambda: space.put("a", 1, ttl_s=wrong),
        lambda: space.put_if_absent("a", 1, ttl_s=wrong),
        lambda: space.replace("a", 1, ttl_s=wrong),
        lambda: space.compare_and_set("a", 1, version=1, ttl_s=wrong),
        lambda: space.put_many({"a": 1}, ttl_s=wrong),
        lambda: grid.create_space("carts", ttl_s=wrong),
    ):
        with pytest.raises(InvalidArgument, match="ttl_s is a number of seconds above 0"):
            await call()
    assert frames(fake) == before


async def test_waiting_for_the_store_of_a_space_that_is_not_stored(
    fake: FakeGrid, grid: Grid
) -> None:
    space = await grid.create_space("carts", persist=False)
    before = frames(fake)
    for call in (
        lambda: space.put("a", 1, write_through=True),
        lambda: space.put_if_absent("a", 1, write_through=True),
        lambda: space.replace("a", 1, write_through=True),
        lambda: space.delete("a", write_through=True),
        lambda: space.put_many({"a": 1}, write_through=True),
        lambda: space.delete_many(["a"], write_through=True),
    ):
        with pytest.raises(InvalidArgument, match=r"not stored \(persist=False\)"):
            await call()
    assert frames(fake) == before


async def test_what_is_no_space_no_command_and_no_iterable(fake: FakeGrid, grid: Grid) -> None:
    anything: Any = grid
    space: Any = grid.space("default")
    for wrong in (None, 3):
        with pytest.raises(InvalidArgument, match="a space is given by its name"):
            anything.space(wrong)
        with pytest.raises(InvalidArgument, match="a command is given by its name"):
            await anything.call(wrong)
        for bulk in (space.put_many, space.get_many, space.delete_many, grid.space(stock).put_many):
            with pytest.raises(InvalidArgument, match="give an iterable of"):
                await bulk(wrong)
    for bulk in (space.get_many, space.delete_many):
        with pytest.raises(InvalidArgument, match="give an iterable of keys, not 'ann'"):
            await bulk("ann")
    with pytest.raises(InvalidArgument, match="near_cache is a tupelo"):
        anything.space("default", near_cache=True)
    with pytest.raises(InvalidArgument, match="min_in_sync"):
        await anything.create_space("x", min_in_sync=9)
    with pytest.raises(InvalidArgument, match="cannot be declared like that"):
        await anything.create_space(None)
    with pytest.raises(InvalidArgument, match="page_size"):
        space.scan(page_size="x")
    with pytest.raises(InvalidArgument, match="page token"):
        space.scan(page_token=3)
    with pytest.raises(InvalidArgument, match="an argument cannot be sent as MessagePack"):
        await grid.call("shop.take", route="tea", count=object())
    with pytest.raises(InvalidArgument, match="a mapping by name"):
        await anything.call_with("shop.take", 3, route="tea")
