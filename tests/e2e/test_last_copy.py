"""A unit that was told to stop while it had the only copies, in a grid that goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tupelo
import tupelo.sync
from tupelo.errors import PartitionLost

from tests.e2e.grids import Grid

PARTITIONS = 8


def parts_are(**numbers: int) -> Any:
    return lambda status: all(status["partitions"][name] == n for name, n in numbers.items())


async def refuses_as_lost(client: tupelo.Grid, key: str) -> None:
    """Whatever is asked, and not before the call's time is over: it might come back."""
    space = client.space("fleeting")
    for call in (
        space.get(key, timeout_s=0.4),
        space.put(key, 2, timeout_s=0.4),
        space.put_many({key: 2}, timeout_s=0.4),
    ):
        with pytest.raises(PartitionLost):
            await call


async def test_what_it_had_brought_to_the_store_comes_back_by_itself(tmp_path: Path) -> None:
    """But for the partition with an entry that is in no store: that one says that it is lost."""
    options = ("--space", "carts", "--set", f"partitions={PARTITIONS}")
    grid = Grid.start(tmp_path, *options, units=1)
    try:
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            written = {key: await carts.put(key, {"n": key}) for key in range(100)}
            fleeting = await client.create_space("fleeting", persist=False)
            lost = (await fleeting.put("x", 1)).token.partition
        before = grid.processes()["unit-1"]
        os.kill(before.pid, signal.SIGTERM)
        grid.until(parts_are(under_replicated=PARTITIONS - 1, lost=1))
        assert grid.processes()["unit-1"].incarnation != before.incarnation
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            for key, first in written.items():
                if first.token.partition == lost:
                    continue
                found = await carts.entry(key)
                assert found is not None
                assert (found.value, found.version) == ({"n": key}, first.version)
                assert (await carts.put(key, "newer")).version > first.version
            await refuses_as_lost(client, "x")
            assert (await client.status()).partitions.lost == 1
        async with tupelo.connect(grid.address, routing="router") as client:
            await refuses_as_lost(client, "x")
        with tupelo.sync.connect(grid.address) as blocking, pytest.raises(PartitionLost):
            blocking.space("fleeting").get("x", timeout_s=0.4)
    finally:
        grid.stop()
