"""Tables that are there already: what their columns hold, and what is needed of them.

A space that names its `table` is mapped onto one that somebody else made. Its key must be the
table's primary key or a unique constraint of it, each field must have a column of a type that can
hold it, and every other column a default or NULL. The grid's own five columns are added to it
(`tupelo_value`, `tupelo_version`, ...), all NULL in rows that the grid did not put: such a row is
an entry of version 1. Versions lie in the row itself and not in a table beside it, because each
write is guarded by them: a second table would double the rows written and locked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from tupelo.schema import FieldType, SpaceSchema

from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.mapping import Codecs, Place

# Per field type: column types that give back every value exactly, then those that may round, pad
# or convert it. Names are SQLAlchemy's, without what is in parentheses.
_EXACT: Final[Mapping[FieldType, frozenset[str]]] = {
    "int": frozenset({"SMALLINT", "INTEGER", "BIGINT"}),
    "float": frozenset({"DOUBLE PRECISION", "DOUBLE", "FLOAT"}),
    "str": frozenset({"TEXT", "VARCHAR"}),
    "bytes": frozenset({"BYTEA", "BLOB"}),
    "bool": frozenset({"BOOLEAN"}),
    "datetime": frozenset({"TIMESTAMP WITH TIME ZONE"}),
    "date": frozenset({"DATE"}),
    "decimal": frozenset({"NUMERIC"}),
    "uuid": frozenset({"UUID"}),
    "json": frozenset(),
}
_ROUNDED: Final[Mapping[FieldType, frozenset[str]]] = {
    "int": frozenset({"NUMERIC", "DECIMAL"}),
    "float": frozenset({"REAL", "NUMERIC", "DECIMAL"}),
    "str": frozenset({"CHAR", "CITEXT"}),
    "bytes": frozenset(),
    "bool": frozenset(),
    "datetime": frozenset({"TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP", "DATETIME", "TEXT"}),
    "date": frozenset({"TEXT"}),
    "decimal": frozenset({"DECIMAL", "DOUBLE PRECISION", "FLOAT", "REAL", "TEXT"}),
    "uuid": frozenset({"TEXT", "VARCHAR", "CHAR"}),
    "json": frozenset({"JSONB", "JSON", "TEXT"}),
}

Found = Mapping[str, Mapping[str, Any]]


def columns_of(connection: sa.Connection, table: sa.Table) -> Found | None:
    """The columns that the database has, by name; None where it has no such table."""
    # A new one each time: an inspector remembers what it once saw.
    inspector = sa.inspect(connection)
    if not inspector.has_table(table.name, schema=table.schema):
        return None
    columns = inspector.get_columns(table.name, schema=table.schema)
    return {str(column["name"]): dict(column) for column in columns}


def widen(connection: sa.Connection, table: sa.Table, there: Found) -> list[str]:
    """Adds the columns that are missing; rows that are there have NULL in them."""
    dialect = connection.dialect
    added = []
    for column in table.columns:
        if column.name in there:
            continue
        free = sa.Column(column.name, column.type, nullable=True, quote=True)
        clause = sa.schema.CreateColumn(free).compile(dialect=dialect)
        name = dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {clause}")
        added.append(column.name)
    return added


def places_of(
    connection: sa.Connection, table: sa.Table, schema: SpaceSchema, codecs: Codecs
) -> dict[str, Place]:
    """By column. Raises Unfit for a column that cannot hold its field."""
    there = columns_of(connection, table) or {}
    found = {}
    for field, column in zip(schema.fields, table.columns, strict=False):
        if column.name in there:
            kind = there[column.name]["type"]
            place = _place(connection, field.type, kind)
            if place is None or (field.name in schema.key and not (place.exact or place.cast)):
                wanted = _text(connection, sa.types.to_instance(codecs[field.type].column_type))
                raise Unfit(
                    f"column {column.name!r} of table {table.fullname!r} is "
                    f"{_text(connection, kind)} and cannot hold field {field.name!r}, which is "
                    f"{field.type}: make it {wanted}, or give the field another column"
                )
            found[column.name] = place
    return found


def _place(connection: sa.Connection, field: FieldType, kind: Any) -> Place | None:
    if isinstance(kind, sa.Enum) and kind.name:
        quote = connection.dialect.identifier_preparer.quote
        name = f"{quote(kind.schema)}.{quote(kind.name)}" if kind.schema else quote(kind.name)
        return Place(exact=True, cast=name) if field == "str" else None
    text = _text(connection, kind)
    base = re.sub(r"\(.*?\)", "", text).strip()
    # A precision or scale rounds; the length of a text refuses what is longer.
    bounded = "(" in text and base not in ("VARCHAR", "CHAR")
    if base in _EXACT[field] and connection.dialect.name != "sqlite":
        return Place(exact=not bounded)
    if base in _EXACT[field] and field in ("int", "str", "bytes", "bool"):
        return Place()
    # SQLite converts by rules of its own, so no more is taken for exact there.
    return Place(exact=False) if base in _EXACT[field] | _ROUNDED[field] else None


def _text(connection: sa.Connection, kind: Any) -> str:
    return str(kind.compile(dialect=connection.dialect)).upper()


def check_table(
    connection: sa.Connection, table: sa.Table, schema: SpaceSchema, codecs: Codecs
) -> None:
    """Raises Unfit, saying what to change, for a table that cannot hold the space."""
    places_of(connection, table, schema, codecs)
    inspector = sa.inspect(connection)
    key = {column.name for column in table.primary_key.columns}
    place = {"schema": table.schema}
    unique = [set(inspector.get_pk_constraint(table.name, **place)["constrained_columns"])]
    unique += [
        set(one["column_names"]) for one in inspector.get_unique_constraints(table.name, **place)
    ]
    if key not in unique:
        raise Unfit(
            f"table {table.fullname!r} has no primary key or unique constraint on exactly "
            f"{sorted(key)}, the key of space {schema.name!r}"
        )
    mine = {column.name for column in table.columns}
    for name, column in (columns_of(connection, table) or {}).items():
        filled = column["nullable"] or column.get("default") is not None
        filled = filled or column.get("identity") or column.get("computed")
        if name not in mine and not filled:
            raise Unfit(
                f"column {name!r} of table {table.fullname!r} is of no field of space "
                f"{schema.name!r}, and has neither a default nor NULL"
            )
