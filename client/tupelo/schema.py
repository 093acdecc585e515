"""What the grid knows of a space: how its keys route, and what its entries look like.

A schema is declared by a processing unit (or by `create_space`), stored as JSON at the coordinator
under `space/<name>`, and read by units, routers, SDKs and the data writer.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from tupelo.errors import InvalidArgument

FieldType = Literal[
    "int", "float", "str", "bytes", "bool", "datetime", "date", "decimal", "uuid", "json"
]

SPACE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")

# A primary, and the most backups that a grid can have.
COPIES_MAX: Final = 4

# The untyped space that every grid has without a declaration.
DEFAULT_SPACE: Final = "default"


class FieldSchema(msgspec.Struct, frozen=True):
    """One field of a typed entry.

    Attributes:
        type: "json" for anything that has no column type of its own.
        optional: the value may be None.
    """

    name: str
    type: FieldType
    optional: bool = False


class SpaceSchema(msgspec.Struct, frozen=True):
    """A space's declaration.

    Attributes:
        name: letters, digits, `_`, `-` and `.`, at most 128.
        key: names of the key fields, in order; empty for an untyped space. An entry of a space with
            one key field has that field's value as its key, with several an array of them.
        route: positions in `key` whose values decide the partition; empty: the whole key. One
            position routes by that value, several by an array of them.
        fields: all fields of the entry, key fields included; empty for an untyped space. The value
            is a MessagePack map of them.
        ttl_ms: default time to live in milliseconds; 0: entries do not expire.
        persist: whether the data writer stores the entries.
        coalesce: whether the writer may skip versions of a key that a newer one of the same batch
            replaces. False for audited spaces.
        table: of the store that holds the entries, "TABLE" or "SCHEMA.TABLE"; "": one named after
            the space. Typed spaces only.
        write_through: a write is answered only when the store has it.
        read_through: an entry that is asked for and is not there is looked for in the store.
        spill: while the store is away and the journals are full, writes are taken all the same, and
            older ones wait in files.
        columns: (field, column) of those fields whose column has another name.
        min_in_sync: copies, the primary's included, without which writes are refused; 0: as many
            as the grid's setting of that name says.

    Raises ValueError for one that contradicts itself; decoding turns that into a ValidationError.
    """

    name: str
    key: tuple[str, ...] = ()
    route: tuple[int, ...] = ()
    fields: tuple[FieldSchema, ...] = ()
    ttl_ms: int = 0
    persist: bool = True
    coalesce: bool = True
    table: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    write_through: bool = False
    read_through: bool = False
    min_in_sync: int = 0
    spill: bool = False

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        for name in names:
            if not name or '"' in name or "\\" in name or min(name) < " ":
                raise ValueError(
                    f"{name!r} cannot name a field of space {self.name!r}: names are not empty and "
                    "have no quotation marks, backslashes and control characters"
                )
        for what, given in (("field", names), ("key field", self.key), ("route", self.route)):
            if len(set(given)) < len(given):
                raise ValueError(f"space {self.name!r} names a {what} twice")
        if names and not self.key:
            raise ValueError(f"space {self.name!r} has fields but no key among them")
        strange = [name for name in self.key if names and name not in names]
        if strange:
            raise ValueError(f"key field {strange[0]!r} of space {self.name!r} is no field of it")
        if not all(0 <= position < len(self.key) for position in self.route):
            raise ValueError(f"the route of space {self.name!r} is not made of places in its key")
        if self.ttl_ms < 0:
            raise ValueError(f"ttl_ms of space {self.name!r} is below 0")
        if not 0 <= self.min_in_sync <= COPIES_MAX:
            raise ValueError(
                f"min_in_sync of space {self.name!r} must be 1 to {COPIES_MAX}, or 0 for the grid's"
            )
        if self.write_through and not self.persist:
            raise ValueError(f"space {self.name!r} is not stored, so it cannot be write-through")
        if self.read_through and not self.persist:
            raise ValueError(f"space {self.name!r} is not stored, so it cannot be read through")
        if self.spill and not self.persist:
            raise ValueError(f"space {self.name!r} is not stored, so it has nothing to spill")
        self._check_table(names)

    def _check_table(self, names: list[str]) -> None:
        if (self.table or self.columns) and not names:
            raise ValueError(f"space {self.name!r} has no fields to put into a table's columns")
        parts = self.table.split(".") if self.table else []
        if len(parts) > 2 or not all(_is_identifier(part) for part in parts):
            raise ValueError(
                f"{self.table!r} cannot be the table of space {self.name!r}: write TABLE or "
                "SCHEMA.TABLE"
            )
        renamed = dict(self.columns)
        strange = [name for name in renamed if name not in names]
        if strange or len(renamed) < len(self.columns):
            raise ValueError(f"columns of space {self.name!r} must name each a field of it, once")
        for column in renamed.values():
            if not _is_identifier(column):
                raise ValueError(f"{column!r} cannot be a column of space {self.name!r}")
        if len({renamed.get(name, name) for name in names}) < len(names):
            raise ValueError(f"two fields of space {self.name!r} have the same column")

    @property
    def typed(self) -> bool:
        return bool(self.fields)


def _is_identifier(name: str) -> bool:
    """What databases take as a name in quotation marks."""
    own = name.lower().startswith("tupelo_")
    return 0 < len(name.encode()) <= 63 and '"' not in name and min(name) >= " " and not own


def schema_of(**settings: Any) -> SpaceSchema:
    """A schema of what a caller gave. Raises InvalidArgument."""
    try:
        return msgspec.convert(settings, SpaceSchema)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"a space cannot be declared like that: {error}") from None


def encode_schema(schema: SpaceSchema) -> bytes:
    return msgspec.json.encode(schema)


def decode_schema(data: bytes) -> SpaceSchema:
    """Raises msgspec.ValidationError when the JSON is not a schema."""
    try:
        return msgspec.json.decode(data, type=SpaceSchema)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.ValidationError(f"it is not JSON: {error}") from error


def same_schema(one: bytes, other: bytes) -> bool:
    """Whether they say the same; one may be of a version that knew fewer settings."""
    try:
        return one == other or decode_schema(one) == decode_schema(other)
    except msgspec.ValidationError:
        return False
