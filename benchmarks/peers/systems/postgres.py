"""PostgreSQL by asyncpg: one server that flushes every commit to its disk."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import asyncpg

from benchmarks.peers.processes import descendants
from benchmarks.peers.system import About, NotInstalled
from engines.postgres import NoPostgres, PostgresServer

CONNECTIONS: Final = 16
"""On two cores more of them were not faster."""

TABLES: Final = """
CREATE TABLE bench (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE account (
    grp int NOT NULL, number int NOT NULL, balance bigint NOT NULL, note text NOT NULL,
    PRIMARY KEY (grp, number)
);
"""
GET: Final = "SELECT value FROM bench WHERE key = $1"
PUT: Final = (
    "INSERT INTO bench VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
GET_MANY: Final = "SELECT key, value FROM bench WHERE key = ANY($1::text[])"
PUT_MANY: Final = (
    "INSERT INTO bench SELECT * FROM unnest($1::text[], $2::text[]) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
LOCK: Final = "SELECT number, balance FROM account WHERE grp = $1 ORDER BY number FOR UPDATE"
CHANGE: Final = (
    "UPDATE account SET balance = new.balance FROM unnest($2::int[], $3::bigint[]) "
    "AS new (number, balance) WHERE grp = $1 AND account.number = new.number"
)


class Postgres:
    """A pool of connections, statements prepared by asyncpg's cache."""

    def __init__(self, folder: Path) -> None:
        try:
            self._server = PostgresServer(folder / "server", durable=True)
        except NoPostgres as error:
            raise NotInstalled(str(error)) from error

    async def open(self) -> None:
        await asyncio.to_thread(self._server.start)
        self._pool: Any = await asyncpg.create_pool(
            host="127.0.0.1",
            port=self._server.port,
            user="postgres",
            database="postgres",
            min_size=CONNECTIONS,
            max_size=CONNECTIONS,
        )
        await self._pool.execute(TABLES)
        words = (await self._pool.fetchval("SHOW server_version")).split()
        self.about = About(
            version=f"PostgreSQL {words[0]}, asyncpg {version('asyncpg')}",
            replication="none: one server",
            durability="every commit flushed to disk (synchronous_commit = on)",
            client=f"asyncio, pool of {CONNECTIONS}",
        )

    async def close(self) -> None:
        if hasattr(self, "_pool"):
            await self._pool.close()
        await asyncio.to_thread(self._server.stop)

    def pids(self) -> list[int]:
        return [self._server.pid, *descendants(self._server.pid)]

    def data_pids(self) -> list[int]:
        return self.pids()

    async def get(self, key: str) -> Any:
        return await self._pool.fetchval(GET, key)

    async def put(self, key: str, value: str) -> Any:
        return await self._pool.execute(PUT, key, value)

    async def get_many(self, keys: list[str]) -> Any:
        return await self._pool.fetch(GET_MANY, keys)

    async def put_many(self, entries: dict[str, str]) -> Any:
        # In one order for all: two batches cannot wait for each other's rows in a circle.
        keys = sorted(entries)
        return await self._pool.execute(PUT_MANY, keys, [entries[key] for key in keys])

    def ways(self) -> list[str]:
        return ["for update"]

    async def seed(self, groups: int, each: int) -> None:
        await self._pool.execute(
            "INSERT INTO account SELECT g, n, 0, repeat('x', 60) "
            f"FROM generate_series(0, {groups - 1}) g, generate_series(0, {each - 1}) n"
        )

    async def shift(self, way: str, group: int, amount: int) -> Any:
        async with self._pool.acquire() as connection, connection.transaction():
            found = await connection.fetch(LOCK, group)
            numbers = [row["number"] for row in found]
            balances = [row["balance"] + amount for row in found]
            await connection.execute(CHANGE, group, numbers, balances)

    async def total(self, groups: int, each: int) -> int:
        return int(await self._pool.fetchval("SELECT sum(balance) FROM account"))
