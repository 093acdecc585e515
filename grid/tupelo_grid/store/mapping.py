"""How the entries of a space lie in its table.

A typed space has a column a field, its key fields as primary key; any other space is a document
table: key and value as bytes, and both as JSON for people and SQL. Both tables end with

    tupelo_version     the entry's version
    tupelo_partition   its partition
    tupelo_deadline    Unix time in milliseconds when it expires; NULL: never
    tupelo_form        number of the form (tupelo_spaces) that the row was put in

The exact bytes of a value come back from a typed row too: they are rebuilt from the columns the way
msgspec encodes a Struct. Where that does not give the bytes that were put (another encoder, a
missing or unknown field, a column that is not exact), `tupelo_value` holds them; otherwise it is
NULL. Key bytes are always rebuilt, so a key that its columns do not give back exactly does not fit.

A space may be mapped onto a table that is there already, which gets `tupelo_value` and the four
columns above, all NULL in rows that the grid did not put (see existing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from tupelo.schema import FieldType, SpaceSchema

from tupelo_grid.store.fields import Convert, FieldCodec, Unfit, json_text
from tupelo_grid.store.naming import database_name
from tupelo_grid.store.port import Row

Codecs = Mapping[FieldType, FieldCodec]
Columns = tuple[Any, ...]

FOREIGN_VERSION = 1
"""Version of an entry whose row the grid did not put."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True)
class Place:
    """The column of a field in a table that is there already. `cast`: type that a value must be
    cast to, where assigning it is not enough."""

    exact: bool = True
    cast: str = ""


class SpaceMapping(Protocol):
    """Rows to put are tuples in the order of `table.columns`, in the driver's own types; rows that
    are read have the columns of `select`."""

    @property
    def table(self) -> sa.Table: ...

    @property
    def schema(self) -> SpaceSchema: ...

    @property
    def number(self) -> int:
        """Which of the space's forms this is, from 1."""
        ...

    @property
    def places(self) -> Mapping[str, Place]:
        """By column; of a table that is there already, else empty."""
        ...

    def row(self, key: bytes, value: bytes, version: int, partition: int, deadline: int) -> Columns:
        """Raises Unfit."""
        ...

    def key_columns(self, key: bytes) -> Columns:
        """Values of the primary key. Raises Unfit: then no row can have that key."""
        ...

    def select(self) -> sa.Select[Any]:
        """All rows of the table, as `entry` takes them."""
        ...

    def entry(self, row: Sequence[Any]) -> Row: ...


def _tail(shared: bool = False) -> list[sa.Column[Any]]:
    return [
        sa.Column("tupelo_version", sa.BigInteger, nullable=shared),
        sa.Column("tupelo_partition", sa.Integer, nullable=shared),
        sa.Column("tupelo_deadline", sa.BigInteger),
        sa.Column("tupelo_form", sa.Integer, nullable=shared),
    ]


def decode_any(data: bytes, what: str) -> Any:
    """MessagePack to plain objects. Raises Unfit."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise Unfit(f"the {what} is not MessagePack: {error}") from error


class DocumentMapping:
    places: Mapping[str, Place] = {}

    def __init__(
        self, schema: SpaceSchema, table_name: str, codecs: Codecs, number: int = 1
    ) -> None:
        self.schema = schema
        self.number = number
        self._to_json = codecs["json"].to_column
        self.table = sa.Table(
            table_name,
            sa.MetaData(),
            sa.Column("tupelo_key", sa.LargeBinary, primary_key=True),
            sa.Column("key_text", sa.Text),
            sa.Column("value", sa.LargeBinary, nullable=False),
            sa.Column("value_json", codecs["json"].column_type),
            *_tail(),
            quote=True,
        )

    def row(self, key: bytes, value: bytes, version: int, partition: int, deadline: int) -> Columns:
        texts = _as(json_text, key), _as(self._to_json, value)
        return key, texts[0], value, texts[1], version, partition, deadline or None, self.number

    def key_columns(self, key: bytes) -> Columns:
        return (key,)

    def select(self) -> sa.Select[Any]:
        c = self.table.c
        return sa.select(c.tupelo_key, c.value, c.tupelo_version, c.tupelo_deadline)

    def entry(self, row: Sequence[Any]) -> Row:
        return row[0], row[1], row[2], row[3] or 0


def _as(text_of: Convert, data: bytes) -> Any:
    try:
        return text_of(decode_any(data, ""))
    except Unfit:
        return None


class TypedMapping:
    def __init__(
        self,
        schema: SpaceSchema,
        table: sa.Table,
        codecs: Codecs,
        number: int = 1,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        """`places`: by column, of a table that was there before."""
        self.schema = schema
        self.number = number
        self.table = table
        self.places = places or {}
        names = [field.name for field in schema.fields]
        self._names = names
        self._key_at = [names.index(name) for name in schema.key]
        self._codecs = [codecs[field.type] for field in schema.fields]
        self._to = [codec.to_column for codec in self._codecs]
        back = {
            at: codec.from_column
            for at, codec in enumerate(self._codecs)
            if codec.from_column is not None
        }
        self._back: list[tuple[int, Convert]] = list(back.items())
        self._key_back: list[tuple[int, Convert]] = [
            (place, back[at]) for place, at in enumerate(self._key_at) if at in back
        ]
        self._key_to = [(at, self._to[at]) for at in self._key_at]
        self._plain = [
            (at, name, to)
            for at, (name, to) in enumerate(zip(names, self._to, strict=True))
            if at not in self._key_at
        ]
        exact = [self.places.get(column.name, Place()).exact for column in table.columns]
        self._inexact = [
            at
            for at, codec in enumerate(self._codecs)
            if not (codec.exact and exact[at]) and at not in self._key_at
        ]

    def row(self, key: bytes, value: bytes, version: int, partition: int, deadline: int) -> Columns:
        columns: list[Any] = [None] * len(self._names)
        for at, column in zip(self._key_at, self.key_columns(key), strict=True):
            columns[at] = column
        entry = decode_any(value, "value")
        if type(entry) is not dict:
            raise Unfit(f"the value of a typed entry is a map of fields, not {_kind(entry)}")
        get = entry.get
        for at, name, to in self._plain:
            found = get(name)
            if found is not None:
                try:
                    columns[at] = to(found)
                except Unfit as error:
                    raise Unfit(f"field {name!r}: {error}") from error
        exact = None if self._comes_back(columns, value) else value
        return (*columns, exact, version, partition, deadline or None, self.number)

    def _comes_back(self, columns: list[Any], value: bytes) -> bool:
        """Whether the columns will give back these bytes."""
        for at in self._inexact:
            if columns[at] is not None:
                return False
        return _encode(self._map(columns)) == value

    def key_columns(self, key: bytes) -> Columns:
        parts = decode_any(key, "key")
        if len(self._key_at) == 1:
            parts = [parts]
        elif type(parts) is not list or len(parts) != len(self._key_at):
            raise Unfit(f"the key is not an array of {len(self._key_at)} fields")
        columns = []
        for (at, to), part in zip(self._key_to, parts, strict=True):
            try:
                column = None if part is None else to(part)
            except Unfit as error:
                raise Unfit(f"key field {self._names[at]!r}: {error}") from error
            if column is None or column != column:
                raise Unfit(f"key field {self._names[at]!r} has no value a primary key can hold")
            columns.append(column)
        if self._key(columns) != key:
            raise Unfit("the key does not come back from its columns as it was")
        return tuple(columns)

    def select(self) -> sa.Select[Any]:
        columns = list(self.table.columns)
        read = [
            self._read(codec, column) for codec, column in zip(self._codecs, columns, strict=False)
        ]
        c = self.table.c
        return sa.select(*read, c.tupelo_value, c.tupelo_version, c.tupelo_deadline)

    def _read(self, codec: FieldCodec, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        if self.places:
            # The types of that table are its own.
            kind = codec.column_type if codec.exact else sa.Text
            return sa.cast(column, kind)
        # What is not exact has its value beside, so nobody reads the column.
        return column if codec.exact else sa.null()

    def entry(self, row: Sequence[Any]) -> Row:
        count = len(self._names)
        key = self._key([row[at] for at in self._key_at])
        value, version, deadline = row[count:]
        if value is None:
            value = _encode(self._map(row))
        return key, value, version or FOREIGN_VERSION, deadline or 0

    def _key(self, columns: list[Any]) -> bytes:
        """Key bytes from the columns of the key fields, in their order."""
        if self._key_back:
            columns = list(columns)
            for at, back in self._key_back:
                columns[at] = back(columns[at])
        return _encode(columns[0] if len(columns) == 1 else columns)

    def _map(self, columns: Sequence[Any]) -> dict[str, Any]:
        """The map of fields that msgspec makes of a Struct with these columns."""
        wire = dict(zip(self._names, columns, strict=False))
        for at, back in self._back:
            column = columns[at]
            if column is not None:
                wire[self._names[at]] = back(column)
        return wire


def _kind(value: object) -> str:
    return type(value).__name__


def typed_table(schema: SpaceSchema, codecs: Codecs) -> sa.Table:
    """As it is made where there is none."""
    shared = bool(schema.table)
    place, _, name = schema.table.rpartition(".")
    renamed = dict(schema.columns)

    def column_name(field: str) -> str:
        return renamed.get(field) or (field if shared else database_name(field))

    def column(name: str, kind: FieldType) -> sa.Column[Any]:
        free = name not in schema.key
        codec = codecs[kind]
        return sa.Column(
            column_name(name), codec.column_type, nullable=free, autoincrement=False, quote=True
        )

    return sa.Table(
        name or database_name(schema.name),
        sa.MetaData(),
        *(column(field.name, field.type) for field in schema.fields),
        sa.Column("tupelo_value", sa.LargeBinary),
        *_tail(shared),
        sa.PrimaryKeyConstraint(*(column_name(field) for field in schema.key)),
        schema=place or None,
        quote=True,
        sqlite_with_rowid=False,
    )


def make_mapping(
    schema: SpaceSchema,
    codecs: Codecs,
    number: int = 1,
    places: Mapping[str, Place] | None = None,
) -> SpaceMapping:
    """Raises ValueError when the schema contradicts itself."""
    if schema.typed and schema.key:
        return TypedMapping(schema, typed_table(schema, codecs), codecs, number, places)
    return DocumentMapping(schema, database_name(schema.name), codecs, number)
