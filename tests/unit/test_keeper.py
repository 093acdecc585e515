"""What a process knows of the state store, through changes, absences and odd values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from tupelo.routing import table_of
from tupelo.schema import SpaceSchema, encode_schema
from tupelo.v1.data_pb2 import RouteRequest
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState, TableKeeper
from tupelo_grid.coordinator.port import REREAD, Hint, Snapshot, StoreAway
from tupelo_grid.core.table import (
    FENCED,
    GridInfo,
    Lease,
    PartitionConfig,
    PartitionState,
    encode,
    lease_key,
    part_key,
    space_key,
)
from tupelo_grid.transport.route import RouteCache, build_route

from tests.memory_store import MemoryStateStore

CONFIG = GridConfig()
GRID = GridInfo("00" * 15 + "07", 2)


def lease(unit: str, nonce: str = "n") -> bytes:
    return encode(Lease(unit, f"{unit}:1", f"{unit}:2", nonce))


def part(primary: str, *backups: str, epoch: int = 1) -> bytes:
    return encode(PartitionConfig(epoch, primary, (primary, *backups)))


async def filled() -> MemoryStateStore:
    store = MemoryStateStore(CONFIG)
    await store.txn(
        [],
        {
            "grid": encode(GRID),
            lease_key("a#1"): lease("a"),
            lease_key("b#2"): lease("b"),
            part_key(0): part("a#1", "b#2"),
            part_key(1): part("b#2", "a#1"),
            space_key("carts"): encode_schema(SpaceSchema("carts", ttl_ms=5)),
            "command/air.hold": b'{"route": "event"}',
        },
    )
    return store


async def put(store: MemoryStateStore, key: str, value: bytes) -> None:
    assert (await store.txn([], {key: value})).succeeded


async def soon(keeper: TableKeeper, epoch: int) -> GridState:
    async with asyncio.timeout(5):
        return await keeper.wait_for(
            lambda state: 0 in state.table.parts and state.table.parts[0].config.epoch == epoch
        )


async def test_it_reads_and_then_follows() -> None:
    store = await filled()
    async with TableKeeper(store, CONFIG) as keeper:
        state = await soon(keeper, 1)
        assert state.grid == GRID
        assert state.partitions == 2
        assert state.primary_address(0) == "a:1"
        assert set(state.spaces) == {"carts", "default"}
        seen: list[GridState] = []
        end = keeper.subscribe(seen.append)
        await put(store, part_key(0), part("b#2", "a#1", epoch=2))
        state = await soon(keeper, 2)
        assert state.primary_address(0) == "b:1"
        assert seen == [state]
        end()
        await put(store, part_key(0), part("a#1", "b#2", epoch=3))
        await soon(keeper, 3)
        assert len(seen) == 1


async def test_renewals_make_no_new_state_but_fencing_does() -> None:
    store = await filled()
    async with TableKeeper(store, CONFIG) as keeper:
        await soon(keeper, 1)
        seen: list[GridState] = []
        keeper.subscribe(seen.append)
        await put(store, lease_key("a#1"), lease("a", "n2"))
        await put(store, lease_key("b#2"), lease("b", FENCED))
        async with asyncio.timeout(5):
            await keeper.wait_for(lambda state: state.leases["b#2"].fenced)
        assert len(seen) == 1
        await store.txn([], {}, [lease_key("b#2")])
        async with asyncio.timeout(5):
            await keeper.wait_for(lambda state: "b#2" not in state.leases)


async def test_a_value_nobody_can_read_stops_nothing() -> None:
    store = await filled()
    await put(store, space_key("odd"), b"{not json")
    async with TableKeeper(store, CONFIG) as keeper:
        await soon(keeper, 1)
        keeper.subscribe(lambda state: 1 // 0)
        await put(store, part_key(0), part("b#2", epoch=2))
        state = await soon(keeper, 2)
        assert "odd" not in state.spaces


class AwayStore(MemoryStateStore):
    """Away until told otherwise; counts reads."""

    def __init__(self) -> None:
        super().__init__(CONFIG)
        self.away = True
        self.reads = 0
        self.tried = asyncio.Event()

    async def read(self, prefix: str) -> Snapshot:
        self.reads += 1
        if self.away:
            if self.reads > 1:
                self.tried.set()
            raise StoreAway("gone")
        return await super().read(prefix)


async def test_an_absent_store_is_waited_for_and_leaves_the_last_state() -> None:
    store = AwayStore()
    store.state = (await filled()).state
    async with TableKeeper(store, CONFIG) as keeper:
        await store.tried.wait()
        assert keeper.state == GridState()
        store.away = False
        state = await soon(keeper, 1)
        assert keeper.connected
        store.away = True
        try:
            await keeper.refresh()
        except StoreAway:
            assert keeper.state is state
        else:
            raise AssertionError("the store was away")


class ScriptedStore(MemoryStateStore):
    def __init__(self, hints: list[Hint]) -> None:
        super().__init__(CONFIG)
        self.hints = hints
        self.done = asyncio.Event()

    async def watch(self, prefix: str, after_revision: int = 0) -> AsyncIterator[Hint]:
        for hint in self.hints:
            yield hint
        self.done.set()
        await asyncio.Event().wait()


async def test_late_and_repeated_hints_change_nothing() -> None:
    store = ScriptedStore([])
    store.state = (await filled()).state
    old = store.state.entries[part_key(0)]
    await put(store, part_key(0), part("b#2", epoch=2))
    await store.txn([], {}, [space_key("carts")])
    gone = Hint({space_key("carts"): old}, (), old.revision)
    late = Hint({part_key(0): old}, (), old.revision)
    store.hints = [late, REREAD, late, gone, late]
    async with TableKeeper(store, CONFIG) as keeper:
        await store.done.wait()
        assert keeper.state.table.parts[0].config.epoch == 2
        assert set(keeper.state.spaces) == {"default"}


async def test_the_route_is_what_clients_read() -> None:
    store = await filled()
    await put(store, lease_key("c#3"), lease("c"))
    await put(store, lease_key("z#9"), lease("z", FENCED))
    keeper = TableKeeper(store, CONFIG)
    state = await keeper.refresh()
    route = build_route(state)
    assert list(route.incarnations) == ["a#1", "b#2", "c#3"]
    assert list(route.in_sync) == [b"\x01\x02", b"\x02\x01"]
    table = table_of(route)
    assert table is not None
    assert table.addresses == ("a:1", "b:1")
    assert table.grid_id == bytes(15) + b"\x07"
    assert table.spaces["command:air.hold"] == b'{"route": "event"}'
    assert set(table.spaces) == {"default", "carts", "command:air.hold"}


async def test_lost_and_missing_partitions_have_no_primary() -> None:
    store = await filled()
    lost = PartitionConfig(4, "", ("gone#5",), state=PartitionState.LOST)
    await put(store, part_key(1), encode(lost))
    keeper = TableKeeper(store, CONFIG)
    await keeper.refresh()
    table = table_of(build_route(keeper.state))
    assert table is not None
    assert (table.addresses, table.lost) == (("a:1", ""), {1})
    empty = build_route(GridState(GRID))
    assert list(empty.primaries) == [0, 0]
    assert list(build_route(GridState()).primaries) == []


async def test_the_cache_follows_the_state_and_spares_what_is_known() -> None:
    store = await filled()
    keeper = TableKeeper(store, CONFIG)
    cache = RouteCache(lambda: keeper.state, lambda: 5)
    assert cache.response().table_version == 0
    await keeper.refresh()
    response = cache.response()
    assert response is cache.response()
    same = cache.answer(RouteRequest(known_version=response.table_version))
    assert not same.primaries
    assert same.time_ms == cache.answer(RouteRequest()).time_ms == 5
    assert not response.time_ms
    assert [info.name for info in same.spaces] == ["carts", "default", "command:air.hold"]
    await put(store, space_key("more"), encode_schema(SpaceSchema("more")))
    await keeper.refresh()
    assert "more" in [info.name for info in cache.answer(RouteRequest()).spaces]
    assert msgspec.json.decode(cache.response().spaces[1].schema)["name"] == "default"


async def test_a_grid_made_anew_replaces_what_was_known() -> None:
    store = await filled()
    keeper = TableKeeper(store, CONFIG)
    await keeper.refresh()
    await store.txn([], {part_key(1): part("a#1", epoch=9)})
    await keeper.refresh()
    store.state = (await filled()).state
    await put(store, "grid", encode(GridInfo("01" * 16, 1)))
    store.state.revision = 1
    state = await keeper.refresh()
    assert state.grid_id == b"\x01" * 16
    assert state.table.parts[1].config.epoch == 1
