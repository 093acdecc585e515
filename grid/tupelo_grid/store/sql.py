"""The store on SQLAlchemy Core: the same transactions on every backend."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from tupelo.schema import SpaceSchema

from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.store import letters, tables, writing
from tupelo_grid.store.backend import Backend, Query
from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.lookup import Lookup, dead_keys, form_is
from tupelo_grid.store.mapping import SpaceMapping
from tupelo_grid.store.port import (
    ANY_LETTER,
    DEFAULT_LIMITS,
    DeadLetter,
    KeyRows,
    LetterFilter,
    LetterResult,
    Outcome,
    Row,
    Status,
    StoreLimits,
    StoreUnusable,
)
from tupelo_grid.store.prepare import COMMAND, bind_grid, prepare_store
from tupelo_grid.store.registry import Registry

log = logging.getLogger(__name__)

PAGE_ROWS: Final = 1000
"""Rows that `read_rows` asks the database for at a time."""

Result = TypeVar("Result")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SqlStore:
    """A `Store` (tupelo_grid.store.port) in a SQL database."""

    def __init__(
        self,
        backend: Backend,
        grid_id: str | None = None,
        wall_ms: Callable[[], int] = _wall_ms,
        limits: StoreLimits = DEFAULT_LIMITS,
        create: bool = True,
    ) -> None:
        """`grid_id` in hex: the store is bound to the first grid that opens it, and refuses any
        other, whose cursors and epochs would mean nothing here. None, for tools that only read:
        not checked. `create`: tables may be made and changed; else they must be there."""
        self._backend = backend
        self._registry = Registry(backend, create)
        self._lookup = Lookup(backend, self._registry)
        self._create = create
        self._grid_id = grid_id
        self._wall_ms = wall_ms
        self._limits = limits
        self._full: frozenset[int] = frozenset()
        self._stones = backend.writes(tables.tombstones, {})
        self._open = False
        self._opening = asyncio.Lock()
        self._preparing = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def concurrency(self) -> int:
        """See Store.concurrency."""
        return self._backend.concurrency

    async def open(self) -> None:
        async with self._opening:
            if not self._open:
                await self._backend.connect()
                await self._backend.write(self._prepare)
                self._open = True

    def _prepare(self, connection: sa.Connection) -> None:
        prepare_store(connection, self._backend, self._create)
        if self._grid_id is not None:
            bind_grid(connection, self._backend, self._grid_id)

    async def init(self, schemas: Mapping[str, SpaceSchema]) -> list[str]:
        """Makes or migrates the tables of the store and of these spaces, all or nothing, whatever
        `create` says. Returns what was done, for a person. Raises StoreUnusable, also for a space
        whose table cannot hold it."""
        registry = Registry(self._backend)

        def work(connection: sa.Connection) -> list[str]:
            actions = prepare_store(connection, self._backend, create=True)
            prepared = registry.prepare(connection, schemas.values())
            for _, found in prepared.found.values():
                if isinstance(found, Unfit):
                    raise StoreUnusable(str(found), "nothing was changed")
            return actions + prepared.actions

        await self._backend.connect()
        return await self._backend.write(work)

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
        used = {change[0] for batch in batches for change in batch.changes}
        held_back: frozenset[int] = frozenset()
        while True:
            absent = await self._prepare_spaces({name: schemas[name] for name in used})
            if absent:
                return await self._apply_without(absent, batches, schemas)
            try:
                outcomes = await self._write(
                    partial(self._apply, batches=batches, schemas=schemas, held_back=held_back)
                )
            except writing.LettersFull as full:
                # One round more for each: what is left has no dead letters, or fewer.
                held_back |= full.partitions
                continue
            self._warn_full(outcomes)
            return outcomes

    async def _prepare_spaces(self, schemas: Mapping[str, SpaceSchema]) -> dict[str, str]:
        """Makes sure that the tables are known; returns why some spaces have none."""
        if not self._registry.unknown(schemas):
            return {}
        async with self._preparing:
            unknown = self._registry.unknown(schemas)
            prepared = await self._write(lambda c: self._registry.prepare(c, unknown))
            self._registry.publish(prepared)
        for action in prepared.actions:
            log.info("%s: %s", self.name, action)
        return prepared.absent

    async def _apply_without(
        self,
        absent: Mapping[str, str],
        batches: Sequence[PartitionBatch],
        schemas: Mapping[str, SpaceSchema],
    ) -> list[Outcome]:
        """Applies what concerns none of these spaces. A partition whose batch waits has all its
        later ones wait too."""
        waiting: dict[int, str] = {}
        for batch in batches:
            lacking = sorted({change[0] for change in batch.changes} & absent.keys())
            if lacking:
                waiting.setdefault(batch.partition, absent[lacking[0]])
        able = [batch for batch in batches if batch.partition not in waiting]
        known = {name: schema for name, schema in schemas.items() if name not in absent}
        applied = iter(await self.apply(able, known) if able else [])
        return [
            Outcome(batch.partition, Status.NO_TABLE, 0, 0, error=waiting[batch.partition])
            if batch.partition in waiting
            else next(applied)
            for batch in batches
        ]

    def _apply(
        self,
        connection: sa.Connection,
        batches: Sequence[PartitionBatch],
        schemas: Mapping[str, SpaceSchema],
        held_back: frozenset[int],
    ) -> list[Outcome]:
        return writing.apply(connection, self._context(schemas, held_back), batches)

    def _context(
        self, schemas: Mapping[str, SpaceSchema], held_back: frozenset[int] = frozenset()
    ) -> writing.Context:
        return writing.Context(
            self._backend,
            self._registry,
            self._stones,
            schemas,
            self._limits,
            self._wall_ms(),
            held_back,
        )

    def _warn_full(self, outcomes: Sequence[Outcome]) -> None:
        full = {one.partition for one in outcomes if one.status is Status.FULL}
        moved = {one.partition for one in outcomes if one.status is Status.APPLIED}
        if full - self._full:
            log.error(
                "%s: there are dead_letters_max=%d dead letters; partitions %s are not stored any "
                "more until some are retried or dropped (`tupelo dead-letters`)",
                self.name,
                self._limits.dead_letters_max,
                sorted(full),
            )
        self._full = (self._full | full) - moved

    async def cursors(self) -> dict[int, tuple[int, int]]:
        table = tables.partitions
        query = sa.select(table.c.partition, table.c.epoch, table.c.cursor)
        return {row[0]: (row[1], row[2]) async for row in self._rows(query)}

    async def read_rows(
        self, space: str, partitions: Collection[int] | None = None
    ) -> AsyncIterator[Row]:
        async for page in self.read_pages(space, partitions):
            for row in page:
                yield row

    async def read_pages(
        self, space: str, partitions: Collection[int] | None = None
    ) -> AsyncIterator[list[Row]]:
        await self.open()
        wanted = None if partitions is None else sorted(set(partitions))

        def plan(connection: sa.Connection) -> list[Query[Row]]:
            forms = self._registry.forms(connection, space)
            return [
                Query(self._select(form, form is forms[-1], wanted), form.entry) for form in forms
            ]

        async for page in self._backend.pages(plan, PAGE_ROWS):
            yield page

    def _select(self, form: SpaceMapping, newest: bool, partitions: list[int] | None) -> str:
        c = form.table.c
        query = form.select().where(form_is(form, newest))
        if partitions is not None:
            numbers: list[sa.ColumnElement[Any]] = [
                sa.literal_column(str(int(number))) for number in partitions
            ]
            some = c.tupelo_partition.in_(numbers) if numbers else sa.literal_column("1 = 0")
            if form.schema.table:
                some = sa.or_(some, c.tupelo_partition.is_(None))
            query = query.where(some)
        return tables.select_text(query, self._backend.dialect)

    async def find_space(self, schema: SpaceSchema) -> None:
        absent = await self._prepare_spaces({schema.name: schema})
        if absent:
            raise StoreUnusable(f"{self.name}: {absent[schema.name]}", COMMAND)
        try:
            self._registry.table(schema)
        except Unfit as error:
            raise StoreUnusable(f"{self.name}: {error}") from error

    async def read_keys(
        self, schema: SpaceSchema, partitions: Collection[int], keys: Sequence[bytes]
    ) -> KeyRows:
        await self.find_space(schema)
        read = partial(self._lookup.read, space=schema.name, partitions=partitions, keys=keys)
        return await self._read(read)

    async def dead_keys(self, space: str) -> frozenset[bytes]:
        return await self._read(partial(dead_keys, space=space))

    async def _read(self, work: Callable[[sa.Connection], Result]) -> Result:
        await self.open()
        try:
            return await self._backend.read(work)
        except Exception:
            self._lookup.forget()
            raise

    async def _rows(self, query: sa.Select[Any]) -> AsyncIterator[Sequence[Any]]:
        await self.open()
        text = tables.select_text(query, self._backend.dialect)
        async for page in self._backend.pages(lambda _: [Query(text, tuple)], PAGE_ROWS):
            for row in page:
                yield row

    async def counts(self) -> dict[str, int]:
        await self.open()

        def plan(connection: sa.Connection) -> list[Query[tuple[str, int]]]:
            found = connection.execute(
                sa.select(tables.spaces.c.space).distinct().order_by(tables.spaces.c.space)
            )
            return [self._count(connection, name) for name in found.scalars().all()]

        pages = self._backend.pages(plan, 1)
        return {name: count async for page in pages for name, count in page}

    def _count(self, connection: sa.Connection, space: str) -> Query[tuple[str, int]]:
        table = self._registry.forms(connection, space)[-1].table
        query = sa.select(sa.func.count()).select_from(table)
        text = tables.select_text(query, self._backend.dialect)
        return Query(text, lambda row: (space, int(row[0])))

    async def dead_letters(
        self, limit: int = 1000, offset: int = 0, which: LetterFilter = ANY_LETTER
    ) -> list[DeadLetter]:
        return await self._write(
            lambda connection: letters.select(connection, which, limit, offset)
        )

    async def dead_letter_count(self) -> int:
        return await self._write(writing.count_letters)

    async def retry_letters(
        self, which: LetterFilter, limit: int, schemas: Mapping[str, SpaceSchema]
    ) -> list[LetterResult]:
        await self._prepare_spaces(schemas)
        return await self._write(
            lambda connection: letters.retry(connection, self._context(schemas), which, limit)
        )

    async def drop_letters(self, which: LetterFilter, limit: int) -> int:
        return await self._write(lambda connection: letters.drop(connection, which, limit))
