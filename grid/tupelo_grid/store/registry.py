"""Which table holds which space, and in which forms: made and widened as schemas come.

Each form (key, fields, table and columns) a space has had keeps its number in tupelo_spaces, and
each row the number of the form it was put in: so exact bytes come back from rows older than a new
field.

Tables are made in transactions of their own, before rows are written: several transactions may
write at the same time, and none may count on a table that another one has not committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import sqlalchemy as sa
from tupelo.schema import SpaceSchema, decode_schema, encode_schema

from tupelo_grid.store import existing, tables
from tupelo_grid.store.backend import Backend, RowWrites
from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.mapping import SpaceMapping, make_mapping, typed_table
from tupelo_grid.store.port import StoreAway, StoreUnusable


@dataclass(frozen=True, slots=True)
class SpaceTable:
    """A space's newest form, and how rows get into its table."""

    mapping: SpaceMapping
    writes: RowWrites


class NoTable(Exception):
    """The space's table has to be made or changed, and that is not allowed here."""


@dataclass(slots=True)
class Prepared:
    """What was found or made for some spaces; it counts once the transaction is committed.

    Attributes:
        found: by space; Unfit where the schema does not fit the table that is there.
        absent: why a space cannot be stored until somebody runs `tupelo store init`.
        actions: what was made, for a person.
    """

    found: dict[str, tuple[SpaceSchema, SpaceTable | Unfit]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)


class Registry:
    def __init__(self, backend: Backend, create: bool = True) -> None:
        """`create`: tables may be made and widened."""
        self._backend = backend
        self._create = create
        self._known: dict[str, tuple[SpaceSchema, SpaceTable | Unfit]] = {}

    def forget(self) -> None:
        """After something went wrong: tables may not be there any more."""
        self._known.clear()

    def unknown(self, schemas: Mapping[str, SpaceSchema]) -> list[SpaceSchema]:
        """Those that `prepare` has to be run for."""
        return [schema for schema in schemas.values() if self._find(schema) is None]

    def _find(self, schema: SpaceSchema) -> SpaceTable | Unfit | None:
        known = self._known.get(schema.name)
        if known is not None and (known[0] is schema or known[0] == schema):
            return known[1]
        return None

    def publish(self, prepared: Prepared) -> None:
        """After the transaction of `prepare` was committed."""
        self._known.update(prepared.found)

    def table(self, schema: SpaceSchema) -> SpaceTable:
        """Raises Unfit when the schema does not fit the table that is there, and StoreAway when
        that has to be found out again."""
        found = self._find(schema)
        if found is None:
            raise StoreAway(f"the table of space {schema.name!r} is looked for again")
        if isinstance(found, Unfit):
            raise found
        return found

    def prepare(self, connection: sa.Connection, schemas: Iterable[SpaceSchema]) -> Prepared:
        """Finds tables, and makes or widens them where needed."""
        prepared = Prepared()
        for schema in schemas:
            form = SpaceSchema(
                schema.name,
                key=schema.key,
                fields=schema.fields,
                table=schema.table,
                columns=schema.columns,
            )
            try:
                mapping = self._ensure(connection, form, prepared.actions)
            except NoTable as error:
                prepared.absent[schema.name] = str(error)
            except Unfit as error:
                prepared.found[schema.name] = (schema, error)
            else:
                writes = self._backend.writes(mapping.table, mapping.places)
                prepared.found[schema.name] = (schema, SpaceTable(mapping, writes))
        return prepared

    def _ensure(
        self, connection: sa.Connection, form: SpaceSchema, actions: list[str]
    ) -> SpaceMapping:
        forms = self.forms(connection, form.name)
        for mapping in forms:
            if mapping.schema == form:
                return mapping
        if not self._create:
            what = "is not in the form that the grid declares" if forms else "has no table"
            raise NoTable(f"space {form.name!r} {what}: run `tupelo store init`")
        self._backend.lock_schema(connection)
        # Somebody else may have made it while we waited.
        forms = self.forms(connection, form.name)
        for mapping in forms:
            if mapping.schema == form:
                return mapping
        for earlier in forms:
            _check_change(earlier.schema, form)
        made = self._make(connection, form, bool(forms), actions)
        number = len(forms) + 1
        connection.execute(
            sa.insert(tables.spaces).values(
                space=form.name,
                number=number,
                table_name=made.fullname,
                schema=encode_schema(form).decode(),
            )
        )
        return self._mapping(connection, form, number)

    def _make(
        self, connection: sa.Connection, form: SpaceSchema, known: bool, actions: list[str]
    ) -> sa.Table:
        """The form's table, made or widened; one that is there but unknown only by its name."""
        try:
            table = make_mapping(form, self._backend.codecs).table
        except ValueError as error:
            raise Unfit(f"the schema of space {form.name!r} is wrong: {error}") from error
        there = existing.columns_of(connection, table)
        if there is None:
            table.create(connection)
            actions.append(f"table {table.fullname} made for space {form.name}")
            return table
        if not known:
            if not form.table:
                raise Unfit(f"the store has a table {table.fullname!r} that is not tupelo's")
            self._check_unshared(connection, form, table)
        if form.table:
            existing.check_table(connection, table, form, self._backend.codecs)
        widened = existing.widen(connection, table, there)
        actions += [f"column {name} added to table {table.fullname}" for name in widened]
        if not widened:
            actions.append(f"table {table.fullname} taken for space {form.name} as it is")
        return table

    def _check_unshared(
        self, connection: sa.Connection, form: SpaceSchema, table: sa.Table
    ) -> None:
        mine = tables.spaces.c.table_name == table.fullname
        query = sa.select(tables.spaces.c.space).where(mine, tables.spaces.c.space != form.name)
        other = connection.execute(query.limit(1)).scalar()
        if other is not None:
            raise Unfit(f"table {table.fullname!r} holds space {other!r}, and so no other")

    def forms(self, connection: sa.Connection, space: str) -> list[SpaceMapping]:
        """All forms of the space, oldest first; none for a space that was never stored."""
        query = sa.select(tables.spaces.c.number, tables.spaces.c.schema)
        query = query.where(tables.spaces.c.space == space).order_by(tables.spaces.c.number)
        found = []
        for number, text in connection.execute(query).all():
            try:
                schema = decode_schema(text.encode())
            except msgspec.MsgspecError as error:
                raise StoreUnusable(
                    f"tupelo_spaces holds no schema for space {space!r}, form {number}: {error}",
                    "restore the row from a backup of the store",
                ) from error
            found.append(self._mapping(connection, schema, number))
        return found

    def _mapping(self, connection: sa.Connection, form: SpaceSchema, number: int) -> SpaceMapping:
        codecs = self._backend.codecs
        places = {}
        if form.table:
            places = existing.places_of(connection, typed_table(form, codecs), form, codecs)
        return make_mapping(form, codecs, number, places)


def _check_change(before: SpaceSchema, after: SpaceSchema) -> None:
    if before.key != after.key:
        raise Unfit(
            f"the store's table has the key {list(before.key)}, the space now {list(after.key)}: "
            "give the space another name, or rename its table and its rows in tupelo_spaces"
        )
    if before.table != after.table:
        raise Unfit(
            f"the space was in table {before.table or before.name!r} and is now to be in "
            f"{after.table or after.name!r}: move its rows and change tupelo_spaces, or give the "
            "space another name"
        )
    types = {one.name: one.type for one in before.fields}
    columns = dict(before.columns)
    for one in after.fields:
        if types.get(one.name, one.type) != one.type:
            raise Unfit(
                f"field {one.name!r} is {types[one.name]} in the store's table and now "
                f"{one.type}: give the field or the space another name"
            )
        if one.name in types and columns.get(one.name) != dict(after.columns).get(one.name):
            raise Unfit(f"field {one.name!r} has another column in the store's table")
