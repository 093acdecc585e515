"""The stores that these programs can take away and give back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from tupelo_grid.config import GridConfig
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.sql import SqlStore

from engines.postgres import PostgresServer, running_postgres


class TestStore(Protocol):
    """`options`: of `tupelo up`."""

    __test__ = False
    options: tuple[str, ...]

    def take_away(self) -> None:
        """At once: whatever is under way there fails."""
        ...

    def give_back(self) -> None: ...

    def sql(self, text: str) -> list[Any]:
        """A statement of somebody else, committed; its rows."""
        ...

    def reader(self) -> SqlStore:
        """Another way in, not yet open."""
        ...


class SqliteStore:
    """The file of the grid's data directory. It is away while another process has it locked."""

    def __init__(self, data_dir: Path) -> None:
        self.options: tuple[str, ...] = ()
        self._data_dir = data_dir
        self._lock: sqlite3.Connection | None = None

    def take_away(self) -> None:
        path = self._data_dir / "store.sqlite"
        self._lock = sqlite3.connect(
            path, timeout=30.0, isolation_level=None, check_same_thread=False
        )
        self._lock.execute("BEGIN IMMEDIATE")

    def give_back(self) -> None:
        if self._lock is not None:
            self._lock.execute("ROLLBACK")
            self._lock.close()
            self._lock = None

    def sql(self, text: str) -> list[Any]:
        with sqlite3.connect(self._data_dir / "store.sqlite", timeout=30.0) as connection:
            rows = connection.execute(text).fetchall()
        connection.close()
        return rows

    def reader(self) -> SqlStore:
        return make_store(GridConfig(data_dir=str(self._data_dir)))


class PostgresStore:
    """A server that is killed, without a checkpoint, and started again."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.options: tuple[str, ...] = (
            *("--store-url", server.url),
            *("--set", "store_create=auto"),
            *("--set", "store_connect_s=1"),
        )

    def take_away(self) -> None:
        self.server.kill()

    def give_back(self) -> None:
        if not self.server.running:
            self.server.start()

    def sql(self, text: str) -> list[Any]:
        return [tuple(row) for row in self.server.execute(text)]

    def reader(self) -> SqlStore:
        return make_store(GridConfig(store_url=self.server.url))


@contextmanager
def running_store(kind: str, data_dir: Path) -> Iterator[TestStore]:
    """`kind`: sqlite or postgres. `data_dir`: of the grid that will use it."""
    if kind == "sqlite":
        yield SqliteStore(data_dir)
        return
    with running_postgres() as server:
        yield PostgresStore(server)


@contextmanager
def running_transport(kind: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """`kind`: grpc or nats. Options of `tupelo up`."""
    with ExitStack() as stack:
        if kind == "grpc":
            yield ()
            return
        from tests.engines.nats import running_nats

        server = stack.enter_context(running_nats(folder / "nats"))
        yield (
            *("--set", "pump_transport=nats"),
            *("--set", f"nats_url={server.url}"),
            *("--writers", "2"),
        )
