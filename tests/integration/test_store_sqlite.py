"""What only SQLite can do to the store: a locked, removed or corrupt file."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import Status, StoreAway, StoreUnusable

from tests.integration.test_store_sql import SCHEMAS, batch, put, statuses


async def test_a_locked_store_is_away_and_comes_back(tmp_path: Path) -> None:
    store = make_store(GridConfig(data_dir=str(tmp_path), rpc_timeout_s=0.05), "aa" * 16)
    await store.claim({0: 1})
    other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match="locked"):
        await store.apply([batch(0, 1, put("a", 1, 1))], SCHEMAS)
    other.execute("ROLLBACK")
    other.close()
    assert await statuses(store, batch(0, 1, put("a", 1, 1))) == [(Status.APPLIED, 1)]
    await store.close()


async def test_a_file_that_was_removed_is_neither_written_nor_read(tmp_path: Path) -> None:
    store = make_store(GridConfig(data_dir=str(tmp_path)), "aa" * 16)
    await store.claim({0: 1})
    for suffix in ("", "-wal", "-shm"):
        os.unlink(f"{tmp_path}/store.sqlite{suffix}")
    with pytest.raises(StoreAway, match="removed or replaced"):
        _ = [row async for row in store.read_rows("docs")]
    with pytest.raises(StoreAway, match="removed or replaced"):
        await store.apply([batch(0, 1, put("a", 1, 1))], SCHEMAS)
    # The next attempt finds an empty store, in which nothing is claimed.
    assert await statuses(store, batch(0, 1, put("a", 1, 1))) == [(Status.UNCLAIMED, 0)]
    await store.close()


async def test_a_file_that_becomes_corrupt_says_so(tmp_path: Path) -> None:
    store = make_store(GridConfig(data_dir=str(tmp_path)), "aa" * 16)
    await store.claim({0: 1})
    await store.close()
    path = tmp_path / "store.sqlite"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192)
    broken = make_store(GridConfig(data_dir=str(tmp_path)), "aa" * 16)
    with pytest.raises(StoreUnusable, match="corrupt"):
        await broken.claim({0: 1})
    await broken.close()
