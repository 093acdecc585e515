"""Field values between MessagePack and PostgreSQL's own types.

A converter returns what the database will give back (fields.py). Where it may give back something
else, such as JSONB, which keeps neither the order of keys nor the form of numbers, the codec says
that it is not exact, and the exact bytes are kept beside.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from tupelo.schema import FieldType

from tupelo_grid.store.fields import SQLITE_CODECS, FieldCodec, Unfit, json_text

NUMERIC_DIGITS_MAX: Final = 16_383
"""PostgreSQL's bound on digits after the point, taken for those before it as well."""

_DIGITS: Final = decimal.Context(prec=2 * NUMERIC_DIGITS_MAX + 2, Emax=decimal.MAX_EMAX)


def _float(value: Any) -> float:
    """NaN has a place here. -0.0 would be kept too, but equals 0.0 where it is a key."""
    if type(value) is float:
        return value + 0.0
    number = SQLITE_CODECS["float"].to_column(value)
    return float("nan") if number is None else float(number)


def _bool(value: Any) -> bool:
    return value is True or bool(SQLITE_CODECS["bool"].to_column(value))


def _str(value: Any) -> str:
    text: str = SQLITE_CODECS["str"].to_column(value)
    if "\0" in text:
        raise Unfit("text with a NUL character, which PostgreSQL does not take")
    return text


def _datetime(value: Any) -> datetime.datetime:
    """In UTC; a time that does not know its zone is taken for UTC, and its exact bytes are kept."""
    if type(value) is datetime.datetime and value.tzinfo is datetime.UTC:
        return value
    text: str = SQLITE_CODECS["datetime"].to_column(value)
    found = datetime.datetime.fromisoformat(text)
    return found.replace(tzinfo=datetime.UTC) if found.tzinfo is None else found


def _date(value: Any) -> datetime.date:
    return datetime.date.fromisoformat(SQLITE_CODECS["date"].to_column(value))


def _decimal(value: Any) -> decimal.Decimal | None:
    """As NUMERIC gives it back: all digits written out, and no zero below zero."""
    number = decimal.Decimal(SQLITE_CODECS["decimal"].to_column(value))
    if not number.is_finite():
        return None
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() > NUMERIC_DIGITS_MAX or exponent < -NUMERIC_DIGITS_MAX:
        raise Unfit(f"a decimal of more than {NUMERIC_DIGITS_MAX} digits on one side of its point")
    if exponent > 0:
        number = number.quantize(decimal.Decimal(1), context=_DIGITS)
    return number.copy_abs() if number.is_zero() else number


def _uuid(value: Any) -> uuid.UUID:
    return uuid.UUID(SQLITE_CODECS["uuid"].to_column(value))


def jsonb_text(value: Any) -> str | None:
    """JSON; None where JSON has no form for the value, or JSONB none for its text."""
    text = json_text(value)
    return None if text is None or "\\u0000" in text else text


POSTGRES_CODECS: Final[dict[FieldType, FieldCodec]] = {
    "int": SQLITE_CODECS["int"],
    "float": FieldCodec(sa.Double, _float),
    "str": FieldCodec(sa.Text, _str),
    "bytes": SQLITE_CODECS["bytes"],
    "bool": FieldCodec(sa.Boolean, _bool),
    "datetime": FieldCodec(postgresql.TIMESTAMP(timezone=True), _datetime),
    "date": FieldCodec(sa.Date, _date, datetime.date.isoformat),
    "decimal": FieldCodec(sa.Numeric, _decimal, str),
    "uuid": FieldCodec(postgresql.UUID(as_uuid=True), _uuid, str),
    "json": FieldCodec(postgresql.JSONB, jsonb_text, msgspec.json.decode, exact=False),
}
