"""SQLite as the store: one file, one thread that writes, one that reads.

The driver blocks, so it runs on threads of its own, never on the event loop. That costs one
hand-over a transaction; aiosqlite costs one a statement.

Write-ahead log, so that readers see a moment while the writer goes on. `synchronous=FULL`: what the
store calls persisted is trimmed from the journals, so it must survive a loss of power; NORMAL may
then lose the last transactions. It costs one fsync a transaction, shared by all the frames in it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import QueuePool

from tupelo_grid.store.backend import Item, Move, Query, Result, Rows, RowWrites
from tupelo_grid.store.content import is_content
from tupelo_grid.store.fields import SQLITE_CODECS
from tupelo_grid.store.mapping import Codecs, Place
from tupelo_grid.store.port import StoreAway, StoreError, StoreUnusable

JOURNAL_BYTES_MAX: Final = 64 * 1024 * 1024
PAGE_BYTES: Final = 4096  # SQLite's own
# Pages that a connection keeps, where the file has as many. With SQLite's own 2 MB, a row of a
# table of 200,000 costs a fifth more to write.
CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Size the write-ahead log is cut back to after a checkpoint."""

_NONE: Final[sa.ColumnElement[int]] = sa.literal_column("0")
"""Version of a row that the grid did not put."""

_CORRUPT: Final = ("not a database", "malformed", "disk image", "unsupported file format")


class SqliteBackend:
    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        """`busy_timeout_s`: how long a transaction waits for another process that writes."""
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._engine: sa.Engine | None = None
        self._identity: tuple[int, int] | None = None
        self._writer = ThreadPoolExecutor(1, "store-write")
        self._reader = ThreadPoolExecutor(1, "store-read")
        self._dialect: sa.Dialect = sqlite.dialect()
        self._closed = False

    @property
    def name(self) -> str:
        return f"sqlite {self._path}"

    @property
    def dialect(self) -> sa.Dialect:
        return self._dialect

    @property
    def codecs(self) -> Codecs:
        return SQLITE_CODECS

    @property
    def concurrency(self) -> int:
        """One transaction writes at a time; others would only wait for its lock."""
        return 1

    def writes(self, table: sa.Table, places: Mapping[str, Place]) -> RowWrites:
        return _SqliteWrites(self._upsert(table), self._delete(table))

    def _upsert(self, table: sa.Table) -> str:
        insert = sqlite.insert(table)
        key = list(table.primary_key.columns)
        rest = {c.name: insert.excluded[c.name] for c in table.columns if c not in key}
        newer = sa.func.coalesce(table.c.tupelo_version, _NONE) < insert.excluded.tupelo_version
        return self._compile(
            table, insert.on_conflict_do_update(index_elements=key, set_=rest, where=newer)
        )

    def _delete(self, table: sa.Table) -> str:
        version: sa.BindParameter[int] = sa.bindparam("tupelo_version")
        key = (c == sa.bindparam(c.name) for c in table.primary_key.columns)
        old = sa.func.coalesce(table.c.tupelo_version, _NONE) <= version
        return str(sa.delete(table).where(*key, old).compile(dialect=self._dialect))

    def move_cursors(self, connection: sa.Connection, moves: Sequence[Move]) -> int:
        sql = (
            "UPDATE tupelo_partitions SET cursor = ? WHERE partition = ? AND epoch = ? "
            "AND cursor = ?"
        )
        rows = [(new, partition, epoch, old) for partition, epoch, old, new in moves]
        return connection.exec_driver_sql(sql, rows).rowcount

    def lock_schema(self, connection: sa.Connection) -> None:
        """Every transaction that writes has the file for itself."""

    def insert_or_ignore(self, table: sa.Table) -> str:
        return self._compile(table, sqlite.insert(table).on_conflict_do_nothing())

    def _compile(self, table: sa.Table, insert: sqlite.Insert) -> str:
        names = [column.name for column in table.columns]
        compiled = insert.compile(dialect=self._dialect, column_keys=names)
        assert getattr(compiled, "positiontup", None) == names, "parameters out of order"
        return str(compiled)

    def is_content_error(self, error: Exception) -> bool | None:
        return is_content(error)

    def translate(self, error: Exception) -> StoreError | None:
        if isinstance(error, StoreError):
            return error
        if not isinstance(error, (sa.exc.SQLAlchemyError, sqlite3.Error, OSError)):
            return None
        # The driver's own words only: SQLAlchemy's text shows the statement and its parameters.
        text = str(getattr(error, "orig", None) or error)
        if any(sign in text for sign in _CORRUPT):
            return StoreUnusable(
                f"the store file {self._path} is corrupt: {text}",
                "restore it from a backup, or move it away (with its -wal and -shm files) to start "
                "an empty one",
            )
        return StoreAway(f"{self.name}: {text}")

    # Connections.

    async def connect(self) -> None:
        await self._on(self._writer, self._connect)

    def _connect(self) -> None:
        self._prepare_directory()
        self._dispose()
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self._path)),
            poolclass=QueuePool,
            connect_args={"timeout": self._busy_timeout_s, "check_same_thread": False},
        )
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
        self._engine = engine
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
            self._identity = _identity(self._path)
        except Exception:
            self._dispose()
            raise

    def _prepare_directory(self) -> None:
        """SQLite says only that it is unable to open the file; this says why."""
        folder = self._path.parent
        hint = "choose a directory that this user may write (--data-dir), or another store_url"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnusable(
                f"the store's directory {folder} cannot be made: {error.strerror}", hint
            ) from error
        if self._path.is_dir():
            raise StoreUnusable(f"the store file {self._path} is a directory", hint)
        for place in (folder, self._path):
            if place.exists() and not os.access(place, os.W_OK):
                what = "directory" if place is folder else "file"
                raise StoreUnusable(f"the store's {what} {place} is not writable", hint)

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    async def close(self) -> None:
        if self._closed:
            return
        await self._on(self._writer, self._dispose)
        self._closed = True
        for executor in (self._reader, self._writer):
            await asyncio.to_thread(executor.shutdown)

    # Transactions.

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        return await self._on(self._writer, lambda: self._transact(work))

    def _transact(self, work: Callable[[sa.Connection], Result]) -> Result:
        engine = self._connected()
        try:
            self._check_place()
            with engine.begin() as connection:
                return work(connection)
        except Exception:
            self._dispose()
            raise

    def _check_place(self) -> None:
        """SQLite would go on with a file that nobody can open any more."""
        if _identity(self._path) != self._identity:
            raise StoreAway(f"{self.name}: the file was removed or replaced")

    def _connected(self) -> sa.Engine:
        if self._engine is None:
            raise StoreAway(f"{self.name}: not open")
        return self._engine

    async def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        def run() -> Result:
            with self._connect_to_read() as connection:
                return work(connection)

        return await self._on(self._reader, run)

    async def pages(
        self, plan: Callable[[sa.Connection], list[Query[Item]]], size: int
    ) -> AsyncIterator[list[Item]]:
        reader = self._reader
        connection = await self._on(reader, self._connect_to_read)

        def fetch(rows: sa.CursorResult[Any], query: Query[Item]) -> list[Item]:
            return [query.convert(tuple(row)) for row in rows.fetchmany(size)]

        try:
            for query in await self._on(reader, partial(plan, connection)):
                rows = await self._on(reader, partial(connection.exec_driver_sql, query.text))
                while page := await self._on(reader, partial(fetch, rows, query)):
                    yield page
        finally:
            await self._on(reader, connection.close)

    def _connect_to_read(self) -> sa.Connection:
        engine = self._connected()
        self._check_place()
        return engine.connect().execution_options(tupelo_read=True)

    async def _on(self, executor: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        if self._closed:
            raise StoreAway(f"{self.name}: closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except Exception as error:
            translated = self.translate(error)
            if translated is None or translated is error:
                raise
            raise translated from error


class _SqliteWrites:
    def __init__(self, upsert: str, delete: str) -> None:
        self._upsert, self._delete = upsert, delete

    def put(self, connection: sa.Connection, rows: Rows) -> None:
        connection.exec_driver_sql(self._upsert, list(rows))

    def remove(self, connection: sa.Connection, keys: Rows) -> None:
        connection.exec_driver_sql(self._delete, list(keys))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own way of beginning transactions breaks savepoints and DDL; _on_begin does it.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
    # The log is taken over into the file when it has that size, not after every 4 MB, which one
    # transaction may write: a page that is written again and again is taken over once.
    connection.execute(f"PRAGMA wal_autocheckpoint = {JOURNAL_BYTES_MAX // PAGE_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_BYTES_MAX // 1024}")  # in KiB, if below 0


def _on_begin(connection: sa.Connection) -> None:
    """A writer takes the lock at once: one that asks for it half way is refused, not queued."""
    read = connection.get_execution_options().get("tupelo_read")
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")
