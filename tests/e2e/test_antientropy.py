"""Under load, backups are compared with their primaries all the time, and never differ."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.e2e.grids import Grid
from tests.e2e.load import Load


def compared(status: dict[str, Any]) -> int:
    return sum(unit["counters"]["digests_compared"] for unit in status["units"])


async def test_digests_are_compared_under_load_and_are_equal(tmp_path: Path) -> None:
    options = ("--space", "carts", "--set", "digest_interval_s=0.5")
    grid = await asyncio.to_thread(Grid.start, tmp_path, *options)
    try:
        async with Load(grid.address) as load:
            await load.more(300)
            status = await asyncio.to_thread(grid.until, lambda now: compared(now) > 100, 60)
            await load.finish()
            assert load.errors == []
        assert [unit["counters"]["digest_mismatches"] for unit in status["units"]] == [0, 0, 0]
        assert "differs" not in grid.logs()
    finally:
        grid.stop()
