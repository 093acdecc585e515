"""What only NATS can do to the pump: its server goes and comes, its stream is lost, full, or read
by several writers. The rest is in test_writer_stream.py, for both transports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.messaging.nats_group import GroupReader
from tupelo_grid.messaging.nats_link import Link, open_link
from tupelo_grid.messaging.nats_names import GROUPS, Names
from tupelo_grid.messaging.nats_writer import NatsWriter
from tupelo_grid.messaging.writer import DataWriter

from tests.engines.nats import MakeServer, NatsServer, make_nats  # noqa: F401
from tests.integration import pump_rig
from tests.integration.pump_rig import (
    GRID,
    SCHEMAS,
    Flaky,
    pump_to,
    serving,
    store_of,
    stored,
    until,
)
from tests.unit.pump_source import FakeSource, put, remove

NAMES = Names(GRID)
SECRET = "s3cret-of-the-grid"


@pytest.fixture
def server(make_nats: MakeServer) -> NatsServer:  # noqa: F811
    return make_nats()


def settings(folder: Path, server: NatsServer, **more: object) -> GridConfig:
    return pump_rig.settings(folder, pump_transport="nats", nats_url=server.url, **more)


async def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - nobody could set an event
            await asyncio.sleep(0)


@asynccontextmanager
async def writing(
    config: GridConfig, store: object, name: str
) -> AsyncIterator[tuple[DataWriter, NatsWriter]]:
    async with (
        DataWriter(config, store, SCHEMAS, GRID) as writer,  # type: ignore[arg-type]
        NatsWriter(config, writer, GRID, name) as nats,
    ):
        yield writer, nats


async def messages(config: GridConfig) -> tuple[int, int]:
    """(in the stream now, ever stored in it)"""
    async with open_link(config, "test") as link:
        state = (await link.js.stream_info(NAMES.stream)).state
        return state.messages, state.last_seq


async def settled(nats: NatsWriter, partitions: Iterable[int]) -> None:
    async with asyncio.timeout(10.0):
        while await nats.on_their_way(frozenset(partitions)):
            pass


async def test_what_is_published_is_trimmed_only_when_it_is_stored(
    tmp_path: Path, server: NatsServer
) -> None:
    config = settings(tmp_path, server)
    store = Flaky(store_of(config))
    source = FakeSource({0: 1})
    async with serving(config, store), pump_to(config, 0, source) as pump:
        assert await pump.drain(5.0) == 0
        await until(pump, lambda: pump.core.cursor(0) is not None)
        store.away = "closed"
        source.commit(0, put("a", "1"))
        await until(pump, lambda: pump.error == "closed")
        assert (await messages(config))[0] == 1
        assert source.told == []
        store.away = ""
        assert await pump.drain(5.0) == 0
        assert source.told == [(0, 1, 1)]
        await until(pump, lambda: pump.error == "")
    assert (await messages(config))[0] == 0


async def test_a_message_sent_twice_is_taken_once(
    tmp_path: Path, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, server, nats_publish_s=0.1)
    lost = 0
    hear = Link._on_stored

    async def deaf(link: Link, message: object) -> None:
        nonlocal lost
        if lost < 2:
            lost += 1
            return
        await hear(link, message)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "_on_stored", deaf)
    store = Flaky(store_of(config))
    store.away = "not yet"
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    async with serving(config, store), pump_to(config, 0, source) as pump:
        # The claim goes three times, as its first two acknowledgements are lost.
        await until(pump, lambda: lost == 2 and pump.error == "not yet")
        assert await messages(config) == (1, 1)
        store.away = ""
        assert await pump.drain(5.0) == 0
    assert (await messages(config))[1] == 2, "one claim, one batch"
    assert await stored(tmp_path) == {b"a": (b"1", 1)}


async def test_a_server_that_dies_is_waited_for(tmp_path: Path, server: NatsServer) -> None:
    config = settings(tmp_path, server)
    source = FakeSource({0: 1})
    async with serving(config, store_of(config)) as (writer, _), pump_to(config, 0, source) as pump:
        source.commit(0, put("a", "1"), put("b", "1"))
        assert await pump.drain(5.0) == 0
        server.kill()
        source.commit(0, put("a", "2"), remove("b"))
        await until(pump, lambda: pump.error.startswith("no NATS server") and not pump.connected)
        assert pump.lag_records == 2
        server.start()
        assert await pump.drain(10.0) == 0
        assert pump.error == ""
        assert writer.stats().persisted_records == 4
    assert await stored(tmp_path) == {b"a": (b"2", 3)}


async def test_a_server_that_hangs_is_left_and_found_again(
    tmp_path: Path, server: NatsServer
) -> None:
    config = settings(tmp_path, server, nats_publish_s=0.1, nats_connect_s=0.3)
    source = FakeSource({0: 1})
    async with serving(config, store_of(config)), pump_to(config, 0, source) as pump:
        source.commit(0, put("a", "1"))
        assert await pump.drain(5.0) == 0
        server.pause()
        source.commit(0, put("a", "2"))
        await until(pump, lambda: "acknowledged nothing in 3 tries" in pump.error)
        await until(pump, lambda: "no answer in time" in pump.error)
        server.resume()
        assert await pump.drain(10.0) == 0
    assert await stored(tmp_path) == {b"a": (b"2", 2)}


@pytest.mark.parametrize("loss", ["wiped", "deleted", "purged"])
async def test_a_lost_stream_is_filled_again_from_the_journals(
    tmp_path: Path, server: NatsServer, loss: str
) -> None:
    config = settings(tmp_path, server)
    store = Flaky(store_of(config))
    source = FakeSource({0: 1, 40: 1})
    async with serving(config, store), pump_to(config, 0, source) as pump:
        source.commit(0, put("a", "1"))
        assert await pump.drain(5.0) == 0
        store.away = "closed"
        source.commit(0, put("a", "2"))
        source.commit(40, put("b", "1"))
        await until(pump, lambda: pump.error == "closed")
        assert (await messages(config))[0] == 2
        if loss == "wiped":
            server.kill()
            server.wipe()
            server.start()
        else:
            async with open_link(config, "test") as link:
                if loss == "deleted":
                    await link.js.delete_stream(NAMES.stream)
                else:
                    await link.js.purge_stream(NAMES.stream)
        store.away = ""
        source.commit(0, put("c", "1"))
        assert await pump.drain(10.0) == 0
    assert await stored(tmp_path) == {b"a": (b"2", 2), b"b": (b"1", 1), b"c": (b"1", 3)}


async def test_records_larger_than_a_message_go_in_parts(
    tmp_path: Path, server: NatsServer
) -> None:
    config = settings(tmp_path, server, nats_message_bytes_max=1000, nats_pull_bytes_max=700)
    large = "x" * 7000
    source = FakeSource({0: 1})
    source.commit(0, put("a", large), put("b", "1"), put("c", large))
    async with serving(config, store_of(config)), pump_to(config, 0, source) as pump:
        assert await pump.drain(5.0) == 0
    assert await stored(tmp_path) == {
        b"a": (large.encode(), 1),
        b"b": (b"1", 2),
        b"c": (large.encode(), 3),
    }
    assert (await messages(config))[0] == 0


async def test_a_full_stream_refuses_and_the_journal_keeps(
    tmp_path: Path, server: NatsServer
) -> None:
    config = settings(tmp_path, server, nats_stream_bytes_max=20_000)
    store = Flaky(store_of(config))
    source = FakeSource(dict.fromkeys(range(8), 1))
    async with serving(config, store), pump_to(config, 0, source) as pump:
        await until(pump, lambda: all(pump.core.cursor(n) is not None for n in range(8)))
        store.away = "closed"
        for n in range(8):
            source.commit(n, put(f"{n}", "x" * 5000))
        errors: set[str] = set()

        def refused() -> bool:
            errors.add(pump.error)
            return any("took nothing: maximum bytes exceeded" in error for error in errors)

        await until(pump, refused)
        store.away = ""
        assert await pump.drain(10.0) == 0
    assert len(await stored(tmp_path)) == 8


async def test_many_messages_are_read_by_one_consumer_once(
    tmp_path: Path, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, server, nats_pull_messages=4)
    taken = 0
    take = GroupReader._take

    async def counted(reader: GroupReader) -> None:
        nonlocal taken
        taken += 1
        await take(reader)

    monkeypatch.setattr(GroupReader, "_take", counted)
    store = Flaky(store_of(config))
    # All of one group, and so many that each of its pulls is used up.
    source = FakeSource(dict.fromkeys(range(0, 40 * GROUPS, GROUPS), 1))
    async with serving(config, store), pump_to(config, 0, source) as pump:
        for turn in range(5):
            for n in source.roles:
                source.commit(n, put(f"{n}", f"{turn}"))
            assert await pump.drain(5.0) == 0
    assert taken == GROUPS
    assert sum(store.transactions) == 5 * 40, "nothing was read twice"


async def test_two_writers_divide_the_partitions_and_a_dead_ones_are_taken_over(
    tmp_path: Path, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, server)
    held = Flaky(store_of(config))
    source = FakeSource(dict.fromkeys(range(GROUPS), 1))
    async with (
        writing(config, held, "first") as (one, first),
        writing(config, store_of(config), "second") as (two, second),
        pump_to(config, 0, source) as pump,
    ):
        await eventually(lambda: len(first.groups) == len(second.groups) == GROUPS // 2)
        assert not first.groups & second.groups
        for n in range(GROUPS):
            source.commit(n, put(f"{n}", "1"))
        assert await pump.drain(5.0) == 0
        assert one.stats().persisted_records == two.stats().persisted_records == GROUPS // 2

        # The first is not heard any more while it has changes in hand.
        held.gate.clear()
        monkeypatch.setattr(first, "_beat", lambda **_: None)
        for n in range(GROUPS):
            source.commit(n, put(f"{n}", "2"))
        assert await pump.drain(10.0) == 0
        assert second.groups == set(range(GROUPS))
        # Its transaction goes on and changes nothing: what it has in hand is behind the cursors.
        held.gate.set()
        for n in range(GROUPS):
            source.commit(n, remove(f"{n}") if n % 2 else put(f"{n}", "3"))
        assert await pump.drain(10.0) == 0
        assert one.stats().persisted_records == GROUPS // 2
    expected = {f"{n}".encode(): (b"3", 3) for n in range(0, GROUPS, 2)}
    assert await stored(tmp_path) == expected


async def test_a_writer_that_leaves_hands_over_at_once(tmp_path: Path, server: NatsServer) -> None:
    config = settings(tmp_path, server, nats_writer_s=60.0)
    source = FakeSource(dict.fromkeys(range(GROUPS), 1))
    async with writing(config, store_of(config), "stays") as (_, stays):
        async with writing(config, store_of(config), "leaves") as (_, leaves):
            await eventually(lambda: len(stays.groups) == len(leaves.groups) == GROUPS // 2)
        async with pump_to(config, 0, source) as pump:
            for n in range(GROUPS):
                source.commit(n, put(f"{n}", "1"))
            assert await pump.drain(5.0) == 0
        assert stays.groups == set(range(GROUPS))


async def test_a_fail_over_while_the_store_is_away(tmp_path: Path, server: NatsServer) -> None:
    config = settings(tmp_path, server)
    store = Flaky(store_of(config))
    old, new = FakeSource({0: 1}), FakeSource({0: 2})
    old.commit(0, put("a", "1"), put("b", "1"))
    async with serving(config, store), pump_to(config, 0, old) as first:
        assert await first.drain(5.0) == 0
        store.away = "closed"
        old.commit(0, put("a", "2"))
        await until(first, lambda: first.error == "closed")
        # The successor has everything committed; what the first published is still on its way.
        new.commit(0, put("a", "1"), put("b", "1"), put("a", "2"), remove("b"))
        async with pump_to(config, 0, new, name="unit-2#1") as second:
            await until(second, lambda: second.error == "closed")
            store.away = ""
            assert await second.drain(5.0) == 0
            assert new.told[-1] == (0, 2, 4)
            old.commit(0, put("a", "never committed in the grid"))
            await until(first, lambda: first.core.fenced() == [0])
    assert await stored(tmp_path) == {b"a": (b"2", 3)}


async def test_a_load_from_the_store_waits_for_what_dead_units_have_published(
    tmp_path: Path, server: NatsServer
) -> None:
    config = settings(tmp_path, server)
    store = Flaky(store_of(config))
    source = FakeSource({0: 1, 40: 1})
    async with writing(config, store, "writer") as (_, nats):
        async with pump_to(config, 0, source) as pump:
            await until(pump, lambda: pump.core.cursor(0) is not None)
            await settled(nats, range(64))
            store.away = "closed"
            source.commit(0, put("a", "1"))
            await until(pump, lambda: pump.error == "closed")
        # Everybody who held the partition is gone. What was published is committed all the same.
        assert (
            await nats.on_their_way(frozenset({0, 1})) == "1 messages are on their way to the store"
        )
        assert await nats.on_their_way(frozenset({1, 40})) == ""
        store.away = ""
        await settled(nats, {0})
    assert await stored(tmp_path) == {b"a": (b"1", 1)}


async def test_the_password_is_asked_for_and_never_shown(
    tmp_path: Path,
    make_nats: MakeServer,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_nats(user="grid", password=SECRET)
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    config = settings(tmp_path, server, nats_user="grid", nats_password_file=str(secret))
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    async with serving(config, store_of(config)), pump_to(config, 0, source) as pump:
        await until(pump, lambda: "Authorization Violation" in pump.error)
        assert "wrong" not in pump.error
        # The next attempt reads the file again.
        secret.write_text(f"{SECRET}\n")
        assert await pump.drain(10.0) == 0
    assert SECRET not in caplog.text
    assert "wrong" not in caplog.text


async def test_without_a_writer_the_unit_says_so(tmp_path: Path, server: NatsServer) -> None:
    config = settings(tmp_path, server)
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    async with pump_to(config, 0, source) as pump:
        await until(pump, lambda: pump.error.startswith("no data writer was heard of"))
        assert not pump.connected
        async with serving(config, store_of(config)):
            assert await pump.drain(5.0) == 0


async def test_a_message_that_makes_no_sense_holds_nothing_up(
    tmp_path: Path, server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(tmp_path, server)
    source = FakeSource({0: 1})
    async with serving(config, store_of(config)), pump_to(config, 0, source) as pump:
        await until(pump, lambda: pump.core.cursor(0) is not None)
        async with open_link(config, "test") as link:
            subject = NAMES.partition(0)
            await link.js.publish(subject, b"\xff no frame")
            await link.js.publish(subject, b"", headers={"Tupelo-Part": "7/3"})
            await link.client.publish(NAMES.writers, b"no beat")
        source.commit(0, put("a", "1"))
        assert await pump.drain(5.0) == 0
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: caplog.text.count("passing over") == 2)
    assert caplog.text.count("passing over") == 2
    assert (await messages(config))[0] == 0
