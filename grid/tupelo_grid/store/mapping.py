"""How the entries of a space lie in its table.

A typed space has a column a field, its key fields as primary key; any other space is a document
table: key and value as bytes, and both as JSON for people and SQL. Both tables end with

    tupelo_version     the entry's version
    tupelo_partition   its partition
    tupelo_deadline    Unix time in milliseconds when it expires; NULL: never
    tupelo_form        number of the form (tupelo_spaces) that the row was put in

The exact bytes of a value come back from a typed row too: they are rebuilt from the columns the way
msgspec encodes a Struct. Where that does not give the bytes that were put (another encoder, a
missing or unknown field, a NaN), `tupelo_value` holds them; otherwise it is NULL. Key bytes are
always rebuilt, so a key that its columns do not give back exactly does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from tupelo.schema import FieldSchema, FieldType, SpaceSchema

from tupelo_grid.store.fields import Convert, FieldCodec, Unfit, json_text
from tupelo_grid.store.naming import database_name
from tupelo_grid.store.port import Row

Codecs = Mapping[FieldType, FieldCodec]
Columns = tuple[Any, ...]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class SpaceMapping(Protocol):
    """Rows are tuples in the order of `table.columns`, in the driver's own types."""

    @property
    def table(self) -> sa.Table: ...

    @property
    def schema(self) -> SpaceSchema: ...

    @property
    def number(self) -> int:
        """Which of the space's forms this is, from 1."""
        ...

    def row(self, key: bytes, value: bytes, version: int, partition: int, deadline: int) -> Columns:
        """Raises Unfit."""
        ...

    def key_columns(self, key: bytes) -> Columns:
        """Values of the primary key. Raises Unfit: then no row can have that key."""
        ...

    def entry(self, row: Columns) -> Row: ...


def _tail() -> list[sa.Column[Any]]:
    return [
        sa.Column("tupelo_version", sa.BigInteger, nullable=False),
        sa.Column("tupelo_partition", sa.Integer, nullable=False),
        sa.Column("tupelo_deadline", sa.BigInteger),
        sa.Column("tupelo_form", sa.Integer, nullable=False),
    ]


def decode_any(data: bytes, what: str) -> Any:
    """MessagePack to plain objects. Raises Unfit."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise Unfit(f"the {what} is not MessagePack: {error}") from error


class DocumentMapping:
    def __init__(self, schema: SpaceSchema, table_name: str, number: int = 1) -> None:
        self.schema = schema
        self.number = number
        self.table = sa.Table(
            table_name,
            sa.MetaData(),
            sa.Column("tupelo_key", sa.LargeBinary, primary_key=True),
            sa.Column("key_text", sa.Text),
            sa.Column("value", sa.LargeBinary, nullable=False),
            sa.Column("value_json", sa.Text),
            *_tail(),
            quote=True,
        )

    def row(self, key: bytes, value: bytes, version: int, partition: int, deadline: int) -> Columns:
        texts = _text(key), _text(value)
        return key, texts[0], value, texts[1], version, partition, deadline or None, self.number

    def key_columns(self, key: bytes) -> Columns:
        return (key,)

    def entry(self, row: Columns) -> Row:
        return row[0], row[2], row[4], row[6] or 0


def _text(data: bytes) -> str | None:
    try:
        return json_text(decode_any(data, ""))
    except Unfit:
        return None


class TypedMapping:
    def __init__(
        self, schema: SpaceSchema, table_name: str, codecs: Codecs, number: int = 1
    ) -> None:
        self.schema = schema
        self.number = number
        names = [field.name for field in schema.fields]
        self.table = _typed_table(schema, table_name, codecs)
        self._names = names
        self._key_at = [names.index(name) for name in schema.key]
        chosen = [codecs[field.type] for field in schema.fields]
        self._to = [codec.to_column for codec in chosen]
        self._back: list[tuple[int, Convert]] = [
            (at, codec.from_column)
            for at, codec in enumerate(chosen)
            if codec.from_column is not None
        ]
        self._key_back: list[tuple[int, Convert]] = [
            (place, dict(self._back)[at])
            for place, at in enumerate(self._key_at)
            if at in dict(self._back)
        ]
        self._key_to = [(at, self._to[at]) for at in self._key_at]
        self._plain = [
            (at, name, to)
            for at, (name, to) in enumerate(zip(names, self._to, strict=True))
            if at not in self._key_at
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
        exact = None if _encode(self._map(columns)) == value else value
        return (*columns, exact, version, partition, deadline or None, self.number)

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
            if column is None:
                raise Unfit(f"key field {self._names[at]!r} has no value a primary key can hold")
            columns.append(column)
        if self._key(columns) != key:
            raise Unfit("the key does not come back from its columns as it was")
        return tuple(columns)

    def entry(self, row: Columns) -> Row:
        count = len(self._names)
        key = self._key([row[at] for at in self._key_at])
        exact = row[count]
        value = exact if exact is not None else _encode(self._map(row))
        return key, value, row[count + 1], row[count + 3] or 0

    def _key(self, columns: list[Any]) -> bytes:
        """Key bytes from the columns of the key fields, in their order."""
        if self._key_back:
            columns = list(columns)
            for at, back in self._key_back:
                columns[at] = back(columns[at])
        return _encode(columns[0] if len(columns) == 1 else columns)

    def _map(self, columns: Columns | list[Any]) -> dict[str, Any]:
        """The map of fields that msgspec makes of a Struct with these columns."""
        wire = dict(zip(self._names, columns, strict=False))
        for at, back in self._back:
            column = columns[at]
            if column is not None:
                wire[self._names[at]] = back(column)
        return wire


def _kind(value: object) -> str:
    return type(value).__name__


def _typed_table(schema: SpaceSchema, table_name: str, codecs: Codecs) -> sa.Table:
    def column(field: FieldSchema) -> sa.Column[Any]:
        in_key = field.name in schema.key
        kind = codecs[field.type].column_type
        name = database_name(field.name)
        return sa.Column(name, kind, nullable=not in_key, autoincrement=False, quote=True)

    key = [database_name(name) for name in schema.key]
    return sa.Table(
        table_name,
        sa.MetaData(),
        *(column(field) for field in schema.fields),
        sa.Column("tupelo_value", sa.LargeBinary),
        *_tail(),
        sa.PrimaryKeyConstraint(*key),
        quote=True,
        sqlite_with_rowid=False,
    )


def make_mapping(schema: SpaceSchema, codecs: Codecs, number: int = 1) -> SpaceMapping:
    """Raises ValueError when the schema contradicts itself."""
    table_name = database_name(schema.name)
    if schema.typed and schema.key:
        return TypedMapping(schema, table_name, codecs, number)
    return DocumentMapping(schema, table_name, number)
