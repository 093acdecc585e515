"""Every unit is restarted under load, and no client notices."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.e2e.grids import Grid
from tests.e2e.load import Load


async def test_all_units_are_restarted_under_load_and_no_call_fails(own_grid: Grid) -> None:
    before = own_grid.processes()
    async with Load(own_grid.address) as load:
        await load.more(300)
        result = await asyncio.to_thread(own_grid.cli, "restart", "--rolling")
        assert result.returncode == 0, f"{result.stderr}\n{own_grid.logs()}"
        await load.more(300)
        await load.finish()
        assert load.errors == []
        assert await load.missing() == {}
    assert "unit-2 (2 of 3): hands its partitions over" in result.stdout
    assert "3 units restarted" in result.stdout
    after = own_grid.processes()
    assert after["messaging"] == before["messaging"]
    for name in ("unit-1", "unit-2", "unit-3"):
        assert after[name].incarnation != before[name].incarnation
    # Ordered restarts are no deaths: nothing is wrong, and the next one may follow at once.
    status = await asyncio.to_thread(own_grid.until_healthy)
    assert status["warnings"] == []


async def test_a_grid_that_is_not_healthy_is_not_restarted_unless_forced(own_grid: Grid) -> None:
    pid = own_grid.unit_pids["unit-2"]
    os.kill(pid, signal.SIGSTOP)
    try:
        # Until its backups were taken out of sync, and its partitions have other primaries.
        await asyncio.to_thread(
            own_grid.until, lambda status: any("unit-2" in one for one in status["warnings"])
        )
        before = own_grid.unit_pids
        result = await asyncio.to_thread(own_grid.cli, "restart", "--rolling")
        assert result.returncode == 1
        assert "not healthy: unit-2 does not run" in result.stderr
        assert "--force" in result.stderr
        assert own_grid.unit_pids == before
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_single_unit_has_nobody_to_hand_over_to(tmp_path: Path) -> None:
    grid = Grid.start(tmp_path, units=1)
    try:
        before = grid.unit_pids
        result = grid.cli("restart", "--rolling", "--force")
        assert result.returncode == 1
        assert "tupelo scale 2" in result.stderr
        assert grid.unit_pids == before
    finally:
        grid.stop()
