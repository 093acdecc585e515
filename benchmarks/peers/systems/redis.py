"""redis-py: asyncio with and without hiredis, MGET/MSET, and the synchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, cast

import hiredis
import redis
from redis._parsers import _AsyncHiredisParser, _AsyncRESP2Parser
from redis.asyncio import Connection, ConnectionPool, Redis

from benchmarks.peers.system import About
from benchmarks.peers.systems.fence import Fence
from benchmarks.peers.systems.redis_server import RedisServers

CONNECTIONS: Final = 1_024
"""The most; redis-py takes a connection for each call in flight. With fewer connections than
tasks, by a pool that waits for one, it was slower: 6,900/s instead of 8,200/s at 64 tasks."""
WAIT_MS: Final = 5_000
ATTEMPTS_MAX: Final = 1_000

LUA: Final = """
local found = redis.call('MGET', unpack(KEYS))
local total = 0
local changed = {}
for i, key in ipairs(KEYS) do
  local account = cjson.decode(found[i])
  total = total + account.balance
  account.balance = account.balance + ARGV[1]
  changed[2 * i - 1] = key
  changed[2 * i] = cjson.encode(account)
end
redis.call('MSET', unpack(changed))
return total
"""


class NoReplica(Exception):
    """WAIT 1 was answered 0."""


class _Base:
    """What the forms have in common."""

    parser: Any = _AsyncHiredisParser
    label = "hiredis"
    get: Any

    _putting = 0

    def __init__(self, folder: Path) -> None:
        self._servers = RedisServers(folder)

    def _about(self, client: str) -> About:
        return About(
            version=f"{self._servers.version}, redis-py {redis.__version__}",
            replication="1 replica; each write waits for WAIT 1 (one WAIT for all that wait)",
            durability="none: no snapshots, no append-only file",
            client=client,
        )

    async def open(self) -> None:
        self.about = self._about(f"asyncio, {self.label}, a connection for each call in flight")
        await asyncio.to_thread(self._servers.start)
        self._client = self._make(CONNECTIONS)
        self._fences = self._make(1)
        self._fence = Fence(self._pass_fence)
        self.get = self._client.get

    def _make(self, connections: int) -> Redis:
        pool = ConnectionPool(
            host="127.0.0.1",
            port=self._servers.port,
            max_connections=connections,
            connection_class=Connection,
            parser_class=self.parser,
        )
        return Redis(connection_pool=pool)

    async def close(self) -> None:
        if hasattr(self, "_fences"):
            await self._client.aclose()
            await self._fences.aclose()
        await asyncio.to_thread(self._servers.stop)

    def pids(self) -> list[int]:
        return self._servers.pids

    def data_pids(self) -> list[int]:
        return self._servers.pids

    async def _pass_fence(self) -> None:
        pipe = self._fences.pipeline(transaction=False)
        pipe.set("fence", b"")
        pipe.execute_command("WAIT", 1, WAIT_MS)
        if (await pipe.execute())[1] < 1:
            raise NoReplica(f"no replica within {WAIT_MS} ms")

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
            pipe = self._client.pipeline(transaction=False)
            pipe.set(key, value)
            await self._executed_with_wait(pipe)
        finally:
            self._putting -= 1

    async def get_many(self, keys: list[str]) -> Any:
        pipe = self._client.pipeline(transaction=False)
        for key in keys:
            pipe.get(key)
        return await pipe.execute()

    async def put_many(self, entries: dict[str, str]) -> Any:
        pipe = self._client.pipeline(transaction=False)
        for key, value in entries.items():
            pipe.set(key, value)
        await self._executed_with_wait(pipe)

    async def _executed_with_wait(self, pipe: Any) -> list[Any]:
        """One round trip: WAIT goes behind the writes on their own connection."""
        pipe.execute_command("WAIT", 1, WAIT_MS)
        answers = await pipe.execute()
        if answers[-1] < 1:
            raise NoReplica(f"no replica within {WAIT_MS} ms")
        return cast("list[Any]", answers)


class RedisHiredis(_Base):
    """As `pip install redis[hiredis]` gives it; also a script and WATCH."""

    def ways(self) -> list[str]:
        return ["lua", "watch/multi"]

    async def seed(self, groups: int, each: int) -> None:
        from msgspec import json

        self._each = each
        self._script = self._client.register_script(LUA)
        self._encode, self._decode = json.encode, json.decode
        for group in range(groups):
            account = {"group": group, "balance": 0, "note": "x" * 60}
            await self._client.mset(
                {
                    key: json.encode({**account, "number": number})
                    for number, key in enumerate(self._keys(group))
                }
            )

    def _keys(self, group: int) -> list[str]:
        return [f"account:{{{group}}}:{number}" for number in range(self._each)]

    async def shift(self, way: str, group: int, amount: int) -> Any:
        if way == "lua":
            await self._script(keys=self._keys(group), args=[amount])
            await self._fence.passed()
            return
        keys = self._keys(group)
        for _ in range(ATTEMPTS_MAX):
            if await self._watched(keys, amount):
                await self._fence.passed()
                return
        raise RuntimeError(f"group {group} changed {ATTEMPTS_MAX} times under our hands")

    async def _watched(self, keys: list[str], amount: int) -> bool:
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(*keys)
            found = [self._decode(value) for value in await cast("Awaitable[Any]", pipe.mget(keys))]
            pipe.multi()
            pipe.mset(
                {
                    key: self._encode({**account, "balance": account["balance"] + amount})
                    for key, account in zip(keys, found, strict=True)
                }
            )
            try:
                await pipe.execute()
            except redis.WatchError:
                return False
            return True

    async def total(self, groups: int, each: int) -> int:
        found = 0
        for group in range(groups):
            values = await self._client.mget(self._keys(group))
            found += sum(self._decode(value)["balance"] for value in values)
        return found


class RedisPlainParser(_Base):
    """As `pip install redis` gives it."""

    parser = _AsyncRESP2Parser
    label = "Python parser"


class RedisMset(_Base):
    """Batches as one MGET or MSET instead of a pipeline."""

    label = "hiredis, MGET and MSET"

    async def get_many(self, keys: list[str]) -> Any:
        return await self._client.mget(keys)

    async def put_many(self, entries: dict[str, str]) -> Any:
        pipe = self._client.pipeline(transaction=False)
        pipe.mset(entries)
        await self._executed_with_wait(pipe)


class RedisSync(_Base):
    """The synchronous client, with a thread for each task in flight."""

    async def open(self) -> None:
        await super().open()
        self.about = self._about(f"threads, hiredis {hiredis.__version__}, a connection each")
        self._sync = redis.Redis(
            host="127.0.0.1", port=self._servers.port, max_connections=CONNECTIONS
        )

    def blocking_get(self, key: str) -> Any:
        return self._sync.get(key)

    def blocking_put(self, key: str, value: str) -> Any:
        pipe = self._sync.pipeline(transaction=False)
        pipe.set(key, value)
        pipe.execute_command("WAIT", 1, WAIT_MS)
        if pipe.execute()[1] < 1:
            raise NoReplica(f"no replica within {WAIT_MS} ms")
