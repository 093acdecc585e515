"""Near caches on a real grid: what they serve, and how long anything stale is served."""

import asyncio
import subprocess
import sys
import time

import pytest
import tupelo
from tupelo import NearCache
from tupelo.errors import InvalidArgument

from tests.pause import pause

QUICK = {"near_heartbeat_s": 0.1}
CACHE = NearCache(staleness_max_s=0.5)
MISSING = object()


async def until_cached(space, *keys):
    """Reads until the near cache serves them all."""
    async with asyncio.timeout(10):
        for key in keys:
            while space.peek(key, MISSING) is MISSING:
                await space.get(key)
                await pause(0.005)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await pause(0.002)


async def test_hits_others_writes_and_own_writes(grid):
    async with (
        tupelo.connect(grid.address, **QUICK) as one,
        tupelo.connect(grid.address) as other,
    ):
        early = one.space("default")
        near = one.space("default", near_cache=CACHE)
        plain = other.space("default")
        await plain.put("shared", "a")
        await until_cached(near, "shared", "none")
        assert near.peek("shared") == "a"
        assert near.peek("none", "nothing known") is None
        hits = near.near_stats().hits
        assert await near.get("shared") == "a"
        entry = await near.entry("shared")
        assert await near.contains("shared")
        assert await near.get_many(["shared", "none"]) == {"shared": "a"}
        assert near.near_stats().hits == hits + 5

        written = await plain.put("shared", "b")
        await plain.put("none", 1)
        began = time.monotonic()
        await until(lambda: near.peek("shared", "b") == "b" and near.peek("none", 1) == 1)
        assert time.monotonic() - began < 0.5
        assert await near.entry("shared") == tupelo.Versioned("b", written.version)
        assert await near.compare_and_set("shared", "c", version=entry.version) is None

        await until_cached(near, "shared")
        await near.put("shared", "mine")
        assert await near.get("shared") == "mine"
        assert await one.space("default").get("shared") == "mine"
        await until_cached(near, "shared")
        await one.space("default").put_many({"shared": "again"})
        assert near.peek("shared", MISSING) is MISSING
        assert await near.get("shared") == "again"
        await until_cached(near, "shared")
        await early.put("shared", "from before")
        assert await near.get("shared") == await early.get("shared") == "from before"
        await until_cached(near, "shared")
        await near.delete("shared")
        assert await near.get("shared") is None


async def test_what_a_command_of_this_client_wrote_is_seen_at_once(grid):
    async with tupelo.connect(grid.address, **QUICK) as client:
        holds = client.space("holds", near_cache=CACHE)
        seats = client.space("seats")
        numbers = range(1, 21)
        await seats.put_many([seat("NE1", number) for number in numbers])
        await until_cached(holds, *[("NE1", number) for number in numbers])
        for number in numbers:
            await client.call("airline.hold", flight="NE1", number=number, customer="ann")
            found = await holds.get(("NE1", number))
            assert found is not None, "the cache answered with what was before"
            assert found["customer"] == "ann"


def seat(name, number):
    nobody = {"customer": None, "sold_at": None, "price": None}
    return {"flight": name, "number": number, **nobody}


async def test_an_entry_is_not_served_past_its_deadline(grid):
    async with tupelo.connect(grid.address, **QUICK) as client:
        near = client.space("default", near_cache=CACHE)
        await near.put("brief", 1, ttl_s=0.4)
        began = time.monotonic()
        await until_cached(near, "brief")
        while (value := near.peek("brief", MISSING)) == 1:
            assert time.monotonic() - began < 0.41
            await pause(0.002)
        assert value in (None, MISSING)


async def test_a_caller_cannot_change_what_is_cached(grid):
    async with tupelo.connect(grid.address, **QUICK) as client:
        near = client.space("default", near_cache=CACHE)
        await near.put("cart", {"items": [1]})
        await until_cached(near, "cart")
        for _ in range(2):
            cart = await near.get("cart")
            assert cart == {"items": [1]}
            cart["items"].append(2)


async def test_it_is_refused_where_it_could_not_be_kept_right(grid):
    async with tupelo.connect(grid.address) as client:
        client.space("default", near_cache=NearCache())
        with pytest.raises(InvalidArgument, match="other settings"):
            client.space("default", near_cache=NearCache(entries_max=5))
        with pytest.raises(InvalidArgument, match="near_heartbeat_s"):
            client.space("seats", near_cache=NearCache(staleness_max_s=0.5))
    async with tupelo.connect(grid.address, routing="router") as client:
        with pytest.raises(InvalidArgument, match="routing"):
            client.space("default", near_cache=NearCache())


async def test_the_sync_client_has_it_too(grid):
    run = asyncio.to_thread
    client = await run(lambda: tupelo.sync.connect(grid.address, **QUICK))
    other = await run(tupelo.sync.connect, grid.address)
    try:
        near = client.space("default", near_cache=CACHE)
        await run(near.put, "sync", "a")
        async with asyncio.timeout(10):
            while near.peek("sync") != "a":
                assert await run(near.get, "sync") == "a"
                await pause(0.005)
        await run(other.space("default").put, "sync", "b")
        await until(lambda: near.peek("sync", "b") == "b")
        assert await run(near.get, "sync") == "b"
        await run(near.put, "sync", "c")
        assert await run(near.get, "sync") == "c"
    finally:
        await run(other.close)
        await run(client.close)


GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import grpc.experimental.gevent
grpc.experimental.gevent.init_gevent()
import sys, time
import gevent, tupelo
with gevent.Timeout(20), tupelo.sync.connect(sys.argv[1], near_heartbeat_s=0.1) as client:
    with tupelo.sync.connect(sys.argv[1]) as other:
        near = client.space("default", near_cache=tupelo.NearCache(staleness_max_s=0.5))
        near.put("green", "a")
        while near.peek("green") != "a":
            assert near.get("green") == "a"
            gevent.sleep(0.002)
        other.space("default").put("green", "b")
        while near.peek("green", "b") != "b":
            gevent.sleep(0.002)
        assert near.get("green") == "b"
print("done")
"""


def test_it_works_under_gevent(grid):
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, grid.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr


async def test_no_stale_read_remains_after_a_unit_was_killed(own_grid):
    """One client writes rising numbers, another reads them through its cache."""
    keys = [f"k{number}" for number in range(64)]
    stop = asyncio.Event()
    async with (
        tupelo.connect(own_grid.address, **QUICK) as writing,
        tupelo.connect(own_grid.address, **QUICK) as reading,
    ):
        carts = writing.space("carts")
        near = reading.space("carts", near_cache=CACHE)
        # Per key: (number, when it was acknowledged), the newest last.
        written = {key: [(0, time.monotonic())] for key in keys}
        await carts.put_many(dict.fromkeys(keys, 0))
        await until_cached(near, *keys)
        writer = asyncio.create_task(keep_writing(carts, written, stop))
        reader = asyncio.create_task(keep_reading(near, written, stop))
        await pause(1.0)
        own_grid.kill("unit-2")
        await asyncio.to_thread(own_grid.until_healthy)
        await pause(1.0)
        stop.set()
        await writer
        reads = await reader
        stats = near.near_stats()
        assert stats.hits > reads // 2
        assert stats.clears > 0
        await pause(CACHE.staleness_max_s)
        for key in keys:
            assert near.peek(key, written[key][-1][0]) == written[key][-1][0]
        await until_cached(near, *keys)


async def keep_writing(carts, written, stop):
    number = 0
    while not stop.is_set():
        number += 1
        for key in written:
            await carts.put(key, number)
            written[key].append((number, time.monotonic()))
            if stop.is_set():
                return
            await pause(0.002)


async def keep_reading(near, written, stop):
    """Fails at a read that goes back, or misses what was acknowledged too long ago."""
    last = dict.fromkeys(written, 0)
    reads = 0
    while not stop.is_set():
        for key, history in written.items():
            began = time.monotonic()
            value = await near.get(key)
            reads += 1
            assert value >= last[key], "it went back"
            last[key] = value
            while len(history) > 1 and history[1][1] < began - CACHE.staleness_max_s:
                history.pop(0)
            assert value >= history[0][0], f"{key}: {value}, but {history[0]} is long since due"
        await pause(0.001)
    return reads
