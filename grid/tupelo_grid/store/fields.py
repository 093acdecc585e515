"""Field values between MessagePack and columns.

A field's value is what msgspec makes of it on the wire: aware datetimes are the timestamp
extension; naive ones, dates, decimals and UUIDs are text. Each type has a converter to the column's
value and one back. A converter to the column returns what the database will give back for it; where
that is not the value put (NaN has no place in SQLite, -0.0 becomes 0.0, an integer in a float
column a float), the mapping sees that the bytes rebuilt differ, and keeps the exact bytes beside.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from tupelo.schema import FieldType

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

Convert = Callable[[Any], Any]


class Unfit(Exception):
    """A value that its column cannot hold. The text says why."""


@dataclass(frozen=True, slots=True)
class FieldCodec:
    """`to_column` raises Unfit. `from_column` None: the column's value is the wire's. Neither is
    ever passed None, which is NULL on the other side. Not `exact`: the column may give back another
    value than was put."""

    column_type: type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]
    to_column: Convert
    from_column: Convert | None = None
    exact: bool = True


def _mismatch(expected: str, value: object) -> Unfit:
    return Unfit(f"expected {expected}, got {type(value).__name__}")


def _int(value: Any) -> int:
    if type(value) is not int:
        raise _mismatch("int", value)
    if not INT_MIN <= value <= INT_MAX:
        raise Unfit(f"integer {value} does not fit into 64 bits with a sign")
    return value


def _float(value: Any) -> float | None:
    if type(value) is float:
        return value + 0.0 if value == value else None
    if type(value) is int:
        return float(value)
    raise _mismatch("float", value)


def _str(value: Any) -> str:
    if type(value) is not str:
        raise _mismatch("str", value)
    return value


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise _mismatch("bytes", value)
    return value


def _bool(value: Any) -> int:
    if type(value) is not bool:
        raise _mismatch("bool", value)
    return int(value)


def _datetime(value: Any) -> str:
    """ISO 8601 text, in UTC where the time knows its zone: sorts by time, and is exact."""
    if type(value) is str:
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise Unfit(f"expected datetime, got text {value[:40]!r}") from error
    if type(value) is not datetime.datetime:
        raise _mismatch("datetime", value)
    if value.tzinfo is None or value.tzinfo is datetime.UTC:
        return value.isoformat()
    try:
        return value.astimezone(datetime.UTC).isoformat()
    except OverflowError as error:
        raise Unfit(f"datetime {value} is outside the years 1 to 9999 in UTC") from error


def _datetime_back(text: str) -> datetime.datetime | str:
    value = datetime.datetime.fromisoformat(text)
    return text if value.tzinfo is None else value


def _date(value: Any) -> str:
    if type(value) is not str:
        raise _mismatch("date as ISO 8601 text", value)
    try:
        return datetime.date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise Unfit(f"expected date, got text {value[:40]!r}") from error


def _decimal(value: Any) -> str:
    if type(value) not in (str, int, float):
        raise _mismatch("decimal as text", value)
    try:
        decimal.Decimal(value)
    except decimal.InvalidOperation as error:
        raise Unfit(f"expected decimal, got text {value[:40]!r}") from error
    return str(value)


def _uuid(value: Any) -> str:
    try:
        if type(value) is str:
            return str(uuid.UUID(value))
        if type(value) is bytes:
            return str(uuid.UUID(bytes=value))
    except ValueError as error:
        raise Unfit(f"expected UUID, got {value[:40]!r}") from error
    raise _mismatch("UUID as text", value)


def json_text(value: Any) -> str | None:
    """The value as JSON for people and SQL; None where JSON has no form for it."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return None


SQLITE_CODECS: Final[dict[FieldType, FieldCodec]] = {
    # Text columns where SQLite's affinity for decimals and JSON would turn digits into numbers.
    "int": FieldCodec(sa.BigInteger, _int),
    "float": FieldCodec(sa.Double, _float),
    "str": FieldCodec(sa.Text, _str),
    "bytes": FieldCodec(sa.LargeBinary, _bytes),
    "bool": FieldCodec(sa.Boolean, _bool, bool),
    "datetime": FieldCodec(sa.Text, _datetime, _datetime_back),
    "date": FieldCodec(sa.Text, _date),
    "decimal": FieldCodec(sa.Text, _decimal),
    "uuid": FieldCodec(sa.Text, _uuid),
    "json": FieldCodec(sa.Text, json_text, msgspec.json.decode),
}
