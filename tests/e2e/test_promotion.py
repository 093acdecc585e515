"""A LOST partition serves again at an operator's word, and nothing is brought back by accident."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import tupelo

from tests.e2e.grids import Grid


def all_stored(status: dict[str, Any]) -> bool:
    return not status["pump"]["lag_records"] and not status["pump"]["error"]


async def test_a_lost_partition_is_begun_anew_from_the_store(tmp_path: Path) -> None:
    options = ("--backups", "0", "--partitions", "8", "--space", "carts")
    grid = await asyncio.to_thread(Grid.start, tmp_path, *options, units=2)
    try:
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            await carts.put_many({number: number for number in range(200)})
            await asyncio.to_thread(grid.until, all_stored)
            grid.kill("unit-1")

            def lost(status: dict[str, Any]) -> bool:
                return bool(status["partitions"]["lost"]) and len(status["units"]) == 2

            status = await asyncio.to_thread(grid.until, lost)
            numbers = status["lost_partitions"]
            assert len(numbers) == status["partitions"]["lost"] > 0

            plain = await asyncio.to_thread(grid.cli, "promote", numbers[0], "--yes")
            assert plain.returncode == 1
            assert "no living unit has anything of partition" in plain.stderr
            assert "--from-store" in plain.stderr

            unasked = await asyncio.to_thread(grid.cli, "promote", numbers[0], "--from-store")
            assert unasked.returncode == 1
            assert "Every later change is lost" in unasked.stdout
            assert "nothing was changed" in unasked.stderr

            for number in numbers:
                result = await asyncio.to_thread(
                    grid.cli, "promote", number, "--from-store", "--yes"
                )
                assert result.returncode == 0, result.stderr

            await asyncio.to_thread(grid.until, lambda s: s["partitions"]["lost"] == 0)
            # What the store had is back, and new changes follow it there.
            assert await carts.get_many(range(200)) == {number: number for number in range(200)}
            await carts.put_many({number: -number for number in range(200)})
            await asyncio.to_thread(grid.until, all_stored)
    finally:
        grid.stop()


async def test_a_member_that_returns_after_it_was_given_up_brings_nothing_back(
    tmp_path: Path,
) -> None:
    """The paused unit holds changes that the store never got; they were given up, so they stay."""
    options = ("--backups", "0", "--partitions", "8", "--space", "carts")
    slow_store = ("--set", "pump_batch_s=3600")
    grid = await asyncio.to_thread(Grid.start, tmp_path, *options, *slow_store, units=2)
    try:
        async with tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            await carts.put_many(dict.fromkeys(range(200), "only in memory"))
            pid = grid.unit_pids["unit-1"]
            os.kill(pid, signal.SIGSTOP)
            status = await asyncio.to_thread(grid.until, lambda s: s["partitions"]["lost"])
            numbers = status["lost_partitions"]
            assert len(numbers) == status["partitions"]["lost"]
            for number in numbers:
                result = await asyncio.to_thread(
                    grid.cli, "promote", number, "--from-store", "--to", "unit-2", "--yes"
                )
                assert result.returncode == 0, result.stderr
            await asyncio.to_thread(grid.until, lambda s: s["partitions"]["lost"] == 0)
            os.kill(pid, signal.SIGCONT)
            # It takes part again, and is given partitions by ordinary moves.
            await asyncio.to_thread(grid.until_healthy, 2, 30)
            found = await carts.get_many(range(200))
            assert 0 < len(found) < 200
            for number in range(200):
                await carts.put(number, "new")
            again = await carts.get_many(range(200))
            assert set(again.values()) == {"new"}
        assert "Traceback" not in grid.logs()
    finally:
        grid.stop()
