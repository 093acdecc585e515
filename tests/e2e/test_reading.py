"""Entries that others put into the store: read through, refreshed, and there at a cold start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tupelo
from tupelo.codec import encode_key, partition_of
from tupelo.errors import DeadlineExceeded, NotReady

from tests.e2e.grids import ROOT, Grid

UNIT = ROOT / "tests" / "persistence" / "unit"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    started = Grid.start(
        tmp_path_factory.mktemp("reading"),
        *("--unit", str(UNIT), "--set", "rpc_timeout_s=0.5", "--set", "read_through_absent_s=0.2"),
        *("--set", "read_through_s=0.3"),
        units=2,
    )
    yield started
    started.stop()


def sql(grid: Grid, text: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(grid.data_dir / "store.sqlite", timeout=10.0) as connection:
        rows = connection.execute(text).fetchall()
    connection.close()
    return rows


def insert(grid: Grid, number: int, price: int) -> None:
    """As somebody else would who knows the table: without the grid's own columns but two."""
    partition = partition_of(encode_key(number), 256)
    sql(
        grid,
        "INSERT OR REPLACE INTO stock (number, label, note, price, tupelo_version, "
        "tupelo_partition, tupelo_form) "
        f"VALUES ({number}, 'theirs', '', {price}, 1, {partition}, 1)",
    )


async def test_rows_of_others_are_entries_for_whoever_asks(grid: Grid) -> None:
    async with await tupelo.connect(grid.address) as client:
        stock = client.space("stock")
        # The first look makes the table.
        assert await stock.get(1) is None
        for number in range(2, 8):
            insert(grid, number, 10 * number)
        answers = await asyncio.gather(*(stock.get(2) for _ in range(20)))
        assert {answer["price"] for answer in answers} == {20}
        assert set(await stock.get_many([3, 4, 99])) == {3, 4}
        assert await stock.contains(5)
        mine = {"number": 6, "label": "mine", "note": "", "price": 1}
        assert await stock.put_if_absent(mine) is None
        assert (await stock.get(6))["label"] == "theirs"
        assert await client.call_with("ledger.sell", {"number": 7}) == 69
        assert await client.call_with("ledger.sell", {"number": 98}) == -1
        done = await stock.delete(5, write_through=True)
        assert done is not None
        assert sql(grid, "SELECT * FROM stock WHERE number = 5") == []
        assert await stock.get(5) is None
        assert await stock.count() == 5


async def test_a_refresh_brings_in_what_was_changed(grid: Grid) -> None:
    async with await tupelo.connect(grid.address) as client:
        stock = client.space("stock")
        for number in (20, 21, 22):
            item = {"number": number, "label": "mine", "note": "", "price": number}
            await stock.put(item, write_through=True)
        sql(grid, "UPDATE stock SET price = 5 WHERE number = 20")
        sql(grid, "DELETE FROM stock WHERE number = 21")
        insert(grid, 23, 7)
        assert (await stock.get(20))["price"] == 20
        done = grid.cli("refresh", "stock", "20", "--json")
        assert json.loads(done.stdout.splitlines()[-1])["changed"] == 1
        assert (await stock.get(20))["price"] == 5
        done = grid.cli("refresh", "stock")
        assert done.returncode == 0, done.stderr
        assert "0 changed, 1 added, 1 removed" in done.stdout
        assert await stock.get(21) is None
        assert (await stock.get(22))["price"] == 22
        assert (await stock.get(23))["price"] == 7
    assert "not declared" in grid.cli("refresh", "nothing").stderr


async def test_while_the_store_is_away_it_is_said_and_nothing_is_taken_for_missing(
    grid: Grid,
) -> None:
    async with await tupelo.connect(grid.address) as client:
        stock = client.space("stock")
        await stock.put({"number": 30, "label": "mine", "note": "", "price": 1}, write_through=True)
        messaging = grid.processes()["messaging"].pid
        os.kill(messaging, signal.SIGSTOP)
        try:
            assert (await stock.get(30))["price"] == 1
            with pytest.raises((NotReady, DeadlineExceeded)):
                await stock.get(31, timeout_s=1.0)
            # The store still has it; the grid knows better.
            assert await stock.delete(30) is not None
            assert await stock.get(30) is None
        finally:
            os.kill(messaging, signal.SIGCONT)
        assert await stock.get(31) is None
        assert await stock.get(30) is None


def hide_store(grid: Grid) -> Path:
    hidden = grid.data_dir / "hidden"
    hidden.mkdir(exist_ok=True)
    for file in grid.data_dir.glob("store.sqlite*"):
        file.rename(hidden / file.name)
    return hidden


def bring_back(grid: Grid, hidden: Path) -> None:
    for file in grid.data_dir.glob("store.sqlite*"):
        file.unlink()
    for file in hidden.iterdir():
        file.rename(grid.data_dir / file.name)


def is_loading(status: dict[str, Any]) -> bool:
    return any(unit.get("load", {}).get("error") for unit in status["units"])


async def test_a_cold_start_shows_what_it_loads_and_may_be_broken_off(grid: Grid) -> None:
    assert grid.down().returncode == 0
    # Somebody moved the store away: the grid does not come back empty.
    hidden = hide_store(grid)
    grid.arguments += ("--set", "start_timeout_s=6")
    refused = grid.up()
    assert refused.returncode != 0
    assert "the store knows no partition of this grid" in refused.stderr
    # Once more, and everything dies in the middle of it.
    starting = asyncio.create_task(asyncio.to_thread(grid.up))
    await asyncio.to_thread(until_loading, grid)
    for run in grid.processes().values():
        os.kill(run.pid, signal.SIGKILL)
    assert (await starting).returncode != 0
    bring_back(grid, hidden)
    grid.arguments += ("--set", "start_timeout_s=20")
    assert grid.up().returncode == 0, grid.logs()
    status = grid.until_healthy(units=2)
    loads = [unit["load"] for unit in status["units"]]
    assert sum(load["partitions_done"] for load in loads) == 256
    assert sum(load["partitions_left"] for load in loads) == 0
    assert sum(load["entries"] for load in loads) > 5
    async with await tupelo.connect(grid.address) as client:
        assert (await client.space("stock").get(20))["price"] == 5
        insert(grid, 50, 3)
        assert (await client.space("stock").get(50))["price"] == 3


def until_loading(grid: Grid) -> None:
    """Until units are asked for partitions that they cannot load."""
    while True:
        done = grid.cli("status", "--json", "--timeout", "1")
        if done.returncode == 0 and is_loading(json.loads(done.stdout.splitlines()[-1])):
            return
