"""Dead letters: looked at, tried again, dropped. Each function is one transaction's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from tupelo.schema import SpaceSchema

from tupelo_grid.store import tables, tombstones
from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.port import DeadLetter, LetterFilter, LetterResult
from tupelo_grid.store.writing import ERROR_TEXT_MAX, Context, attempt, read_fences

STORED = "stored"
SUPERSEDED = "superseded"
REFUSED = "refused"

_c = tables.dead_letters.c
_COLUMNS = (
    *(_c.space, _c.key, _c.version, _c.error, _c.payload),
    *(_c.deadline_ms, _c.time_ms, _c.partition, _c.superseded),
)
_PLACE = (_c.time_ms, _c.space, _c.key, _c.version)


def select(
    connection: sa.Connection, which: LetterFilter, limit: int, offset: int = 0
) -> list[DeadLetter]:
    """Oldest first."""
    query = sa.select(*_COLUMNS).where(*_conditions(which)).order_by(*_PLACE)
    return [DeadLetter(*row) for row in connection.execute(query.limit(limit).offset(offset))]


def _conditions(which: LetterFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if which.space:
        found.append(_c.space == which.space)
    if which.key is not None:
        found.append(_c.key == which.key)
    if which.version:
        found.append(_c.version == which.version)
    if not which.superseded:
        found.append(_c.superseded == 0)
    if which.after is not None:
        place: list[Any] = [sa.literal(part) for part in which.after]
        found.append(sa.tuple_(*_PLACE) > sa.tuple_(*place))
    return found


def retry(
    connection: sa.Connection, context: Context, which: LetterFilter, limit: int
) -> list[LetterResult]:
    """Stores what the database takes by now, under the guard of its version, and forgets those
    letters; the others keep their place, with the newest error."""
    live = LetterFilter(which.space, which.key, which.version, False, which.after)
    # The writer of a partition holds its fence row: while we have it, nothing newer slips in.
    read_fences(connection, {letter.partition for letter in select(connection, live, limit)})
    found = select(connection, live, limit)
    gone = tombstones.of_keys(connection, [(letter.space, letter.key) for letter in found])
    results = [_retry(connection, context, letter, gone) for letter in found]
    for one in results:
        if one.result == REFUSED:
            text = one.error[:ERROR_TEXT_MAX]
            change = sa.update(tables.dead_letters).values(error=text)
            connection.execute(change.where(*_is(one.letter)))
        else:
            connection.execute(sa.delete(tables.dead_letters).where(*_is(one.letter)))
    return results


def _retry(
    connection: sa.Connection, context: Context, letter: DeadLetter, gone: tombstones.Deleted
) -> LetterResult:
    if gone.get((letter.space, tombstones.short(letter.key)), 0) >= letter.version:
        return LetterResult(letter, SUPERSEDED)
    schema = context.schemas.get(letter.space)
    if schema is None:
        return LetterResult(letter, REFUSED, f"space {letter.space!r} is not declared")
    try:
        before = _version(connection, context, schema, letter)
        if before >= letter.version:
            return LetterResult(letter, SUPERSEDED)
        error = _store(connection, context, schema, letter)
    except Unfit as unfit:
        error = str(unfit)
    return LetterResult(letter, REFUSED, error) if error else LetterResult(letter, STORED)


def _version(
    connection: sa.Connection, context: Context, schema: SpaceSchema, letter: DeadLetter
) -> int:
    """Of the row that the key has; 0: none."""
    mapping = context.registry.table(schema).mapping
    place = list(mapping.table.primary_key.columns)
    query = sa.select(mapping.table.c.tupelo_version).where(
        *(column == sa.bindparam(column.name) for column in place)
    )
    # By the driver itself, as rows are written: key columns have its types, not SQLAlchemy's.
    text = str(query.compile(dialect=context.backend.dialect))
    row = connection.exec_driver_sql(text, tuple(mapping.key_columns(letter.key))).first()
    return 0 if row is None or row[0] is None else int(row[0])


def _store(
    connection: sa.Connection, context: Context, schema: SpaceSchema, letter: DeadLetter
) -> str:
    """Why the database refuses it; "" when it took it."""
    table = context.registry.table(schema)
    mapping = table.mapping
    if letter.payload is None:
        rows = [(*mapping.key_columns(letter.key), letter.version)]
        error = attempt(connection, context.backend, table.writes.remove, rows)
        if error is None:
            change = (letter.space, letter.key, None, letter.version, 0)
            buried = [(change, letter.partition)]
            tombstones.bury(connection, context.stones, buried, context.now_ms)
        return error or ""
    row = mapping.row(
        letter.key, letter.payload, letter.version, letter.partition, letter.deadline_ms
    )
    return attempt(connection, context.backend, table.writes.put, [row]) or ""


def drop(connection: sa.Connection, which: LetterFilter, limit: int) -> int:
    """Forgets letters, the oldest first."""
    found = select(connection, which, limit)
    for letter in found:
        connection.execute(sa.delete(tables.dead_letters).where(*_is(letter)))
    return len(found)


def _is(letter: DeadLetter) -> Sequence[sa.ColumnElement[bool]]:
    return (_c.space == letter.space, _c.key == letter.key, _c.version == letter.version)
