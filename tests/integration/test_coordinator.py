"""The coordinator over sockets, the controller's loop, and what keeps control from starting."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import msgspec
import pytest
from tupelo.v1 import coordinator_pb2 as pb
from tupelo.v1 import coordinator_pb2_grpc as pb_grpc
from tupelo_grid.config import GridConfig, encode_config
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.coordinator.controller import ControllerLoop
from tupelo_grid.coordinator.port import StateStore, StoreAway, StoreInDoubt, next_incarnation
from tupelo_grid.coordinator.service import StateStoreServicer
from tupelo_grid.coordinator.sqlite import SqliteStateStore
from tupelo_grid.core.table import (
    GRID_KEY,
    GridInfo,
    Lease,
    PartitionConfig,
    decode_config,
    decode_grid,
    encode,
    lease_key,
    part_key,
)
from tupelo_grid.runtime.clock import MachineClock
from tupelo_grid.runtime.control import STATE_FILE, ensure_grid
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.servers import open_server

from tests.memory_store import MemoryStateStore

CONFIG = GridConfig(rpc_timeout_s=0.5, lease_s=0.4, settle_s=0.1, partitions=12)


@asynccontextmanager
async def serving(store: StateStore, port: int = 0) -> AsyncIterator[int]:
    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_StateStoreServicer_to_server(StateStoreServicer(store), server)

    services = ["tupelo.v1.StateStore"]
    async with open_server(CONFIG, "127.0.0.1", port, "test", services, register, 0.0) as (
        _,
        bound,
    ):
        yield bound


def remote(port: int, config: GridConfig = CONFIG) -> RemoteStateStore:
    return RemoteStateStore(f"127.0.0.1:{port}", config)


async def test_the_port_means_the_same_over_grpc(tmp_path: Path) -> None:
    async with (
        SqliteStateStore(tmp_path / "s", CONFIG) as local,
        serving(local) as port,
        remote(port) as store,
    ):
        hints = store.watch("part/")
        assert (await anext(hints)).reread
        assert (await store.txn([("part/1", 0)], {"part/1": b"a", "b": b""})).revision == 1
        lost = await store.txn([("part/1", 0), ("c", 0)], {"part/1": b"b"})
        assert not lost.succeeded
        assert lost.current["part/1"].value == b"a"
        assert (await store.txn([("b", 1)], {}, ["b"])).revision == 2
        assert await store.read("") == await local.read("")
        assert await next_incarnation(store, "unit-1") == "unit-1#1"
        async with asyncio.timeout(5):
            while "part/2" not in (await anext(hints)).entries:
                await store.txn([], {"part/2": b"c"})
        with pytest.raises(ValueError, match="split it"):
            await store.txn([], {str(n): b"" for n in range(200)})


async def test_bad_requests_are_invalid_arguments_and_change_nothing() -> None:
    local = MemoryStateStore(CONFIG)
    async with serving(local) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.StateStoreStub(channel)
        twice = [pb.KeyValue(key="a"), pb.KeyValue(key="a")]
        many = [pb.Condition(key=str(n)) for n in range(200)]
        for request in (
            pb.TxnRequest(puts=[pb.KeyValue(key="", value=b"")]),
            pb.TxnRequest(puts=twice),
            pb.TxnRequest(conditions=many),
            pb.TxnRequest(puts=[pb.KeyValue(key="k", value=b"x" * 300_000)]),
            pb.TxnRequest(deletes=["k" * 600]),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Txn(request, timeout=2)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Read(pb.ReadRequest(prefix="k" * 600), timeout=2)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(pb.WatchRequest(prefix="k" * 600), timeout=2).read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (await local.read("")).revision == 0


async def test_errors_of_the_store_keep_their_certainty_over_grpc() -> None:
    class Failing(MemoryStateStore):
        error: Exception = StoreAway("gone")

        async def txn(self, *_: object, **__: object):  # type: ignore[no-untyped-def,override]
            raise self.error

        async def read(self, prefix: str):  # type: ignore[no-untyped-def]
            raise StoreAway("gone")

    local = Failing(CONFIG)
    async with serving(local) as port, remote(port) as store:
        with pytest.raises(StoreAway, match="gone"):
            await store.txn([], {"a": b""})
        with pytest.raises(StoreAway, match="gone"):
            await store.read("")
        local.error = StoreInDoubt("who knows")
        with pytest.raises(StoreInDoubt, match="who knows"):
            await store.txn([], {"a": b""})


async def test_a_server_that_hangs_is_in_doubt_after_the_deadline() -> None:
    accepted = []
    server = await asyncio.start_server(lambda *streams: accepted.append(streams), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    async with remote(port) as store:
        started = loop.time()
        with pytest.raises(StoreInDoubt):
            await store.txn([], {"a": b""})
        with pytest.raises(StoreAway):
            await store.read("")
        assert loop.time() - started < 4 * CONFIG.rpc_timeout_s
    for _, writer in accepted:
        writer.close()
    server.close()


async def test_a_watch_survives_a_restart_of_the_coordinator() -> None:
    local = MemoryStateStore(CONFIG)
    async with serving(local) as port, remote(port) as store:
        hints = store.watch("")
        assert (await anext(hints)).reread
        assert (await anext(hints)).reread  # the server's own first hint
    async with remote(port) as store:
        with pytest.raises(StoreAway):
            await store.read("")
        hints = store.watch("")
        assert (await anext(hints)).reread
        waiting = asyncio.ensure_future(anext(hints))
        async with serving(local, port), asyncio.timeout(10):
            assert (await waiting).reread
            await local.txn([], {"k": b""})
            assert "k" in (await anext(hints)).entries
        async with serving(local, port), asyncio.timeout(10):
            assert (await anext(hints)).reread  # it says that it was broken
        await hints.aclose()  # type: ignore[attr-defined]


async def test_a_watch_that_is_closed_frees_its_place() -> None:
    local = MemoryStateStore(msgspec.structs.replace(CONFIG, watchers_max=1))
    async with serving(local) as port, remote(port) as store:
        first, second = store.watch(""), store.watch("")
        for _ in range(2):
            await anext(first)
        await anext(second)
        waiting = asyncio.ensure_future(anext(second))  # refused, and tried again
        await first.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            assert (await waiting).reread
            await local.txn([], {"k": b""})
            assert "k" in (await anext(second)).entries
        await second.aclose()  # type: ignore[attr-defined]


class Members:
    """Leases of units that do nothing but renew."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.alive: list[str] = []

    async def run(self) -> None:
        for beat in range(10_000):
            for incarnation in self.alive:
                lease = Lease(incarnation.partition("#")[0], "a", "r", f"n{beat}")
                await self.store.txn([], {lease_key(incarnation): encode(lease)})
            await asyncio.sleep(CONFIG.lease_s / 8)


async def configs(store: StateStore) -> list[PartitionConfig]:
    return [decode_config(kv.value) for kv in (await store.read("part/")).entries.values()]


async def until(store: StateStore, holds: Callable[[list[PartitionConfig]], bool]) -> float:
    """Waits for a table; returns when it was there."""
    async with asyncio.timeout(5):
        async for _ in store.watch("part/"):
            if holds(await configs(store)):
                break
    return asyncio.get_running_loop().time()


async def test_the_loop_creates_the_table_and_replaces_a_primary_at_once() -> None:
    store = MemoryStateStore(CONFIG)
    await ensure_grid(store, CONFIG)
    loop = ControllerLoop(store, CONFIG, MachineClock())
    members = Members(store)
    members.alive = ["unit-1#1", "unit-2#2", "unit-3#3"]
    running = [asyncio.create_task(loop.run()), asyncio.create_task(members.run())]
    try:
        await until(store, lambda table: len(table) == CONFIG.partitions)
        members.alive.remove("unit-1#1")
        died = asyncio.get_running_loop().time()
        await loop.saw_death("unit-1#1")
        deposed = await until(store, lambda table: all(c.primary != "unit-1#1" for c in table))
        assert deposed - died < CONFIG.lease_s
        members.alive.remove("unit-2#2")  # nobody sees this one
        deposed = await until(store, lambda table: all(c.primary != "unit-2#2" for c in table))
        assert deposed - died > CONFIG.lease_s
    finally:
        for task in running:
            task.cancel()


async def test_the_loop_outlives_a_store_that_is_away() -> None:
    class Flaky(MemoryStateStore):
        away = True

        async def read(self, prefix: str):  # type: ignore[no-untyped-def]
            if self.away:
                raise StoreAway("not now")
            return await super().read(prefix)

    store = Flaky(CONFIG)
    grid = encode(GridInfo("00" * 16, 4))
    await store.txn([], {GRID_KEY: grid})
    loop = ControllerLoop(store, CONFIG, MachineClock())
    members = Members(store)
    members.alive = ["unit-1#1", "unit-2#2", "unit-3#3"]
    running = [asyncio.create_task(loop.run()), asyncio.create_task(members.run())]
    try:
        await asyncio.sleep(0)
        store.away = False
        await until(store, lambda table: len(table) == 4)
    finally:
        for task in running:
            task.cancel()


async def test_journal_lengths_are_asked_for_when_there_is_a_choice() -> None:
    store = MemoryStateStore(CONFIG)
    await store.txn([], {GRID_KEY: encode(GridInfo("00" * 16, 1, backups=2))})
    await store.txn([], {part_key(0): encode(PartitionConfig(1, "a#1", ("a#1", "b#2", "c#3")))})
    for unit, number in (("a", 1), ("b", 2), ("c", 3)):
        lease = Lease(unit, "x", "y", "n")
        await store.txn([], {lease_key(f"{unit}#{number}"): encode(lease)})
    asked: list[set[str]] = []

    async def ask(_: object, candidates: Collection[str]) -> dict[str, dict[int, int]]:
        asked.append(set(candidates))
        return {"b#2": {0: 5}, "c#3": {0: 6}}

    loop = ControllerLoop(store, CONFIG, MachineClock(), ask)
    assert not await loop.round()
    assert not asked
    await loop.saw_death("a#1")
    assert await loop.round()
    assert asked == [{"b#2", "c#3"}]  # the dead one would keep the answer waiting
    assert (await configs(store))[0].primary == "c#3"


async def test_a_grid_is_made_once_and_keeps_its_identity() -> None:
    store = MemoryStateStore(CONFIG)
    first = await ensure_grid(store, CONFIG)
    assert len(bytes.fromhex(first.grid_id)) == 16
    assert await ensure_grid(store, CONFIG) == first
    changed = await ensure_grid(store, msgspec.structs.replace(CONFIG, backups=2, min_in_sync=2))
    assert (changed.grid_id, changed.backups, changed.min_in_sync) == (first.grid_id, 2, 2)
    assert decode_grid((await store.read(GRID_KEY)).entries[GRID_KEY].value) == changed
    with pytest.raises(FatalStartError, match="12 partitions, not 64"):
        await ensure_grid(store, msgspec.structs.replace(CONFIG, partitions=64))


async def start_control(data_dir: Path, port: int) -> tuple[int, dict[str, object]]:
    """A control process that is expected to fail: exit code and its line."""
    config_file = data_dir.parent / "config.json"
    config_file.write_bytes(encode_config(GridConfig(port=port, data_dir=str(data_dir))))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tupelo_grid.runtime.process", "control", "--config", str(config_file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, json.loads(out.decode().splitlines()[-1])


def free_port() -> int:
    """Of two free ones in a row, the first."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:  # somebody has the next one: look for another pair
                continue
            return int(port)


async def test_control_says_why_it_cannot_start_corrupt_state_file(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / STATE_FILE).write_bytes(b"garbage" * 1000)
    code, line = await start_control(data_dir, free_port())
    assert (code, line["ready"]) == (2, False)
    assert "corrupt" in str(line["error"])
    assert "move the file away" in str(line["hint"])


async def test_control_says_why_it_cannot_start_port_in_use(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 1))
        taken.listen()
        code, line = await start_control(tmp_path / "data", port)
    assert (code, line["ready"]) == (2, False)
    assert str(port + 1) in str(line["error"])
    assert "--port" in str(line["hint"])


async def test_control_says_why_it_cannot_start_data_dir_in_use(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with SqliteStateStore(data_dir / STATE_FILE, CONFIG):
        code, line = await start_control(data_dir, free_port())
    assert (code, line["ready"]) == (2, False)
    assert f"in use by process {os.getpid()}" in str(line["error"])


async def test_control_says_why_it_cannot_start_data_dir_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    code, line = await start_control(tmp_path / "data", free_port())
    assert (code, line["ready"]) == (2, False)
    assert line["hint"]


async def test_a_state_file_survives_kill_9_at_any_moment(tmp_path: Path) -> None:
    """Whatever was answered before the kill is there afterwards, and the file is whole."""
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tupelo_grid.config import GridConfig\n"
        "from tupelo_grid.coordinator.sqlite import SqliteStateStore\n"
        "async def main():\n"
        "    async with SqliteStateStore(Path(sys.argv[1]), GridConfig()) as store:\n"
        "        revision = (await store.read('')).revision\n"
        "        while True:\n"
        "            r = await store.txn([], {'k%d' % (revision % 50): b'%d' % (revision + 1)})\n"
        "            revision = r.revision\n"
        "            print(revision, flush=True)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "state.sqlite"
    answered = 0
    for lines in (3, 40, 150):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(path), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(lines):
            answered = int(await process.stdout.readline())
        process.kill()
        rest = (await process.stdout.read()).splitlines()
        whole = [int(line) for line in rest if line.strip().isdigit()]
        answered = max([answered, *whole[:-1]])
        await process.wait()
        async with SqliteStateStore(path, CONFIG) as store:
            snapshot = await store.read("")
        assert snapshot.revision >= answered
        assert all(int(kv.value) == kv.revision for kv in snapshot.entries.values())
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
