"""Apache Ignite: two nodes, a partitioned cache with one backup that is waited for."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pyignite import AioClient
from pyignite.datatypes import String
from pyignite.datatypes.cache_config import CacheAtomicityMode, CacheMode, WriteSynchronizationMode
from pyignite.datatypes.prop_codes import (
    PROP_BACKUPS_NUMBER,
    PROP_CACHE_ATOMICITY_MODE,
    PROP_CACHE_MODE,
    PROP_NAME,
    PROP_READ_FROM_BACKUP,
    PROP_WRITE_SYNCHRONIZATION_MODE,
)

from benchmarks.peers.processes import free_port
from benchmarks.peers.system import About
from benchmarks.peers.systems.jvm import Cluster

SOURCE: Final = Path(__file__).with_name("Node.java")
NODES: Final = 2


class Ignite:
    """The thin client on asyncio, which knows the owner of a key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = Cluster("ignite", folder)
        server = self._cluster.version("ignite-core")
        self.about = About(
            version=f"Ignite {server}, pyignite {version('pyignite')}",
            replication="1 backup, FULL_SYNC, atomic cache, 2 nodes",
            durability="none",
            client="asyncio thin client, partition aware",
        )

    async def open(self) -> None:
        clients = [free_port() for _ in range(NODES)]
        finding = [free_port() for _ in range(NODES)]
        for number in range(NODES):
            ports = [clients[number], finding[number], free_port(), *finding]
            words = [str(SOURCE), f"node-{number}", str(self._folder), *map(str, ports)]
            await asyncio.to_thread(self._cluster.start, f"node-{number}", words, clients[number])
        self._client = AioClient(partition_aware=True)
        await self._client.connect([("127.0.0.1", port) for port in clients])
        self._cache: Any = await self._client.create_cache(
            {
                PROP_NAME: "bench",
                PROP_CACHE_MODE: CacheMode.PARTITIONED,
                PROP_CACHE_ATOMICITY_MODE: CacheAtomicityMode.ATOMIC,
                PROP_BACKUPS_NUMBER: 1,
                PROP_WRITE_SYNCHRONIZATION_MODE: WriteSynchronizationMode.FULL_SYNC,
                PROP_READ_FROM_BACKUP: False,
            }
        )

    async def close(self) -> None:
        if hasattr(self, "_client"):
            await self._client.close()
        await asyncio.to_thread(self._cluster.stop)

    def pids(self) -> list[int]:
        return self._cluster.pids

    def data_pids(self) -> list[int]:
        return self.pids()

    async def get(self, key: str) -> Any:
        return await self._cache.get(key, key_hint=String)

    async def put(self, key: str, value: str) -> Any:
        return await self._cache.put(key, value, key_hint=String, value_hint=String)

    async def get_many(self, keys: list[str]) -> Any:
        return await self._cache.get_all(keys)

    async def put_many(self, entries: dict[str, str]) -> Any:
        return await self._cache.put_all(entries)
