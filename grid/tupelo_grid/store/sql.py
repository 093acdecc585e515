"""The store on SQLAlchemy Core: the same transactions on every backend."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from tupelo.schema import SpaceSchema

from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.store import tables, writing
from tupelo_grid.store.backend import Backend
from tupelo_grid.store.mapping import SpaceMapping
from tupelo_grid.store.port import DeadLetter, Outcome, Row, StoreUnusable
from tupelo_grid.store.registry import Registry

PAGE_ROWS: Final = 1000
"""Rows that `read_rows` asks the database for at a time."""

Result = TypeVar("Result")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SqlStore:
    """A `Store` (tupelo_grid.store.port) in a SQL database."""

    def __init__(
        self, backend: Backend, grid_id: str | None = None, wall_ms: Callable[[], int] = _wall_ms
    ) -> None:
        """`grid_id` in hex: the store is bound to the first grid that opens it, and refuses any
        other, whose cursors and epochs would mean nothing here. None, for tools that only read:
        not checked."""
        self._backend = backend
        self._registry = Registry(backend)
        self._grid_id = grid_id
        self._wall_ms = wall_ms
        self._open = False

    @property
    def name(self) -> str:
        return self._backend.name

    async def open(self) -> None:
        if self._open:
            return
        await self._backend.connect()
        await self._backend.write(self._prepare)
        self._open = True

    def _prepare(self, connection: sa.Connection) -> None:
        tables.metadata.create_all(connection)
        wanted = {"format": tables.FORMAT}
        if self._grid_id is not None:
            wanted["grid_id"] = self._grid_id
        found = {row[0]: row[1] for row in connection.execute(sa.select(tables.meta))}
        if found.get("format", tables.FORMAT) != tables.FORMAT:
            raise StoreUnusable(
                f"{self.name} has format {found['format']}, this version writes {tables.FORMAT}",
                "use the version of tupelo that made it, or another store_url",
            )
        if found.get("grid_id", self._grid_id) != self._grid_id and self._grid_id is not None:
            raise StoreUnusable(
                f"{self.name} belongs to grid {found['grid_id']}, not to {self._grid_id}",
                "give each grid a store of its own (store_url or data_dir), or move this one away",
            )
        missing = [{"name": n, "value": v} for n, v in wanted.items() if n not in found]
        if missing:
            connection.execute(sa.insert(tables.meta), missing)

    async def close(self) -> None:
        self._open = False
        await self._backend.close()

    async def _write(self, work: Callable[[sa.Connection], Result]) -> Result:
        await self.open()
        try:
            return await self._backend.write(work)
        except Exception:
            # The next call connects afresh, and looks again for what this one may have made.
            self._open = False
            self._registry.forget()
            raise

    async def claim(self, epochs: Mapping[int, int]) -> dict[int, Outcome]:
        return await self._write(lambda connection: writing.claim(connection, epochs))

    async def apply(
        self, batches: Sequence[PartitionBatch], schemas: Mapping[str, SpaceSchema]
    ) -> list[Outcome]:
        now_ms = self._wall_ms()
        return await self._write(
            lambda connection: writing.apply(
                connection, self._backend, self._registry, batches, schemas, now_ms
            )
        )

    async def cursors(self) -> dict[int, tuple[int, int]]:
        table = tables.partitions
        query = sa.select(table.c.partition, table.c.epoch, table.c.cursor)
        return {row[0]: (row[1], row[2]) async for row in self._rows(query)}

    async def read_rows(self, space: str) -> AsyncIterator[Row]:
        await self.open()
        forms: list[SpaceMapping] = []

        def plan(connection: sa.Connection) -> list[str]:
            forms.extend(self._registry.forms(connection, space))
            return [self._select(form) for form in forms]

        async for index, page in self._backend.pages(plan, PAGE_ROWS):
            entry = forms[index].entry
            for row in page:
                yield entry(tuple(row))

    def _select(self, form: SpaceMapping) -> str:
        mine = form.table.c.tupelo_form == sa.literal_column(str(form.number))
        return tables.select_text(sa.select(form.table).where(mine), self._backend.dialect)

    async def _rows(self, query: sa.Select[Any]) -> AsyncIterator[Sequence[Any]]:
        await self.open()
        text = tables.select_text(query, self._backend.dialect)
        async for _, page in self._backend.pages(lambda _: [text], PAGE_ROWS):
            for row in page:
                yield row

    async def counts(self) -> dict[str, int]:
        await self.open()
        names: list[str] = []

        def plan(connection: sa.Connection) -> list[str]:
            query = sa.select(tables.spaces.c.space, tables.spaces.c.table_name).distinct()
            found = connection.execute(query.order_by(tables.spaces.c.space)).all()
            names.extend(row[0] for row in found)
            return [self._count(sa.quoted_name(row[1], quote=True)) for row in found]

        counted = {}
        async for index, page in self._backend.pages(plan, 1):
            counted[names[index]] = int(page[0][0])
        return counted

    def _count(self, table: sa.quoted_name) -> str:
        query = sa.select(sa.func.count()).select_from(sa.table(table))
        return tables.select_text(query, self._backend.dialect)

    async def dead_letters(self, limit: int = 1000, offset: int = 0) -> list[DeadLetter]:
        c = tables.dead_letters.c
        query = sa.select(
            *(c.space, c.key, c.version, c.error, c.payload),
            *(c.deadline_ms, c.time_ms, c.partition, c.superseded),
        ).order_by(c.time_ms, c.space, c.key, c.version)
        number = sa.literal_column
        query = query.limit(number(str(int(limit)))).offset(number(str(int(offset))))
        return [DeadLetter(*row) async for row in self._rows(query)]

    async def dead_letter_count(self) -> int:
        async for row in self._rows(sa.select(sa.func.count()).select_from(tables.dead_letters)):
            return int(row[0])
        return 0
