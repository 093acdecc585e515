"""A client that was closed, that is on another event loop, or that asks at the wrong door."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import tupelo
from tupelo.errors import ConnectionLost, RequestError

from tests.fake_grid import FakeGrid, grids


@pytest.fixture
async def fake() -> AsyncIterator[FakeGrid]:
    async for grid in grids():
        yield grid


async def test_a_closed_client_says_so_and_stays_closed(fake: FakeGrid) -> None:
    grid = await tupelo.connect(fake.seed)
    space, unknown = grid.space("default"), grid.space("unknown")
    near = grid.space("default", near_cache=tupelo.NearCache())
    written = await space.put("a", 1)
    await grid.close()
    await grid.close()
    asked = fake.route_requests
    for call in (
        lambda: space.get("a"),
        lambda: unknown.get("a"),
        lambda: near.get("a"),
        lambda: space.put("a", 1),
        lambda: space.wait_persisted(written),
        lambda: grid.call_with("shop.take", {}, route="tea"),
        lambda: grid.create_space("carts"),
        grid.status,
        grid.open,
    ):
        with pytest.raises(ConnectionLost, match="closed"):
            await call()
    with pytest.raises(ConnectionLost, match="the client was closed"):
        grid.space("default")
    assert fake.route_requests == asked
    assert "carts" not in fake.spaces


async def test_another_event_loop_is_told_what_to_use(fake: FakeGrid) -> None:
    async with tupelo.connect(fake.seed) as grid:
        space = grid.space("default")
        frames = sum(unit.frames for unit in fake.units)
        said: list[Any] = []

        async def elsewhere() -> None:
            said.extend(
                await asyncio.gather(
                    space.put("a", 1),
                    space.get("a"),
                    space.put_many({"a": 1}),
                    grid.space("unknown").get("a"),
                    grid.status(),
                    grid.close(),
                    return_exceptions=True,
                )
            )

        thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert [type(error) for error in said] == [RequestError] * 6
        assert all("tupelo.sync" in str(error) for error in said)
        assert sum(unit.frames for unit in fake.units) == frames
        assert await space.get("a") is None


async def test_a_plain_with_says_which_one_to_write() -> None:
    connecting: Any = tupelo.connect("localhost:1")
    with pytest.raises(TypeError, match=r"async with.*tupelo\.sync\.connect"), connecting:
        raise AssertionError("entered")


async def test_a_port_that_is_not_messaging_is_named_as_such() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with pytest.raises(ConnectionLost, match="this is not the messaging port"):
            await tupelo.connect(f"127.0.0.1:{port}", connect_timeout_s=0.05)
    finally:
        await server.stop(None)


async def test_the_sync_client_says_the_same(fake: FakeGrid) -> None:
    def use() -> list[str]:
        grid = tupelo.sync.connect(fake.seed)
        space: Any = grid.space("default")
        grid.space("default", near_cache=tupelo.NearCache())
        grid.close()
        grid.close()
        said = []
        calls: tuple[Any, ...] = (
            lambda: space.get("a"),
            grid.status,
            lambda: grid.create_space("x"),
        )
        for call in calls:
            with pytest.raises(ConnectionLost) as caught:
                call()
            said.append(str(caught.value))
        return said

    assert all("closed" in text for text in await asyncio.to_thread(use))
