"""Which table holds which space, and in which forms: made and widened as schemas come.

Each form (key and fields) a space has had keeps its number in tupelo_spaces, and each row the
number of the form it was put in: so exact bytes come back from rows older than a new field.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from tupelo.schema import SpaceSchema, decode_schema, encode_schema

from tupelo_grid.store import tables
from tupelo_grid.store.backend import Backend
from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.mapping import SpaceMapping, make_mapping
from tupelo_grid.store.port import StoreUnusable


@dataclass(frozen=True, slots=True)
class SpaceTable:
    """The statements of a space's newest form. Parameters of `delete`: the key, the version."""

    mapping: SpaceMapping
    upsert: str
    delete: str


class Registry:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[str, tuple[SpaceSchema, SpaceTable]] = {}

    def forget(self) -> None:
        """After a transaction that was rolled back: what it made may not be there."""
        self._known.clear()

    def table(self, connection: sa.Connection, schema: SpaceSchema) -> SpaceTable:
        """Makes or widens the table where needed.

        Raises Unfit when the schema does not fit the table that is there.
        """
        known = self._known.get(schema.name)
        if known is not None and (known[0] is schema or known[0] == schema):
            return known[1]
        form = SpaceSchema(schema.name, key=schema.key, fields=schema.fields)
        mapping = self._ensure(connection, form)
        key = list(mapping.table.primary_key.columns)
        old = sa.and_(
            *(column == sa.bindparam(column.name) for column in key),
            mapping.table.c.tupelo_version <= sa.bindparam("tupelo_version"),
        )
        delete = sa.delete(mapping.table).where(old).compile(dialect=self._backend.dialect)
        found = SpaceTable(mapping, self._backend.upsert(mapping.table), str(delete))
        self._known[schema.name] = (schema, found)
        return found

    def _ensure(self, connection: sa.Connection, form: SpaceSchema) -> SpaceMapping:
        forms = self.forms(connection, form.name)
        for mapping in forms:
            if mapping.schema == form:
                return mapping
        try:
            mapping = make_mapping(form, self._backend.codecs, len(forms) + 1)
        except ValueError as error:
            raise Unfit(f"the schema of space {form.name!r} is wrong: {error}") from error
        if forms:
            for earlier in forms:
                _check_change(earlier.schema, form)
            self._widen(connection, mapping)
        else:
            self._create(connection, mapping)
        connection.execute(
            sa.insert(tables.spaces).values(
                space=form.name,
                number=mapping.number,
                table_name=mapping.table.name,
                schema=encode_schema(form).decode(),
            )
        )
        return mapping

    def forms(self, connection: sa.Connection, space: str) -> list[SpaceMapping]:
        """All forms of the space, oldest first; none for a space that was never stored."""
        query = sa.select(tables.spaces.c.number, tables.spaces.c.schema)
        query = query.where(tables.spaces.c.space == space).order_by(tables.spaces.c.number)
        found = []
        for number, text in connection.execute(query):
            try:
                schema = decode_schema(text.encode())
            except msgspec.MsgspecError as error:
                raise StoreUnusable(
                    f"tupelo_spaces holds no schema for space {space!r}, form {number}: {error}",
                    "restore the row from a backup of the store",
                ) from error
            found.append(make_mapping(schema, self._backend.codecs, number))
        return found

    def _create(self, connection: sa.Connection, mapping: SpaceMapping) -> None:
        name = mapping.table.name
        if sa.inspect(connection).has_table(name):
            raise Unfit(f"the store has a table {name!r} that is not tupelo's")
        mapping.table.create(connection)

    def _widen(self, connection: sa.Connection, mapping: SpaceMapping) -> None:
        table = mapping.table
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        quote = self._backend.dialect.identifier_preparer.format_table
        for column in table.columns:
            if column.name not in there:
                clause = sa.schema.CreateColumn(column).compile(dialect=self._backend.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {clause}")


def _check_change(before: SpaceSchema, after: SpaceSchema) -> None:
    if before.key != after.key:
        raise Unfit(
            f"the store's table has the key {list(before.key)}, the space now {list(after.key)}: "
            "give the space another name, or rename its table and its rows in tupelo_spaces"
        )
    types = {field.name: field.type for field in before.fields}
    for field in after.fields:
        if types.get(field.name, field.type) != field.type:
            raise Unfit(
                f"field {field.name!r} is {types[field.name]} in the store's table and now "
                f"{field.type}: give the field or the space another name"
            )
