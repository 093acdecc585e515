"""valkey-glide: the client with a Rust core, on Redis."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from glide import Batch, GlideClient, GlideClientConfiguration, NodeAddress

from benchmarks.peers.system import About
from benchmarks.peers.systems.fence import Fence
from benchmarks.peers.systems.redis_server import RedisServers

TIMEOUT_MS: Final = 10_000
WAIT_MS: Final = "5000"


class Glide:
    """One multiplexed connection, as its documents advise, and one for WAIT, which blocks."""

    get: Any

    _putting = 0

    def __init__(self, folder: Path) -> None:
        self._servers = RedisServers(folder)

    async def open(self) -> None:
        self.about = About(
            version=f"{self._servers.version}, valkey-glide {version('valkey-glide')}",
            replication="1 replica; each write waits for WAIT 1 (one WAIT for all that wait)",
            durability="none: no snapshots, no append-only file",
            client="asyncio, one multiplexed connection",
        )
        await asyncio.to_thread(self._servers.start)
        self._client = await self._make()
        self._fences = await self._make()
        self._fence = Fence(self._pass_fence)
        self.get = self._client.get

    async def _make(self) -> GlideClient:
        address = NodeAddress("127.0.0.1", self._servers.port)
        return await GlideClient.create(
            GlideClientConfiguration([address], request_timeout=TIMEOUT_MS)
        )

    async def close(self) -> None:
        for name in ("_client", "_fences"):
            if hasattr(self, name):
                await getattr(self, name).close()
        await asyncio.to_thread(self._servers.stop)

    def pids(self) -> list[int]:
        return self._servers.pids

    def data_pids(self) -> list[int]:
        return self._servers.pids

    async def _pass_fence(self) -> None:
        batch = Batch(is_atomic=False)
        batch.set("fence", "")
        batch.custom_command(["WAIT", "1", WAIT_MS])
        await self._sent(self._fences, batch)

    async def _sent(self, client: GlideClient, batch: Batch) -> None:
        answers = await client.exec(batch, raise_on_error=True)
        if not answers or answers[-1] != 1:
            raise RuntimeError(f"no replica: WAIT 1 was answered {answers and answers[-1]!r}")

    async def put(self, key: str, value: str) -> Any:
        if self._putting:
            self._putting += 1
            try:
                await self._client.set(key, value)
                await self._fence.passed()
            finally:
                self._putting -= 1
        else:
            await self._put_alone(key, value)

    async def _put_alone(self, key: str, value: str) -> None:
        """Nobody to share a WAIT with: one round trip instead of two."""
        self._putting += 1
        try:
            await self.put_many({key: value})
        finally:
            self._putting -= 1

    async def get_many(self, keys: list[str]) -> Any:
        batch = Batch(is_atomic=False)
        for key in keys:
            batch.get(key)
        return await self._client.exec(batch, raise_on_error=True)

    async def put_many(self, entries: dict[str, str]) -> Any:
        batch = Batch(is_atomic=False)
        for key, value in entries.items():
            batch.set(key, value)
        batch.custom_command(["WAIT", "1", WAIT_MS])
        await self._sent(self._client, batch)
