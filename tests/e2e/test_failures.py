"""Processes die, one at a time, under load: what was acknowledged stays, and service goes on."""

import asyncio
import signal
import subprocess

import msgspec
from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.runfiles import live_processes
from tupelo_grid.store.factory import make_store

from tests.e2e.grids import FAST, TUPELO, Grid, free_port, gone
from tests.e2e.load import Load


def in_thread(function, *arguments):
    return asyncio.to_thread(function, *arguments)


async def test_a_killed_unit_is_replaced_and_nothing_acknowledged_is_missing(own_grid):
    async with Load(own_grid.address) as load:
        await load.more(500)
        load.pause_s = 0.0
        killed = own_grid.kill("unit-2")
        await load.more(1000)
        # Back again, empty and under a new incarnation, and in sync once more.
        status = await in_thread(own_grid.until_healthy)
        await load.more(500)
        await load.finish()
        assert load.pause_s < 4
        assert load.errors == []
        assert await load.missing() == {}
    again = own_grid.processes()["unit-2"]
    assert again.pid != killed.pid
    assert again.incarnation != killed.incarnation
    assert {unit["incarnation"] for unit in status["units"]} == {
        run.incarnation for run in own_grid.processes().values() if run.role == "unit"
    }


async def test_every_unit_in_turn(own_grid):
    async with Load(own_grid.address) as load:
        for name in ("unit-1", "unit-2", "unit-3"):
            await load.more(300)
            own_grid.kill(name)
            await load.more(300)
            await in_thread(own_grid.until_healthy)
        await load.finish()
        assert load.errors == []
        assert await load.missing() == {}


async def test_messaging_dies_and_comes_back(own_grid):
    async with Load(own_grid.address) as load:
        await load.more(200)
        own_grid.kill("messaging")
        await load.more(500)  # clients that know the units do not need it

        def stored(status):
            return status["pump"]["store"] and not status["warnings"]

        await in_thread(own_grid.until, stored)
        await load.finish()
        assert load.errors == []
        assert await load.missing() == {}

    def drained(status):
        return status["pump"]["lag_records"] == 0

    await in_thread(own_grid.until, drained)


async def test_control_dies_service_goes_on_and_the_next_one_takes_over(own_grid):
    before = own_grid.processes()
    async with Load(own_grid.address) as load:
        await load.more(200)
        own_grid.kill("control")
        await asyncio.sleep(3)  # three leases
        await load.more(500)
        status = await in_thread(own_grid.status)
        assert any("control" in warning for warning in status["warnings"])
        result = await in_thread(own_grid.up)
        assert result.returncode == 0, result.stderr
        await in_thread(own_grid.until_healthy)
        await load.more(500)
        await load.finish()
        assert load.errors == []
        assert await load.missing() == {}
    after = own_grid.processes()
    assert before.pop("control") != after.pop("control")
    assert before == after
    # What it adopted it also watches.
    own_grid.kill("unit-1")
    await in_thread(own_grid.until_healthy)


async def test_scale_up_and_down_under_load(own_grid):
    async with Load(own_grid.address) as load:
        await load.more(200)
        result = await in_thread(own_grid.cli, "scale", 4)
        assert result.returncode == 0, result.stderr

        def even(status):
            primaries = [unit["primaries"] for unit in status["units"]]
            return len(primaries) == 4 and max(primaries) - min(primaries) <= 1

        await in_thread(own_grid.until, even)
        await in_thread(own_grid.until_healthy, 4)
        result = await in_thread(own_grid.cli, "scale", 3)
        assert result.returncode == 0, result.stderr
        await in_thread(own_grid.until_healthy, 3)
        await load.more(200)
        await load.finish()
        assert load.errors == []
        assert await load.missing() == {}
    assert sorted(own_grid.unit_pids) == ["unit-1", "unit-2", "unit-3"]


def test_down_leaves_no_process_and_the_store_has_everything(own_grid):
    runs = own_grid.processes()
    assert sorted(runs) == ["control", "messaging", "unit-1", "unit-2", "unit-3"]
    assert own_grid.cli("put", "carts", "last", "1").returncode == 0
    result = own_grid.down()
    assert result.returncode == 0, result.stderr
    assert gone(runs)
    assert live_processes(own_grid.data_dir) == {}


async def test_down_under_load_leaves_every_acknowledged_write_in_the_store(own_grid):
    async with Load(own_grid.address, timeout_s=1.0) as load:
        await load.more(500)
        result = await in_thread(own_grid.down)
        await load.finish()
    assert result.returncode == 0, result.stderr
    rows = await stored_rows(own_grid.data_dir, "carts")
    missing = {key for key, value in load.acknowledged.items() if rows.get(key) != value}
    assert missing == set()


async def stored_rows(data_dir, space):
    """What a store has of an untyped space, by key."""
    store = make_store(GridConfig(data_dir=str(data_dir)))
    await store.open()
    try:
        return {
            msgspec.msgpack.decode(key): msgspec.msgpack.decode(value)
            async for key, value, _, _ in store.read_rows(space)
        }
    finally:
        await store.close()


def test_down_stops_what_a_killed_control_process_left_and_loses_nothing(own_grid):
    runs = own_grid.processes()
    assert own_grid.cli("put", "carts", "ann", "1").returncode == 0
    own_grid.kill("control")
    result = own_grid.down()
    assert result.returncode == 0, result.stderr
    assert gone(runs)
    assert live_processes(own_grid.data_dir) == {}
    again = own_grid.up()
    assert again.returncode == 0, again.stderr
    assert own_grid.cli("get", "carts", "ann").stdout == "1\n"


def test_ctrl_c_in_the_foreground_stops_everything(tmp_path):
    port = free_port()
    options = ["--port", str(port), "--data-dir", str(tmp_path), "--units", "2", *FAST]
    with subprocess.Popen([*TUPELO, "up", *options], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        runs = live_processes(tmp_path)
        assert len(runs) == 4
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=30) == 0
    assert "draining" in rest
    assert "stopped" in rest
    assert gone(runs)


def test_one_unit_serves_without_a_backup_and_says_so(tmp_path):
    grid = Grid.start(tmp_path, units=1)
    try:
        assert grid.cli("put", "default", "1", "2").returncode == 0
        status = grid.status()
        assert status["partitions"]["under_replicated"] == 256
        assert any("tupelo scale 2" in warning for warning in status["warnings"])
    finally:
        grid.stop()
