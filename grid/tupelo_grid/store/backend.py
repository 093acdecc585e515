"""What differs between databases, behind one port.

The transactions themselves are plain functions over a SQLAlchemy `Connection`; a backend runs them,
on a thread or, for an asynchronous driver, by `AsyncConnection.run_sync`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa

from tupelo_grid.store.mapping import Codecs, Place
from tupelo_grid.store.port import StoreError

Result = TypeVar("Result")
Item = TypeVar("Item")

Rows = Sequence[tuple[Any, ...]]

Move = tuple[int, int, int, int]
"""(partition, its epoch, its cursor, its next cursor)"""


@dataclass(frozen=True, slots=True)
class Query(Generic[Item]):
    """SQL without parameters, and what its rows become."""

    text: str
    convert: Callable[[Sequence[Any]], Item]


class RowWrites(Protocol):
    """How rows get into one table and out of it. Both raise what the database raises, and then
    the transaction has to go back to a savepoint."""

    def put(self, connection: sa.Connection, rows: Rows) -> None:
        """Rows as the mapping makes them. One replaces the row of its key where that has a lower
        version; a key may be there several times."""
        ...

    def remove(self, connection: sa.Connection, keys: Rows) -> None:
        """(columns of the key..., version): removes the row unless it has a higher version."""
        ...


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

    @property
    def concurrency(self) -> int:
        """So many transactions at the same time are of use."""
        ...

    def writes(self, table: sa.Table, places: Mapping[str, Place]) -> RowWrites:
        """`places`: see SpaceMapping."""
        ...

    def move_cursors(self, connection: sa.Connection, moves: Sequence[Move]) -> int:
        """Each where the row of tupelo_partitions still says so. Returns how many did; -1:
        unknown. A partition is there once."""
        ...

    def insert_or_ignore(self, table: sa.Table) -> str:
        """SQL that inserts a row unless it is there; its parameters are the table's columns in
        order."""
        ...

    def lock_schema(self, connection: sa.Connection) -> None:
        """Until the transaction ends, nobody else makes or changes tables of the store."""
        ...

    def is_content_error(self, error: Exception) -> bool | None:
        """True: the database refused a value, not the connection, the file or the statement.
        None: the error does not tell; see content.py."""
        ...

    def translate(self, error: Exception) -> StoreError | None:
        """None for an error that is not the database's."""
        ...

    async def connect(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Runs `work` in a transaction and commits; rolls back when it raises."""
        ...

    async def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Runs `work` in a transaction that only reads, and waits for none that writes."""
        ...

    def pages(
        self, plan: Callable[[sa.Connection], list[Query[Item]]], size: int
    ) -> AsyncIterator[list[Item]]:
        """What the rows of the queries that `plan` makes become, one query after the other, all as
        of one moment, at most `size` at a time. They are made off the event loop."""
        ...
