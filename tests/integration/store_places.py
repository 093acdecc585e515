"""The databases that the tests of the store run on: the same tests, whatever lies below."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.sql import SqlStore

from engines.postgres import PostgresServer

GRID: Final = "aa" * 16


class Place(Protocol):
    """A database that one test has for itself."""

    name: str

    def config(self, **settings: Any) -> GridConfig:
        """Of stores that may make their tables, unless `store_create` says otherwise."""
        ...

    def sql(self, text: str) -> list[Any]:
        """Runs a statement as somebody else would, and commits; its rows as tuples."""
        ...

    def refuse(self, table: str, column: str, value: str, words: str) -> None:
        """From now on the database refuses rows with this value, saying so."""
        ...

    def relent(self, table: str) -> None:
        """It takes them again."""
        ...

    def primary_key(self, table: str) -> list[str]: ...


def store_at(place: Place, grid_id: str | None = GRID, **settings: Any) -> SqlStore:
    """Not yet open."""
    return make_store(place.config(**settings), grid_id)


class SqlitePlace:
    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "store.sqlite"

    def config(self, **settings: Any) -> GridConfig:
        return GridConfig(data_dir=str(self.folder), **settings)

    def sql(self, text: str) -> list[Any]:
        with sqlite3.connect(self.file) as connection:
            found = connection.execute(text).fetchall()
        connection.close()
        return found

    def refuse(self, table: str, column: str, value: str, words: str) -> None:
        self.sql(
            f"CREATE TRIGGER no_{table} BEFORE INSERT ON {table} WHEN NEW.{column} = '{value}' "
            f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
        )

    def relent(self, table: str) -> None:
        self.sql(f"DROP TRIGGER no_{table}")

    def primary_key(self, table: str) -> list[str]:
        rows = [row for row in self.sql(f"PRAGMA table_info({table})") if row[5]]
        return [row[1] for row in sorted(rows, key=lambda row: row[5])]


class PostgresPlace:
    name = "postgres"

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.server = server
        self.url = url
        self.database = url.rpartition("/")[2]

    def config(self, **settings: Any) -> GridConfig:
        given = {"store_url": self.url, "store_create": "auto", **settings}
        return GridConfig(**given)

    def sql(self, text: str) -> list[Any]:
        return [tuple(row) for row in self.server.execute(text, database=self.database)]

    def refuse(self, table: str, column: str, value: str, words: str) -> None:
        self.sql(
            f"CREATE FUNCTION no_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.{column} = '{value}' THEN RAISE EXCEPTION '{words}'; END IF; "
            "RETURN NEW; END $$"
        )
        self.sql(
            f"CREATE TRIGGER no BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION no_{table}()"
        )

    def relent(self, table: str) -> None:
        self.sql(f"DROP TRIGGER no ON {table}")

    def primary_key(self, table: str) -> list[str]:
        found = self.sql(
            "SELECT k.column_name FROM information_schema.table_constraints c "
            "JOIN information_schema.key_column_usage k USING (constraint_name, table_name) "
            f"WHERE c.constraint_type = 'PRIMARY KEY' AND c.table_name = '{table}' "
            "ORDER BY k.ordinal_position"
        )
        return [row[0] for row in found]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each database in turn."""
    if request.param == "sqlite":
        yield SqlitePlace(tmp_path)
    else:
        server = request.getfixturevalue("postgres")
        yield PostgresPlace(server, request.getfixturevalue("postgres_database"))
