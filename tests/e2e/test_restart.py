"""A grid that was stopped on purpose comes back with everything it had."""

from __future__ import annotations

from pathlib import Path

import tupelo

from tests.e2e.grids import Grid


async def test_entries_survive_down_and_up(tmp_path: Path) -> None:
    grid = Grid.start(tmp_path, "--space", "carts")
    try:
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            await carts.put_many({number: {"items": number} for number in range(500)})
            await carts.delete(7)
            last = await carts.put(8, "newest")
            await carts.put(9, "brief", ttl_s=0.001)
    finally:
        grid.stop()
    grid = Grid.start(tmp_path)
    try:
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            entry = await carts.entry(8)
            assert entry is not None
            assert (entry.value, entry.version) == ("newest", last.version)
            assert await carts.get(7) is None
            assert await carts.get(9) is None
            assert await carts.count() == 498
            after = await carts.put(8, "newer")
            assert after.version > last.version
            assert after.copies == 2
    finally:
        grid.stop()
