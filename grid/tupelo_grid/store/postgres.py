"""PostgreSQL as the store: SQLAlchemy on asyncpg, on a thread and event loop of its own.

Transactions that write run side by side on a bounded pool, those that read on another, so that a
cold start does not take the writers' connections. Every wait has an end: connecting, a statement,
a free connection; and the server ends what a writer began and no longer goes on with, so that one
that froze or lost its network does not hold the fence rows of its partitions for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tupelo_grid.config import GridConfig
from tupelo_grid.store.backend import Item, Move, Query, Result, RowWrites
from tupelo_grid.store.content import is_content
from tupelo_grid.store.loop_thread import LoopThread
from tupelo_grid.store.mapping import Codecs, Place
from tupelo_grid.store.port import StoreAway, StoreError, StoreUnusable
from tupelo_grid.store.postgres_fields import POSTGRES_CODECS
from tupelo_grid.store.postgres_url import Address
from tupelo_grid.store.postgres_writes import PostgresWrites, move_cursors

SCHEMA_LOCK: Final = 0x7475_7065_6C6F
"""Of pg_advisory_xact_lock: whoever makes or changes tables of the store has it."""

KEEPALIVE: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_UNUSABLE: Final = {
    "28": "check the user and the password: store_url, store_password_file or PGPASSWORD",
    "3D": "create the database, or change store_url",
    "42501": "grant the user what it needs, or run `tupelo store init` as one who may make tables",
}
"""By SQLSTATE or its class: what waiting does not mend, and what to do about it."""


class PostgresBackend:
    def __init__(self, address: Address, config: GridConfig) -> None:
        self._address = address
        self._timeout_s = config.store_timeout_s
        self._connect_s = config.store_connect_s
        self._writers_max = max(1, config.store_write_connections_max)
        self._readers_max = max(1, config.store_read_connections_max)
        self._dialect: sa.Dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
        self._thread: LoopThread | None = None
        self._writing: AsyncEngine | None = None
        self._reading: AsyncEngine | None = None
        self._closed = False

    @property
    def name(self) -> str:
        return self._address.name

    @property
    def dialect(self) -> sa.Dialect:
        return self._dialect

    @property
    def codecs(self) -> Codecs:
        return POSTGRES_CODECS

    @property
    def concurrency(self) -> int:
        return self._writers_max

    def writes(self, table: sa.Table, places: Mapping[str, Place]) -> RowWrites:
        return PostgresWrites(table, places, self._dialect)

    def move_cursors(self, connection: sa.Connection, moves: Sequence[Move]) -> int:
        return move_cursors(connection, moves)

    def insert_or_ignore(self, table: sa.Table) -> str:
        insert = postgresql.insert(table).on_conflict_do_nothing()
        names = [column.name for column in table.columns]
        compiled = insert.compile(dialect=self._dialect, column_keys=names)
        assert getattr(compiled, "positiontup", None) == names, "parameters out of order"
        return str(compiled)

    def lock_schema(self, connection: sa.Connection) -> None:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))

    def is_content_error(self, error: Exception) -> bool | None:
        return is_content(error)

    def translate(self, error: Exception) -> StoreError | None:
        if isinstance(error, StoreError):
            return error
        known = (sa.exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
        if not isinstance(error, (*known, TimeoutError, EOFError)):
            return None
        # The server's own words only: SQLAlchemy's text shows the statement and its parameters.
        cause = getattr(error, "orig", None) or error
        code = str(getattr(cause, "sqlstate", None) or "")
        text = f"{self.name}: {_words(cause)}"
        hint = _UNUSABLE.get(code) or _UNUSABLE.get(code[:2])
        if hint is not None:
            return StoreUnusable(text, hint)
        return StoreAway(text)

    # Connections.

    async def connect(self) -> None:
        """Makes sure that there is one that answers."""
        if self._closed:
            raise StoreAway(f"{self.name}: closed")
        if self._thread is None:
            self._thread = LoopThread("store")
            self._writing = self._engine(self._writers_max, "tupelo data writer", writes=True)
            self._reading = self._engine(self._readers_max, "tupelo data reader", writes=False)
        await self.write(lambda connection: connection.execute(sa.select(sa.literal(1))).scalar())

    def _engine(self, size: int, purpose: str, writes: bool) -> AsyncEngine:
        settings = {"application_name": purpose, "timezone": "UTC", **KEEPALIVE}
        if writes:
            end_ms = str(round(self._timeout_s * 1000))
            settings["idle_in_transaction_session_timeout"] = end_ms
            settings["lock_timeout"] = end_ms

        async def connect() -> asyncpg.Connection[asyncpg.Record]:
            return await asyncpg.connect(
                **self._address.arguments,
                timeout=self._connect_s,
                command_timeout=self._timeout_s,
                server_settings=settings,
            )

        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._timeout_s,
            hide_parameters=True,
        )

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            for engine in (self._writing, self._reading):
                if engine is not None:
                    await self._thread.run(engine.dispose())
            await self._thread.close()

    # Transactions.

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        return await self._on(self._transact(work, self._writing))

    async def _transact(
        self, work: Callable[[sa.Connection], Result], engine: AsyncEngine | None
    ) -> Result:
        assert engine is not None
        async with engine.connect() as connection:
            try:
                async with connection.begin():
                    return await connection.run_sync(work)
            except BaseException:
                # Whatever state the connection is in, the next transaction has a fresh one.
                await connection.invalidate()
                raise

    async def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        return await self._on(self._transact(work, self._reading))

    async def pages(
        self, plan: Callable[[sa.Connection], list[Query[Item]]], size: int
    ) -> AsyncIterator[list[Item]]:
        reader = _Reader(self._reading, size)
        try:
            for query in await self._on(reader.begin(plan)):
                following = asyncio.ensure_future(self._on(reader.first(query)))
                try:
                    while page := await following:
                        # The next page is on its way while this one is used.
                        following = asyncio.ensure_future(self._on(reader.next(query)))
                        yield page
                finally:
                    if not following.done():
                        await asyncio.wait([following])
                    _ = following.cancelled() or following.exception()
        finally:
            await self._on(reader.end())

    async def _on(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._closed or self._thread is None:
            work.close()
            raise StoreAway(f"{self.name}: {'closed' if self._closed else 'not open'}")
        try:
            return await self._thread.run(work)
        except Exception as error:
            translated = self.translate(error)
            if translated is None or translated is error:
                raise
            raise translated from error


class _Reader:
    """A transaction that sees one moment, and a cursor in it."""

    def __init__(self, engine: AsyncEngine | None, size: int) -> None:
        assert engine is not None
        self._connection = engine.connect()
        self._size = size
        self._raw: Any = None
        self._cursor: Any = None

    async def begin(self, plan: Callable[[sa.Connection], list[Query[Item]]]) -> list[Query[Item]]:
        await self._connection.start()
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        await self._connection.execution_options(**options)
        queries = await self._connection.run_sync(plan)
        await self._connection.execute(sa.select(sa.literal(1)))
        self._raw = (await self._connection.get_raw_connection()).driver_connection
        return queries

    async def first(self, query: Query[Item]) -> list[Item]:
        self._cursor = await self._raw.cursor(query.text)
        return await self.next(query)

    async def next(self, query: Query[Item]) -> list[Item]:
        convert = query.convert
        return [convert(tuple(row)) for row in await self._cursor.fetch(self._size)]

    async def end(self) -> None:
        if self._connection.sync_connection is None:
            return
        # A reader that stopped half way leaves nothing behind for the next.
        try:
            await self._connection.rollback()
        except Exception:
            await self._connection.invalidate()
        await self._connection.close()


def _words(error: BaseException) -> str:
    """What the server said, without what a driver adds to it."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(getattr(error, "message", "") or error)
    # SQLAlchemy puts the driver's class in front.
    return text.partition(">: ")[2] or text if text.startswith("<class ") else text
