"""`min_in_sync=2`: with one copy left writes are refused, and say so; reads go on, and so do writes
to a space that wants one copy only."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tupelo
from tupelo.errors import InvalidArgument, NotEnoughReplicas

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
            written = {f"k{n}": await client.space("carts").put(f"k{n}", n) for n in range(50)}
            await client.create_space("notes", min_in_sync=1)
            with pytest.raises(InvalidArgument, match="must be 1 to 2, not 3"):
                await client.create_space("triple", min_in_sync=3)
        assert all(one.copies == 2 for one in written.values())
        # For longer than a lease: the other unit is left with all partitions, and with no copy.
        paused = grid.processes()["unit-2"].pid
        os.kill(paused, signal.SIGSTOP)
        try:
            await asyncio.to_thread(grid.until, alone)
            # A client of its own: one that still knew the paused unit would have asked it.
            async with tupelo.connect(grid.address) as client:
                await refused(client, list(written))
                await taken(client, list(written))
        finally:
            os.kill(paused, signal.SIGCONT)
        await asyncio.to_thread(grid.until_healthy, 2)
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            for n, (key, first) in enumerate(written.items()):
                found = await carts.entry(key)
                assert found is not None
                assert (found.value, found.version) == (n, first.version)
            assert (await carts.put("k0", "again")).copies == 2
    finally:
        await asyncio.to_thread(grid.stop)


async def refused(client: tupelo.Grid, keys: list[str]) -> None:
    carts = client.space("carts")
    ends = await asyncio.gather(
        *(carts.put(key, "late", timeout_s=WRITE_S) for key in keys), return_exceptions=True
    )
    assert {type(end) for end in ends} == {NotEnoughReplicas}
    assert "1 of the 2 in-sync replicas" in str(ends[0])
    assert await carts.get_many(keys) == {key: n for n, key in enumerate(keys)}


async def taken(client: tupelo.Grid, keys: list[str]) -> None:
    """The same keys, so the same partitions, in a space that wants no other copy."""
    notes = client.space("notes")
    written = await asyncio.gather(*(notes.put(key, "now", timeout_s=WRITE_S) for key in keys))
    assert {one.copies for one in written} == {1}


@pytest.mark.parametrize("least", [0, 3])
def test_more_copies_than_there_are_is_an_error(tmp_path: Path, least: int) -> None:
    grid = Grid(tmp_path / "grid", 17_000, ("--set", f"min_in_sync={least}"))
    assert grid.started.returncode == 2
    assert "min_in_sync must be 1 to 2" in grid.started.stderr
