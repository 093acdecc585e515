"""Typed entries, and what the grid must know of their type."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from tupelo.errors import ApplicationError
from tupelo.schema import FieldSchema, FieldType


class Entry(msgspec.Struct, frozen=True):
    """Base class of typed entries.

    Subclasses are frozen too (`frozen=True` is inherited, and type checkers like to see it again):
    commands are handed live objects, which nothing may change in place. To write, make a changed
    copy with `msgspec.structs.replace` and put it.
    """


E = TypeVar("E", bound=Entry)


class EntryNotFound(ApplicationError, KeyError):
    """`space[key]` found no entry. Fields: space, key."""

    def __str__(self) -> str:
        return self.message


_SIMPLE: Final[dict[type[inspect.Type], FieldType]] = {
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "str",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytes",
    inspect.BoolType: "bool",
    inspect.DateTimeType: "datetime",
    inspect.DateType: "date",
    inspect.DecimalType: "decimal",
    inspect.UUIDType: "uuid",
}

KEY_TYPES: Final = ("int", "float", "str", "bytes", "bool")

_IMMUTABLE: Final = (
    inspect.NoneType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.BoolType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.DecimalType,
    inspect.UUIDType,
    inspect.EnumType,
    inspect.LiteralType,
)


class EntryType(msgspec.Struct, frozen=True):
    """An entry class as the grid sees it.

    Attributes:
        fields: its columns.
        shareable: nothing in it can change in place, so that one decoded object can be handed to
            every command. An entry with, say, a list in it is decoded anew at each read.
    """

    fields: tuple[FieldSchema, ...]
    shareable: bool


def describe(entry_type: type[Entry]) -> EntryType:
    """Raises TypeError, saying what to change, for a class that cannot be an entry."""
    if not (isinstance(entry_type, type) and issubclass(entry_type, Entry)):
        raise TypeError(f"{entry_type!r} is not a subclass of tupelo.unit.Entry")
    name = entry_type.__name__
    config = entry_type.__struct_config__
    if not config.frozen:
        raise TypeError(
            f"entries must not change in place, and {name} is declared frozen=False: "
            f"write `class {name}(Entry, frozen=True)`"
        )
    for option in ("array_like", "tag", "omit_defaults"):
        if getattr(config, option):
            raise TypeError(
                f"{name} is declared with {option}, but an entry is stored as a map of all its "
                f"fields: leave {option} out"
            )
    try:
        described = inspect.type_info(entry_type)
    except (NameError, TypeError) as error:
        raise TypeError(f"the field types of {name} cannot be understood: {error}") from error
    assert isinstance(described, inspect.StructType)
    return EntryType(
        fields=tuple(_field(name, field) for field in described.fields),
        shareable=_immutable(described, set()),
    )


def _field(owner: str, field: inspect.Field) -> FieldSchema:
    if field.encode_name != field.name:
        raise TypeError(
            f"{owner}.{field.name} is renamed to {field.encode_name!r}, but fields are stored by "
            f"their own names: leave `rename` and `field(name=...)` out"
        )
    optional, inner = _optional(field.type)
    _check_known(owner, field.name, field.type)
    return FieldSchema(field.name, _field_type(inner), optional)


def _optional(info: inspect.Type) -> tuple[bool, inspect.Type]:
    """`X | None` as (True, X)."""
    if isinstance(info, inspect.Metadata):
        return _optional(info.type)
    if isinstance(info, inspect.NoneType | inspect.AnyType):
        return True, info
    if not isinstance(info, inspect.UnionType) or not info.includes_none:
        return False, info
    others = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
    return True, others[0] if len(others) == 1 else inspect.UnionType(tuple(others))


def _field_type(info: inspect.Type) -> FieldType:
    if isinstance(info, inspect.Metadata):
        return _field_type(info.type)
    if isinstance(info, inspect.EnumType):
        return _type_of_values(_enum_values(info.cls))
    if isinstance(info, inspect.LiteralType):
        return _type_of_values(info.values)
    return _SIMPLE.get(type(info), "json")


def _enum_values(cls: type[enum.Enum]) -> list[Any]:
    return [member.value for member in cls]


def _type_of_values(values: Iterable[Any]) -> FieldType:
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return "str"
    return "int" if kinds == {int} else "json"


def _parts(info: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(info, inspect.Metadata):
        return (info.type,)
    if isinstance(info, inspect.UnionType):
        return info.types
    if isinstance(info, inspect.TupleType):
        return info.item_types
    if isinstance(info, inspect.CollectionType):
        return (info.item_type,)
    if isinstance(info, inspect.DictType):
        return (info.key_type, info.value_type)
    return ()


def _check_known(owner: str, field: str, info: inspect.Type) -> None:
    if isinstance(info, inspect.CustomType | inspect.ExtType | inspect.RawType):
        raise TypeError(
            f"{owner}.{field} has a type that cannot be stored: {getattr(info, 'cls', info)!r}; "
            f"use str, int, float, bool, bytes, datetime, date, Decimal, UUID, an Enum, or tuples, "
            f"dicts and structs of these"
        )
    for part in _parts(info):
        _check_known(owner, field, part)


def _immutable(info: inspect.Type, seen: set[type]) -> bool:
    if isinstance(info, inspect.StructType):
        if info.cls in seen:
            return True
        seen.add(info.cls)
        return info.cls.__struct_config__.frozen and all(
            _immutable(field.type, seen) for field in info.fields
        )
    if isinstance(
        info,
        inspect.Metadata
        | inspect.UnionType
        | inspect.TupleType
        | inspect.VarTupleType
        | inspect.FrozenSetType,
    ):
        return all(_immutable(part, seen) for part in _parts(info))
    return isinstance(info, _IMMUTABLE)
