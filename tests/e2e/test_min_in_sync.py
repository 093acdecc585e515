"""`min_in_sync=2`: with one copy left writes are refused, and say so; reads go on."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tupelo
from tupelo.errors import NotEnoughReplicas

from tests.e2e.grids import Grid

PARTITIONS = 16
WRITE_S = 2.0


def alone(status: dict[str, Any]) -> bool:
    """Every partition has a primary, and no copy."""
    return bool(status["partitions"]["under_replicated"] == PARTITIONS)


async def test_writes_are_refused_while_only_one_copy_exists(tmp_path: Path) -> None:
    options = ("--space", "carts", "--set", "min_in_sync=2", "--set", f"partitions={PARTITIONS}")
    grid = await asyncio.to_thread(lambda: Grid.start(tmp_path, *options, units=2))
    try:
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            written = {f"k{n}": await carts.put(f"k{n}", n) for n in range(50)}
            assert all(one.copies == 2 for one in written.values())
            # Paused for longer than a lease: the other unit is left with all partitions, alone.
            paused = grid.processes()["unit-2"].pid
            os.kill(paused, signal.SIGSTOP)
            try:
                await asyncio.to_thread(grid.until, alone)
                refused = await asyncio.gather(
                    *(carts.put(key, "late", timeout_s=WRITE_S) for key in written),
                    return_exceptions=True,
                )
                assert {type(one) for one in refused} == {NotEnoughReplicas}
                assert "min_in_sync" in str(refused[0])
                assert await carts.get_many(list(written)) == {
                    key: n for n, key in enumerate(written)
                }
            finally:
                os.kill(paused, signal.SIGCONT)
            await asyncio.to_thread(grid.until_healthy, 2)
            for n, key in enumerate(written):
                found = await carts.entry(key)
                assert (found.value, found.version) == (n, written[key].version)
            again = await carts.put("k0", "again")
            assert again.copies == 2
    finally:
        await asyncio.to_thread(grid.stop)


@pytest.mark.parametrize("least", [0, 3])
def test_more_copies_than_there_are_is_an_error(tmp_path: Path, least: int) -> None:
    grid = Grid(tmp_path / "grid", 17_000, ("--set", f"min_in_sync={least}"))
    assert grid.started.returncode == 2
    assert "min_in_sync must be 1 to 2" in grid.started.stderr
