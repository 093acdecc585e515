"""What differs between databases, behind one port.

The transactions themselves are plain functions over a SQLAlchemy `Connection`; a backend runs them,
on a thread or, for an asynchronous driver, by `AsyncConnection.run_sync`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from tupelo_grid.store.mapping import Codecs
from tupelo_grid.store.port import StoreError

Result = TypeVar("Result")


class Backend(Protocol):
    """One database. Raises StoreError and nothing else for what the database does."""

    @property
    def name(self) -> str:
        """Kind and place, without credentials."""
        ...

    @property
    def dialect(self) -> sa.Dialect: ...

    @property
    def codecs(self) -> Codecs: ...

    def upsert(self, table: sa.Table) -> str:
        """SQL that inserts a row, or replaces the row of the same key where that has a lower
        `tupelo_version`. Its parameters are the table's columns in order."""
        ...

    def insert_or_ignore(self, table: sa.Table) -> str:
        """SQL that inserts a row unless its key is there, parameters as above."""
        ...

    def is_content_error(self, error: Exception) -> bool:
        """The database refused a value, not the connection, the file or the statement."""
        ...

    def translate(self, error: Exception) -> StoreError | None:
        """None for an error that is not the database's."""
        ...

    async def connect(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Runs `work` in one transaction, alone, and commits; rolls back when it raises."""
        ...

    def pages(
        self, plan: Callable[[sa.Connection], list[str]], size: int
    ) -> AsyncIterator[tuple[int, Sequence[Sequence[Any]]]]:
        """Rows of the queries that `plan` makes, all as of one moment, at most `size` at a time,
        each page with the index of its query."""
        ...
