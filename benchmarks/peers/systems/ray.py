"""A Ray actor that holds a dict, and another that is its backup."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import ray

from benchmarks.peers.processes import descendants
from benchmarks.peers.system import About

IN_FLIGHT_MAX: Final = 1_024
STORE_BYTES: Final = 100 * 1024 * 1024


class Holder:
    """Keeps entries; with a backup, answers a write once that has it too."""

    def __init__(self, backup: Any = None) -> None:
        self._entries: dict[str, str] = {}
        self._backup = backup

    async def pid(self) -> int:
        return os.getpid()

    async def get(self, key: str) -> str | None:
        return self._entries.get(key)

    async def get_many(self, keys: list[str]) -> list[str | None]:
        return [self._entries.get(key) for key in keys]

    async def put(self, key: str, value: str) -> None:
        self._entries[key] = value
        if self._backup is not None:
            await self._backup.put.remote(key, value)

    async def put_many(self, entries: dict[str, str]) -> None:
        self._entries.update(entries)
        if self._backup is not None:
            await self._backup.put_many.remote(entries)


class RayActor:
    """Two actors on a local cluster."""

    def __init__(self, folder: Path) -> None:
        self.about = About(
            version=f"ray {ray.__version__}",
            replication="1 backup actor, which the first awaits",
            durability="none",
            client="asyncio, one actor with a dict",
        )

    async def open(self) -> None:
        await asyncio.to_thread(
            ray.init,
            num_cpus=2,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            object_store_memory=STORE_BYTES,
        )
        actor: Any = ray.remote(Holder).options(max_concurrency=IN_FLIGHT_MAX, num_cpus=0)
        backup = actor.remote()
        self._holder = actor.remote(backup)
        self._pids = [await self._holder.pid.remote(), await backup.pid.remote()]

    async def close(self) -> None:
        await asyncio.to_thread(ray.shutdown)

    def pids(self) -> list[int]:
        return descendants(os.getpid())

    def data_pids(self) -> list[int]:
        return self._pids

    async def get(self, key: str) -> Any:
        return await self._holder.get.remote(key)

    async def put(self, key: str, value: str) -> Any:
        return await self._holder.put.remote(key, value)

    async def get_many(self, keys: list[str]) -> Any:
        return await self._holder.get_many.remote(keys)

    async def put_many(self, entries: dict[str, str]) -> Any:
        return await self._holder.put_many.remote(entries)
