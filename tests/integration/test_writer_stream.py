"""Pumps of several units, the writer and a SQLite file, over real streams of either transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2, pump_pb2_grpc
from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.servers import open_channel
from tupelo_grid.store.port import StoreUnusable

from tests.engines.nats import MakeServer, make_nats  # noqa: F401
from tests.integration import pump_rig
from tests.integration.pump_rig import GRID, Flaky, pump_to, serving, store_of, stored, until
from tests.unit.pump_source import FakeSource, put, remove

Settings = Callable[..., GridConfig]


@pytest.fixture(params=["grpc", "nats"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """`settings(folder, **more)`: the configuration, for each transport in turn."""
    more: dict[str, object] = {"pump_transport": request.param}
    if request.param == "nats":
        make: MakeServer = request.getfixturevalue("make_nats")
        more["nats_url"] = make().url
    return lambda folder, **others: pump_rig.settings(folder, **more, **others)


async def test_changes_reach_the_store_and_the_journal_hears_of_it(
    tmp_path: Path, settings: Settings
) -> None:
    config = settings(tmp_path)
    source = FakeSource({0: 1, 5: 2})
    source.commit(0, put("a", "1"), put("b", "2"), put("a", "3"))
    async with serving(config, store_of(config)) as (writer, port):
        async with pump_to(config, port, source) as pump:
            await until(pump, lambda: source.told[-1:] == [(0, 1, 3)])
            source.commit(5, put("c", "9"), remove("c"))
            assert await pump.drain(5.0) == 0
            assert source.told[-1] == (5, 2, 2)
            assert (pump.lag_records, pump.lag_s, pump.error) == (0, 0.0, "")
            assert pump.persisted_records == 5
        stats = writer.stats()
        assert (stats.persisted_records, stats.dead_letters, stats.error) == (5, 0, "")
        assert stats.store == f"sqlite {tmp_path}/store.sqlite"
    assert await stored(tmp_path) == {b"a": (b"3", 3), b"b": (b"2", 2)}


async def test_many_units_share_transactions(tmp_path: Path, settings: Settings) -> None:
    config = settings(tmp_path)
    store = Flaky(store_of(config))
    async with serving(config, store) as (writer, port), asyncio.TaskGroup() as tasks:
        sources = [FakeSource({unit: 1}) for unit in range(4)]
        pumps = [
            pump_to(config, port, source, name=f"unit-{unit}#1")
            for unit, source in enumerate(sources)
        ]
        for pump in pumps:
            await pump.__aenter__()
            await until(pump, lambda pump=pump: pump.connected)
        store.gate.clear()
        for unit, source in enumerate(sources):
            source.commit(unit, *[put(f"{unit}-{n}", "v") for n in range(40)])
        drains = [tasks.create_task(pump.drain(10.0)) for pump in pumps]
        async with asyncio.timeout(10.0):
            # Some frames are in the store's hands, the others wait behind them.
            while sum(store.transactions) + writer.stats().waiting_frames < 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
        store.gate.set()
        assert [await drain for drain in drains] == [0, 0, 0, 0]
        for pump in pumps:
            await pump.__aexit__(None, None, None)
    assert max(store.transactions) > 1
    assert len(await stored(tmp_path)) == 160


async def test_an_outage_loses_nothing_and_says_why(tmp_path: Path, settings: Settings) -> None:
    config = settings(tmp_path)
    store = Flaky(store_of(config))
    source = FakeSource({0: 1})
    async with serving(config, store) as (writer, port), pump_to(config, port, source) as pump:
        source.commit(0, put("a", "1"))
        assert await pump.drain(5.0) == 0
        store.away = "the database is on holiday"
        source.commit(0, put("a", "2"), put("b", "2"))
        before = store.attempts
        await until(pump, lambda: store.attempts > before + 3)
        assert writer.stats().error == "the database is on holiday"
        assert await pump.drain(0.05) == 2
        assert pump.error == "the database is on holiday"
        assert pump.lag_s > 0
        store.away = ""
        assert await pump.drain(5.0) == 0
        assert (pump.error, writer.stats().error) == ("", "")
    assert await stored(tmp_path) == {b"a": (b"2", 2), b"b": (b"2", 3)}


async def test_a_store_that_is_away_at_the_start_is_waited_for(
    tmp_path: Path, settings: Settings
) -> None:
    config = settings(tmp_path)
    store = Flaky(store_of(config))
    store.away = "not up yet"
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    async with serving(config, store) as (writer, port), pump_to(config, port, source) as pump:
        await until(pump, lambda: pump.error == "not up yet")
        assert writer.stats().error == "not up yet"
        store.away = ""
        assert await pump.drain(5.0) == 0


async def test_a_store_that_needs_a_person_keeps_the_writer_from_starting(
    tmp_path: Path, settings: Settings
) -> None:
    config = settings(tmp_path, store_url=f"sqlite:///{tmp_path}")
    with pytest.raises(StoreUnusable, match="is a directory"):
        async with serving(config, store_of(config)):
            pass


async def test_the_writer_may_go_and_come_back(tmp_path: Path, settings: Settings) -> None:
    config = settings(tmp_path)
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    async with serving(config, store_of(config)) as (_, port):
        pump = pump_to(config, port, source)
        await pump.__aenter__()
        assert await pump.drain(5.0) == 0
    source.commit(0, put("a", "2"))
    await until(pump, lambda: not pump.connected and pump.lag_records == 1)
    assert "no data writer" in pump.error
    async with serving(config, store_of(config), port):
        assert await pump.drain(10.0) == 0
        assert source.told[-1] == (0, 1, 2)
        await pump.__aexit__(None, None, None)
    assert await stored(tmp_path) == {b"a": (b"2", 2)}


async def test_a_deposed_primary_is_stopped_and_its_successor_goes_on(
    tmp_path: Path, settings: Settings
) -> None:
    config = settings(tmp_path)
    old, new = FakeSource({0: 1}), FakeSource({0: 2})
    old.commit(0, put("a", "1"))
    async with (
        serving(config, store_of(config)) as (_, port),
        pump_to(config, port, old) as first,
    ):
        assert await first.drain(5.0) == 0
        new.commit(0, put("a", "1"), put("a", "new"))
        async with pump_to(config, port, new, name="unit-2#1") as second:
            assert await second.drain(5.0) == 0
        old.commit(0, put("a", "old"))
        await until(first, lambda: first.core.fenced() == [0])
        assert old.told == [(0, 1, 1)]
    assert await stored(tmp_path) == {b"a": (b"new", 2)}


async def test_an_undeclared_space_waits_until_it_is_known(
    tmp_path: Path, settings: Settings
) -> None:
    config = settings(tmp_path)
    source = FakeSource({0: 1, 1: 1})
    source.commit(0, put("a", "1", "late"))
    source.commit(1, put("b", "1", "default"))
    asked: list[str] = []
    known: dict[str, SpaceSchema] = {}

    async def fetch(name: str) -> SpaceSchema | None:
        asked.append(name)
        return known.get(name)

    async with (
        serving(config, store_of(config), schemas={}, fetch=fetch) as (_, port),
        pump_to(config, port, source) as pump,
    ):
        await until(pump, lambda: "'late' is not declared" in pump.error)
        await until(pump, lambda: (1, 1, 1) in source.told)
        assert pump.lag_records == 1
        known["late"] = SpaceSchema("late")
        assert await pump.drain(5.0) == 0
    assert set(asked) == {"late"}


async def test_a_bug_in_the_writer_is_reported_and_nothing_is_lost(
    tmp_path: Path, settings: Settings
) -> None:
    config = settings(tmp_path)
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    broken = True

    async def fetch(name: str) -> SpaceSchema | None:
        if broken:
            raise ZeroDivisionError("oops")
        return SpaceSchema(name)

    async with (
        serving(config, store_of(config), schemas={}, fetch=fetch) as (_, port),
        pump_to(config, port, source) as pump,
    ):
        await until(pump, lambda: "internal error" in pump.error)
        broken = False
        assert await pump.drain(5.0) == 0


async def test_frames_of_another_grid_and_broken_frames_are_refused(tmp_path: Path) -> None:
    config = pump_rig.settings(tmp_path)
    bad = pump_pb2.PumpFrame(grid_id=GRID, position=1, claim_partitions=[1])
    foreign = pump_pb2.PumpFrame(grid_id=b"x" * 16, position=1)
    async with serving(config, store_of(config)) as (writer, port):
        async with open_channel(config, f"127.0.0.1:{port}") as channel:
            stub = pump_pb2_grpc.DataWriterStub(channel)
            for frame, code, words in (
                (bad, grpc.StatusCode.INVALID_ARGUMENT, "claim_epochs"),
                (foreign, grpc.StatusCode.FAILED_PRECONDITION, "grid 6767"),
            ):
                call = stub.Persist(timeout=5)
                await call.write(frame)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() is code
                assert words in (caught.value.details() or "")
        source = FakeSource({0: 1})
        source.commit(0, put("a", "1"))
        async with pump_to(config, port, source, grid_id=b"x" * 16) as pump:
            await until(pump, lambda: "FAILED_PRECONDITION" in pump.error)
        assert writer.stats().persisted_records == 0


async def test_a_writer_that_never_answers_is_left(tmp_path: Path) -> None:
    config = pump_rig.settings(tmp_path, pump_answer_s_max=0.1)
    store = Flaky(store_of(config))
    source = FakeSource({0: 1})
    async with serving(config, store) as (_, port), pump_to(config, port, source) as pump:
        store.gate.clear()
        source.commit(0, put("a", "1"))
        await until(pump, lambda: "did not answer" in pump.error)
        store.gate.set()
        assert await pump.drain(5.0) == 0
    assert await stored(tmp_path) == {b"a": (b"1", 1)}
