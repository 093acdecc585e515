"""Keys and values as JSON text, for the row RPCs.

JSON is read and written as itself, with three objects for what it does not have:

    {"$base64": "AQI="}                 bytes
    {"$map": [[1, "a"], [2, "b"]]}      a map whose keys are not all text, or that looks like these
    {"$ext": [5, "AQI="]}               a MessagePack extension of code 5

Times are ISO 8601 text: in a typed space they become the field's type, in an untyped one they stay
text. A number with a fraction or exponent is a float, any other an integer, so 1 and 1.0 are
different keys. Integers beyond 64 bits, NaN and infinities are not accepted.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import uuid
from typing import Any, Final

import msgspec
from tupelo.errors import InvalidArgument

BYTES: Final = "$base64"
MAP: Final = "$map"
EXT: Final = "$ext"
_MARKS: Final = frozenset({BYTES, MAP, EXT})

_TEXTUAL: Final = (datetime.datetime, datetime.date, datetime.time, decimal.Decimal, uuid.UUID)


def from_json(text: str, what: str) -> Any:
    """The value of JSON text. Raises InvalidArgument, naming `what`, e.g. "key_json"."""
    try:
        return _marked(msgspec.json.decode(text.encode()))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidArgument(f"{what} is not JSON: {error}; text needs double quotes") from None
    except ValueError as error:
        raise InvalidArgument(f"{what}: {error}") from None


def to_json(value: Any) -> str:
    """JSON text of a decoded MessagePack value. Raises InvalidArgument for NaN and infinities."""
    try:
        return msgspec.json.encode(_plain(value)).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the value has no JSON form: {error}; ask for MessagePack") from None


def _marked(value: Any) -> Any:
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if not isinstance(value, dict):
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"{value} is beyond 64 bits")
        return value
    mark = next(iter(value)) if len(value) == 1 else ""
    if mark not in _MARKS:
        return {key: _marked(item) for key, item in value.items()}
    return _unmark(mark, value[mark])


def _unmark(mark: str, content: Any) -> Any:
    try:
        if mark == BYTES:
            return base64.b64decode(content, validate=True)
        if mark == MAP:
            return {_hashable(_marked(key)): _marked(item) for key, item in content}
        code, data = content
        return msgspec.msgpack.Ext(code, base64.b64decode(data, validate=True))
    except (TypeError, ValueError, OverflowError, binascii.Error) as error:
        raise ValueError(f"the content of {mark!r} does not fit: {error}") from None


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if value - value != 0.0:
            raise ValueError(f"{value} is not a JSON number")
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return {BYTES: base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and not (
            len(value) == 1 and next(iter(value)) in _MARKS
        ):
            return {key: _plain(item) for key, item in value.items()}
        return {MAP: [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, msgspec.msgpack.Ext):
        return {EXT: [value.code, base64.b64encode(value.data).decode()]}
    if isinstance(value, _TEXTUAL):
        return value
    raise TypeError(f"{type(value).__name__} is not of JSON")
