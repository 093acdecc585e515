"""The state file is lost or corrupt while units run: it is made anew from what they hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.e2e.grids import Grid, tupelo
from tests.e2e.load import Load

STATE = "state.sqlite"


def rebuild(grid: Grid) -> tuple[int, str, str]:
    result = tupelo("rebuild-state", "--data-dir", grid.data_dir, "--port", grid.port)
    return result.returncode, result.stdout, result.stderr


def damage(state: Path, gone: bool = False) -> None:
    """SQLite could mend the file from what it keeps beside it."""
    for suffix in ("-wal", "-shm"):
        state.with_name(state.name + suffix).unlink(missing_ok=True)
    if gone:
        state.unlink()
    else:
        state.write_bytes(b"this was a state file once " * 400)


@pytest.mark.parametrize("gone", [False, True])
async def test_running_units_bring_the_state_back_under_load(own_grid: Grid, gone: bool) -> None:
    state = own_grid.data_dir / STATE
    before = own_grid.processes()
    async with Load(own_grid.address) as load:
        await load.more(300)
        own_grid.kill("control")
        damage(state, gone)
        failed = await asyncio.to_thread(own_grid.up)
        assert failed.returncode != 0
        assert "tupelo rebuild-state" in failed.stderr
        code, said, complaint = await asyncio.to_thread(rebuild, own_grid)
        assert code == 0, complaint
        assert "256 partitions is rebuilt from 3 units, 0 of them are LOST" in said
        kept = list(own_grid.data_dir.glob(f"{STATE}.corrupt-*Z"))
        assert len(kept) == (0 if gone else 1)
        await load.more(300)
        result = await asyncio.to_thread(own_grid.up)
        assert result.returncode == 0, f"{result.stderr}\n{own_grid.logs()}"
        await asyncio.to_thread(own_grid.until_healthy)
        await load.more(300)
        await load.finish()
        assert load.errors == []
        assert await load.missing() == {}
    after = own_grid.processes()
    assert before.pop("control") != after.pop("control")
    assert before == after
    # Fail-over works by the new state, and no incarnation comes twice.
    killed = own_grid.kill("unit-1")
    await asyncio.to_thread(own_grid.until_healthy)
    number = int(own_grid.processes()["unit-1"].incarnation.partition("#")[2])
    assert number > int(killed.incarnation.partition("#")[2]) + 3


async def test_what_a_dead_unit_may_have_taken_over_is_left_lost(own_grid: Grid) -> None:
    async with Load(own_grid.address) as load:
        await load.more(300)
        await load.finish()
        own_grid.kill("control")
        own_grid.kill("unit-3")
        damage(own_grid.data_dir / STATE)
        code, said, complaint = await asyncio.to_thread(rebuild, own_grid)
        assert code == 0, complaint
        assert "unit-3#" in said
        result = await asyncio.to_thread(own_grid.up)
        # It runs, and what is lost is said.
        assert result.returncode == 1, f"{result.stderr}\n{own_grid.logs()}"
        assert "partitions are LOST" in result.stderr
        status = await asyncio.to_thread(own_grid.status)
        assert 0 < status["partitions"]["lost"] < 256
        # What only the dead unit may have gone on with is kept for the operator.
        assert any("tupelo promote" in one for one in status["warnings"])
        number = status["lost_partitions"][0]
        result = await asyncio.to_thread(own_grid.cli, "promote", number, "--yes")
        assert result.returncode == 0, f"{result.stderr}\n{own_grid.logs()}"
        assert "living replica" in result.stdout

        def fewer(now: dict) -> bool:
            return now["partitions"]["lost"] == status["partitions"]["lost"] - 1

        await asyncio.to_thread(own_grid.until, fewer)


def test_a_sound_file_and_a_living_control_are_left_alone(own_grid: Grid) -> None:
    state = own_grid.data_dir / STATE
    code, _, complaint = rebuild(own_grid)
    assert code == 1
    assert "kill -9" in complaint
    own_grid.kill("control")
    code, _, complaint = rebuild(own_grid)
    assert code == 1
    assert "is sound" in complaint
    assert state.exists()
    assert own_grid.up().returncode == 0


def test_without_units_there_is_nothing_to_rebuild_from(tmp_path: Path) -> None:
    result = tupelo("rebuild-state", "--data-dir", tmp_path)
    assert result.returncode == 1
    assert "no unit runs" in result.stderr
