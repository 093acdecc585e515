"""Waiting for the store, writing through to it, and what callers are told while it is away."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tupelo
import tupelo.sync
from tupelo.errors import InvalidArgument, NotPersisted, OutcomeUnknown, Overloaded

from tests.e2e.grids import ROOT, Grid

UNIT = ROOT / "tests" / "persistence" / "unit"
JOURNAL_BYTES = 400_000


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    started = Grid.start(
        tmp_path_factory.mktemp("persisting"),
        *("--unit", str(UNIT), "--space", "carts", "--set", "store_retry_s_max=0.5"),
        *("--set", f"journal_bytes_max={JOURNAL_BYTES}", "--set", "rpc_timeout_s=0.5"),
    )
    yield started
    started.stop()


@contextmanager
def store_away(grid: Grid) -> Iterator[None]:
    lock = sqlite3.connect(
        grid.data_dir / "store.sqlite", timeout=10.0, isolation_level=None, check_same_thread=False
    )
    lock.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


def rows(grid: Grid, table: str) -> int:
    with sqlite3.connect(grid.data_dir / "store.sqlite") as connection:
        [(count,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    connection.close()
    return int(count)


async def test_a_write_is_waited_for_until_the_store_has_it(grid: Grid) -> None:
    async with await tupelo.connect(grid.address) as client:
        carts = client.space("carts")
        before = await carts.put("before", 1)
        await carts.wait_persisted(before)
        await carts.wait_persisted(before.token)
        with store_away(grid):
            late = await carts.put("late", 1)
            many = await carts.put_many({f"late{n}": n for n in range(20)})
            started = time.monotonic()
            with pytest.raises(NotPersisted) as caught:
                await carts.wait_persisted(late, timeout_s=1.5)
            assert 1.4 < time.monotonic() - started < 4.0
            error = caught.value
            assert isinstance(error, OutcomeUnknown)
            assert "the write is in the grid" in error.message
            assert error.fields["lag_records"] >= 1
            assert error.fields["lag_s"] > 0
            assert "locked" in error.fields["cause"]
            await carts.wait_persisted(before)
            waiting = asyncio.create_task(carts.wait_persisted(many, timeout_s=20))
            assert await carts.get("late") == 1
        await waiting
        await carts.wait_persisted(late, timeout_s=20)
        assert rows(grid, "carts") == 22
        unstored = await client.create_space("unstored", persist=False)
        written = await unstored.put("a", 1)
        with pytest.raises(InvalidArgument, match="not stored"):
            await unstored.wait_persisted(written)


async def test_write_through_answers_when_the_store_has_it(grid: Grid) -> None:
    async with await tupelo.connect(grid.address) as client:
        carts = client.space("carts")
        before = rows(grid, "carts")
        await carts.put("through", 1, write_through=True)
        assert rows(grid, "carts") == before + 1
        await carts.put_many({f"through{n}": n for n in range(50)}, write_through=True)
        assert rows(grid, "carts") == before + 51
        assert await carts.delete("through", write_through=True) is not None
        assert rows(grid, "carts") == before + 50
        await client.call_with("ledger.bump", {"number": 1, "operation": "x"}, write_through=True)
        assert rows(grid, "audited") == 1
        with store_away(grid):
            with pytest.raises(NotPersisted):
                await carts.put("through", 2, write_through=True, timeout_s=1.0)
            assert await carts.get("through") == 2


async def test_a_space_may_be_declared_write_through(grid: Grid) -> None:
    async with await tupelo.connect(grid.address) as client:
        receipts = client.space("receipts")
        await receipts.put({"number": 1, "bumps": 0, "last": ""})
        assert rows(grid, "receipts") == 1
        # A command that writes to it waits, too; others of the grid do not.
        await client.call("ledger.receipt", number=2)
        assert rows(grid, "receipts") == 2
        with store_away(grid):
            with pytest.raises(NotPersisted):
                await client.call_with("ledger.receipt", {"number": 3}, timeout_s=1.0)
            started = time.monotonic()
            assert await client.call("ledger.look", number=3) == 1
            await client.call("ledger.bump", number=3, operation="y")
            assert time.monotonic() - started < 0.9


def test_the_blocking_client_and_the_row_calls_do_the_same(grid: Grid) -> None:
    with tupelo.sync.connect(grid.address) as client:
        carts = client.space("carts")
        carts.wait_persisted(carts.put("blocking", 1))
        client.call_with("ledger.receipt", {"number": 70})
        assert grid.cli("drain", "--timeout", "20").returncode == 0
        before = rows(grid, "receipts")
        client.space("receipts").put({"number": 77, "bumps": 0, "last": ""})
        assert rows(grid, "receipts") == before + 1
    entry = '{"number": 78, "bumps": 0, "last": ""}'
    assert grid.cli("put", "receipts", "78", entry).returncode == 0
    assert rows(grid, "receipts") == before + 2


async def test_a_full_journal_says_how_far_the_store_is_behind_and_why(grid: Grid) -> None:
    async with await tupelo.connect(grid.address) as client:
        carts = client.space("carts")
        with store_away(grid):
            said = ""
            for number in range(400):
                try:
                    await carts.put(f"big{number % 50}", "x" * 20_000, timeout_s=0.3)
                except Overloaded as error:
                    said = str(error)
                    if "locked" in said:
                        break
            for word in ("records", "MiB", " s;", "journal_bytes_max", "locked"):
                assert word in said, said
            assert await carts.get("late") == 1, "reads go on"
            drained = await asyncio.to_thread(grid.cli, "drain", "--timeout", "1.5")
            assert drained.returncode == 1
            assert " left, " in drained.stdout
            assert "locked" in drained.stderr
        drained = await asyncio.to_thread(grid.cli, "drain", "--timeout", "20")
        assert drained.returncode == 0, drained.stderr
        await carts.put("after", 1, timeout_s=10)


def test_the_lag_is_shown_by_partition(grid: Grid) -> None:
    assert grid.cli("drain", "--timeout", "20").returncode == 0
    with tupelo.sync.connect(grid.address) as client, store_away(grid):
        for _ in range(3):
            written = client.space("carts").put("lagging", "x" * 1000)
        pump = grid.until(lambda status: status["pump"]["lag_s"] > 0.1)["pump"]
        assert (pump["lag_records"], pump["lag_records_max"]) == (3, 3), pump
        assert pump["lag_partition"] == written.token.partition
        # About: as if all records of a journal were of one size.
        assert 1000 < pump["lag_bytes_max"] == pump["lag_bytes"] < 5000
        lines = grid.cli("status", "--lags").stdout.splitlines()
        [line] = [line for line in lines if line.split()[:1] == [str(written.token.partition)]]
        assert line.split()[3] == "3"


def test_down_says_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUPELO_DRAIN_S", "1.5")
    own = Grid.start(tmp_path, "--space", "carts", "--set", "drain_s=1.5", units=2)
    try:
        assert own.cli("drain").returncode == 0
        with tupelo.sync.connect(own.address) as client, store_away(own):
            client.space("carts").put("b", 1)
            down = own.down()
    finally:
        own.stop()
    # A drained store may lack the no-op before it.
    assert re.search("draining: 1 partition left, [12] records?", down.stdout), down.stdout
    assert down.returncode == 1
    assert "did not reach the store" in down.stderr
