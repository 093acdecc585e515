"""The data reader over gRPC, on both databases: loads that claim first, and single rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import msgspec
import pytest
from tupelo.codec import SpaceCodec
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2 as pb
from tupelo.v1 import pump_pb2_grpc
from tupelo_grid.core.loads import Fence
from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.messaging.reader import SERVICE, DataReader
from tupelo_grid.messaging.reader_client import ReaderClient, StoreSilent, fences_of
from tupelo_grid.runtime.servers import open_server
from tupelo_grid.store.port import Status
from tupelo_grid.store.sql import SqlStore

from tests.integration.store_places import Place, store_at
from tests.integration.test_store_sql import DOCS, SEATS, put, seat

encode = msgspec.msgpack.encode
GRID = b"g" * 16
PARTITIONS = 8
SPACES = {one.name: one for one in (DOCS, SEATS, SpaceSchema("brief", persist=False))}


@dataclass
class Rig:
    store: SqlStore
    client: ReaderClient
    address: str
    reader: DataReader

    async def fill(self, epoch: int = 1) -> None:
        """A hundred documents and a seat, each in its partition."""
        batches: dict[int, list[Any]] = {number: [] for number in range(PARTITIONS)}
        for n in range(100):
            batches[partition_of(f"k{n}")].append(put(f"k{n}", n, n + 1))
        seats = SpaceCodec(SEATS)
        batches[seats.locate(("e", 1), PARTITIONS)[1]].append(seat(1, "ann", 101))
        await self.store.claim(dict.fromkeys(range(PARTITIONS), epoch))
        frames = [PartitionBatch(n, epoch, 0, 101, rows) for n, rows in batches.items()]
        assert {out.status for out in await self.store.apply(frames, SPACES)} == {Status.APPLIED}

    async def load(self, partitions: Sequence[int], **more: Any) -> list[pb.LoadChunk]:
        return [chunk async for chunk in self.client.load(partitions, **more)]


def partition_of(key: str) -> int:
    return SpaceCodec(DOCS).locate(key, PARTITIONS)[1]


@asynccontextmanager
async def serving(place: Place, **more: Any) -> AsyncIterator[Rig]:
    config = place.config()
    store = store_at(place)
    reader = DataReader(store, lambda: SPACES, lambda: PARTITIONS, GRID, **more)

    def register(server: grpc.aio.Server) -> None:
        add: Any = pump_pb2_grpc.add_DataReaderServicer_to_server
        add(reader, server)

    async with open_server(config, "127.0.0.1", 0, "messaging", [SERVICE], register, grace_s=0) as (
        _,
        port,
    ):
        address = f"127.0.0.1:{port}"
        async with ReaderClient(config, GRID, address) as client:
            yield Rig(store, client, address, reader)
    await store.close()


@pytest.fixture
async def rig(place: Place) -> AsyncIterator[Rig]:
    async with serving(place) as made:
        yield made


async def test_a_load_has_the_rows_of_its_partitions_and_who_wrote_them(rig: Rig) -> None:
    await rig.fill(epoch=3)
    chunks = await rig.load([1, 2], epochs=[5, 6])
    # The cursors' epoch is that of their records, not the one that is claimed.
    assert fences_of(chunks[0]) == {1: Fence(3, 101), 2: Fence(3, 101)}
    keys = {key for chunk in chunks if chunk.space == "docs" for key in chunk.keys}
    assert keys == {encode(f"k{n}") for n in range(100) if partition_of(f"k{n}") in (1, 2)}
    assert (await rig.store.cursors())[1] == (5, 101)
    assert (await rig.store.cursors())[3] == (3, 101)


async def test_a_space_that_was_declared_a_moment_ago_is_not_left_out(place: Place) -> None:
    known: dict[str, SpaceSchema] = {}

    async def newest() -> None:
        known.update(SPACES)

    async with serving(place, newest=newest) as rig:
        rig.reader._schemas = lambda: known
        await rig.fill(epoch=3)
        chunks = await rig.load([1, 2], epochs=[5, 6])
        assert {chunk.space for chunk in chunks if chunk.keys} >= {"docs"}


async def test_who_held_a_partition_before_writes_no_more_once_it_is_loaded(rig: Rig) -> None:
    await rig.fill(epoch=3)
    await rig.load([1], epochs=[4])
    late = PartitionBatch(1, 3, 101, 102, [put("late", 1, 102)])
    [out] = await rig.store.apply([late], SPACES)
    assert out.status is Status.FENCED
    rows = {row[0] async for row in rig.store.read_rows("docs")}
    assert encode("late") not in rows


async def test_a_load_that_is_repeated_has_the_same_rows(rig: Rig) -> None:
    await rig.fill(epoch=3)
    first = await rig.load([1], epochs=[4])
    again = await rig.load([1], epochs=[4])
    assert fences_of(again[0]) == {1: Fence(4, 101)}
    assert [chunk.keys for chunk in again[1:]] == [chunk.keys for chunk in first[1:]]


async def test_a_load_of_an_older_primary_is_refused(rig: Rig) -> None:
    await rig.fill(epoch=3)
    with pytest.raises(StoreSilent, match="partition 2 has a later primary, of epoch 3"):
        await rig.load([1, 2], epochs=[4, 2])


async def test_an_empty_store_is_not_what_a_grid_comes_back_from(rig: Rig) -> None:
    with pytest.raises(StoreSilent, match="knows no partition of this grid"):
        await rig.load([1], epochs=[2])
    assert await rig.store.cursors() == {}
    await rig.store.claim({5: 1})
    # Another one that has nothing of a partition: it never had any changes.
    assert fences_of((await rig.load([1], epochs=[2]))[0]) == {1: Fence(2, 0)}


async def test_one_space_is_read_without_a_claim_and_with_its_dead_letters(rig: Rig) -> None:
    await rig.fill()
    chunks = await rig.load(range(PARTITIONS), space="docs")
    assert {chunk.space for chunk in chunks[1:]} == {"docs"}
    assert sum(len(chunk.keys) for chunk in chunks) == 100
    assert (await rig.store.cursors())[1] == (1, 101)
    with pytest.raises(StoreSilent, match="'brief' is not declared, or not stored"):
        await rig.load([1], space="brief")


async def test_single_rows_with_the_fences_of_their_partitions(rig: Rig) -> None:
    await rig.fill()
    wanted = [(partition_of(key), encode(key)) for key in ("k1", "nothing", "k2")]
    found = await rig.client.read("docs", wanted, 5.0)
    assert found.rows == {
        encode("k1"): (encode(1), 0),
        encode("nothing"): None,
        encode("k2"): (encode(2), 0),
    }
    assert found.fences == {number: Fence(1, 101) for number, _ in wanted}


async def test_requests_that_make_no_sense(rig: Rig) -> None:
    async with ReaderClient(rig.client._config, b"x" * 16, rig.address) as stranger:
        with pytest.raises(StoreSilent, match="another grid"):
            await stranger.read("docs", [(0, b"\x01")], 5.0)
        with pytest.raises(StoreSilent, match="another grid"):
            _ = [chunk async for chunk in stranger.load([1])]
    with pytest.raises(StoreSilent, match="one epoch a partition"):
        await rig.load([1, 2], epochs=[1])
    with pytest.raises(StoreSilent, match="not declared"):
        await rig.client.read("nothing", [(0, b"\x01")], 5.0)


async def test_loads_wait_their_turn_and_show_that_they_do(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tupelo_grid.messaging.reader.SIGN_S", 0.01)
    gate, inside = asyncio.Event(), asyncio.Event()

    async def on_their_way(_: frozenset[int]) -> str:
        inside.set()
        await gate.wait()
        return ""

    async with serving(place, loads_max=1, on_their_way=on_their_way) as rig:
        await rig.fill()
        first = asyncio.create_task(rig.load([1], epochs=[2]))
        await inside.wait()
        second = rig.client.load([2], epochs=[2])
        signs = [await anext(second), await anext(second)]
        assert not any(chunk.fence_partitions for chunk in signs)
        assert not first.done()
        gate.set()
        assert any(chunk.fence_partitions for chunk in await first)
        assert any([chunk.fence_partitions async for chunk in second])


async def test_a_load_waits_for_what_is_on_its_way_to_the_store(place: Place) -> None:
    words = "2 messages are on their way"

    async def on_their_way(partitions: frozenset[int]) -> str:
        assert partitions == {1}
        return words

    async with serving(place, on_their_way=on_their_way) as rig:
        await rig.fill()
        with pytest.raises(StoreSilent, match=words):
            await rig.load([1], epochs=[2])
        # Nothing was claimed: what is on its way still has to be written.
        assert (await rig.store.cursors())[1] == (1, 101)
