"""A grid whose changes go to the store through NATS JetStream."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from pathlib import Path
from typing import Any

from tupelo.codec import encode_key, encode_value
from tupelo_grid.config import GridConfig
from tupelo_grid.store.factory import make_store

from tests.e2e.grids import Grid
from tests.e2e.load import Load
from tests.engines.nats import MakeServer, make_nats  # noqa: F401


async def in_thread(work: Any, *arguments: Any) -> Any:
    return await asyncio.to_thread(functools.partial(work, *arguments))


async def stored_rows(data_dir: Path) -> dict[bytes, tuple[bytes, int]]:
    """What the store has of the space: value and version by key, as bytes."""
    store = make_store(GridConfig(data_dir=str(data_dir)))
    await store.open()
    try:
        return {key: (value, version) async for key, value, version, _ in store.read_rows("carts")}
    finally:
        await store.close()


def waits(status: dict[str, Any]) -> bool:
    return status["pump"]["lag_records"] > 0 and any(
        "the store is away" in warning for warning in status["warnings"]
    )


async def test_nats_a_unit_and_a_writer_die_and_the_store_has_what_the_grid_has(
    tmp_path: Path,
    make_nats: MakeServer,  # noqa: F811
) -> None:
    server = make_nats()
    options = ("--space", "carts", "--writers", "2", "--set", "pump_transport=nats")
    options += ("--set", f"nats_url={server.url}", "--set", "nats_writer_s=1")
    options += ("--set", "nats_retry_s_max=0.5")
    grid = await in_thread(Grid.start, tmp_path, *options)
    try:
        async with Load(grid.address, tasks=16) as load:
            await load.more(200)
            server.kill()
            await load.more(100)
            await in_thread(grid.until, waits)
            await in_thread(grid.kill, "unit-2")
            await load.more(200)
            server.start()
            writer = (await in_thread(grid.processes))["writer-1"]
            os.kill(writer.pid, signal.SIGKILL)
            await load.more(200)
            await load.finish()
            for key in list(load.acknowledged)[::7]:
                await load.space.delete(key)
                del load.acknowledged[key]
            assert not load.errors
            assert not await load.missing()
            await in_thread(grid.until, lambda status: not status["pump"]["lag_records"])
            stored = await stored_rows(grid.data_dir)
            expected = {}
            for key in load.acknowledged:
                entry = await load.space.entry(key)
                assert entry is not None
                expected[encode_key(key)] = (encode_value(entry.value), entry.version)
            assert stored == expected
    finally:
        grid.stop()
