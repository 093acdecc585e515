"""Rows of single keys, as of one moment, with the fences of their partitions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa

from tupelo_grid.store import tables
from tupelo_grid.store.backend import Backend
from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.mapping import Place, SpaceMapping
from tupelo_grid.store.port import KeyRows, Row
from tupelo_grid.store.registry import Registry

KEYS_A_STATEMENT: Final = 256

Statement = tuple[str, list[str]]
"""SQL, and the names of its parameters in order"""


class Lookup:
    """Finds rows by key. What it knows of a space's forms counts while the store has as many."""

    def __init__(self, backend: Backend, registry: Registry) -> None:
        self._backend = backend
        self._registry = registry
        self._forms: dict[str, list[SpaceMapping]] = {}
        self._statements: dict[tuple[str, int, int], Statement] = {}

    def forget(self) -> None:
        """After something went wrong: tables may be others."""
        self._forms = {}
        self._statements = {}

    def read(
        self,
        connection: sa.Connection,
        space: str,
        partitions: Collection[int],
        keys: Sequence[bytes],
    ) -> KeyRows:
        forms = self._forms_of(connection, space)
        fence = tables.partitions.c
        query = sa.select(fence.partition, fence.epoch, fence.cursor)
        query = query.where(fence.partition.in_(sorted(set(partitions))))
        # Fences first and dead letters second: where the database does not give one moment, what
        # is read later is only newer than they say.
        fences = {row[0]: (row[1], row[2]) for row in connection.execute(query)}
        dead = dead_keys(connection, space, keys)
        rows: dict[bytes, Row] = {}
        for form in forms:
            for start in range(0, len(keys), KEYS_A_STATEMENT):
                part = keys[start : start + KEYS_A_STATEMENT]
                for row in self._rows(connection, form, form is forms[-1], part):
                    rows[row[0]] = row
        return KeyRows(fences, rows, dead)

    def _forms_of(self, connection: sa.Connection, space: str) -> list[SpaceMapping]:
        c = tables.spaces.c
        count = sa.select(sa.func.count()).select_from(tables.spaces).where(c.space == space)
        known = self._forms.get(space)
        if known is None or len(known) != connection.execute(count).scalar_one():
            known = self._forms[space] = self._registry.forms(connection, space)
        return known

    def _rows(
        self, connection: sa.Connection, form: SpaceMapping, newest: bool, keys: Sequence[bytes]
    ) -> list[Row]:
        columns = []
        for key in keys:
            try:
                columns.append(form.key_columns(key))
            except Unfit:
                continue  # no row can have that key
        if not columns:
            return []
        # Few different statements: the last key is asked for again until their number is even.
        places = 1
        while places < len(columns):
            places *= 2
        columns += [columns[-1]] * (places - len(columns))
        text, names = self._statement(form, newest, places)
        values = {
            f"k{at}_{number}": value
            for at, column in enumerate(columns)
            for number, value in enumerate(column)
        }
        found = connection.exec_driver_sql(text, tuple(values[name] for name in names))
        return [form.entry(tuple(row)) for row in found]

    def _statement(self, form: SpaceMapping, newest: bool, places: int) -> Statement:
        name = (form.schema.name, form.number, places)
        known = self._statements.get(name)
        if known is None:
            query = form.select().where(form_is(form, newest), _any_of(form, places))
            compiled = query.compile(dialect=self._backend.dialect)
            order = getattr(compiled, "positiontup", None)
            assert order is not None, "parameters without an order"
            known = self._statements[name] = (str(compiled), list(order))
        return known


def form_is(form: SpaceMapping, newest: bool) -> sa.ColumnElement[bool]:
    """Rows put in this form; in a table that was there before, also those the grid did not put."""
    c = form.table.c
    mine: sa.ColumnElement[bool] = c.tupelo_form == sa.literal_column(str(form.number))
    return sa.or_(mine, c.tupelo_form.is_(None)) if form.schema.table and newest else mine


def _any_of(form: SpaceMapping, places: int) -> sa.ColumnElement[bool]:
    key = list(form.table.primary_key.columns)

    def same(column: sa.Column[Any], name: str) -> sa.ColumnElement[bool]:
        if form.places.get(column.name, Place()).cast:
            # Of a type of the database's own, such as an enumeration.
            return sa.cast(column, sa.Text) == sa.bindparam(name, type_=sa.Text())
        return column == sa.bindparam(name, type_=column.type)

    return sa.or_(
        *(
            sa.and_(*(same(column, f"k{at}_{number}") for number, column in enumerate(key)))
            for at in range(places)
        )
    )


def dead_keys(
    connection: sa.Connection, space: str, keys: Sequence[bytes] | None = None
) -> frozenset[bytes]:
    """Those whose newest change is a dead letter; of the whole space without `keys`."""
    c = tables.dead_letters.c
    query = sa.select(c.key).where(c.space == space, c.superseded == 0)
    if keys is not None:
        query = query.where(c.key.in_(keys))
    return frozenset(row[0] for row in connection.execute(query))
