"""Keys, routes and values as bytes.

Everything is MessagePack. Keys are canonical, so that equal keys are equal bytes in every language:
a scalar (None, bool, int, float, str, bytes) or a flat array of them, integers and lengths in their
shortest form, floats always as float64, no NaN, -0.0 as 0.0. So `1`, `"1"`, `b"1"` and `1.0` are
four different keys; a tuple and a list of the same parts are one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from operator import attrgetter, itemgetter
from typing import Any, Final

import msgspec
from xxhash import xxh3_64_intdigest

from tupelo.errors import InvalidArgument
from tupelo.schema import SpaceSchema

Scalar = None | bool | int | float | str | bytes
Key = Scalar | Sequence[Scalar]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_PLAIN: Final = frozenset({type(None), bool, int, str, bytes})
_ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
# Text that is no UTF-8, and what is nested too deep, are not msgspec's own errors.
DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_KEY_HELP: Final = (
    "a key is None, a bool, int, float, str or bytes, or a flat tuple or list of these"
)
_PATH: Final = re.compile(r" - at `\$\.?([^`]+)`")


def encode_key(key: Any) -> bytes:
    """A key, or a routing value, as canonical MessagePack. Raises InvalidArgument."""
    try:
        kind = key.__class__
        if kind in _PLAIN or (kind is tuple and _PLAIN.issuperset(map(type, key))):
            return _encode(key)
        return _encode(_canonical(key))
    except _ENCODE_ERRORS as error:
        raise InvalidArgument(f"{key!r} cannot be a key ({error}); {_KEY_HELP}") from None


def _canonical(key: Any) -> Any:
    if key.__class__ is tuple or isinstance(key, list | tuple):
        return [part if part.__class__ in _PLAIN else _scalar(part) for part in key]
    return _scalar(key)


def _scalar(part: Any) -> Scalar:
    """Subclasses of scalars as the scalar they are, members of an Enum as their value."""
    if isinstance(part, Enum):
        part = part.value
    if isinstance(part, float):
        if part != part:  # only NaN differs from itself
            raise ValueError("NaN equals nothing, not even itself")
        return float(part) + 0.0  # -0.0 + 0.0 is 0.0
    if isinstance(part, str):
        return str(part)
    if isinstance(part, bytes):
        return bytes(part)
    if part is None or isinstance(part, bool):
        return part
    if isinstance(part, int):
        return int(part)
    raise TypeError(f"{type(part).__name__} is not a scalar")


def decode_key(data: bytes) -> Any:
    """The key of canonical bytes; an array comes back as a tuple."""
    key = _decode(data)
    return tuple(key) if key.__class__ is list else key


def encode_value(value: Any, cannot: str = "the value cannot be stored") -> bytes:
    """Any value that MessagePack can carry. Raises InvalidArgument, which begins with `cannot`."""
    try:
        return _encode(value)
    except _ENCODE_ERRORS as error:
        raise InvalidArgument(f"{cannot}: {error}") from None


def decode_value(data: bytes) -> Any:
    try:
        return _decode(data)
    except DECODE_ERRORS as error:
        raise InvalidArgument(f"the stored value is not MessagePack: {error}") from None


def partition_of(route: bytes, partitions: int) -> int:
    """The partition of route bytes: xxh3_64(route) % partitions."""
    return xxh3_64_intdigest(route) % partitions


_FIELD_TYPES: Final[dict[str, Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "bool": bool,
    "json": Any,
}


def _field_type(name: str) -> Any:
    import datetime
    import decimal
    import uuid

    others = {
        "datetime": datetime.datetime,
        "date": datetime.date,
        "decimal": decimal.Decimal,
        "uuid": uuid.UUID,
    }
    return _FIELD_TYPES.get(name) or others[name]


class SpaceCodec:
    """How the keys and values of one space become bytes, and back.

    Three kinds of space: untyped (any key, any value); typed with the entry's class (values are its
    instances); typed without it, by the grid's schema only (values are dicts of all fields).

    Attributes:
        encode_key(key) -> bytes; decode_key(bytes) -> key.
        key_of(entry) -> key: of a typed entry; None for an untyped space.
        route_of_key(key) -> bytes: route bytes; None where they are the key's own bytes.
        encode_value(value) -> bytes; decode_value(bytes) -> value.
        locate(key, partitions) -> (key bytes, partition).
        entry_type: the class of a typed entry; None where values are dicts, or untyped.

    `encode_value` takes nothing that `decode_value` would refuse: an entry of the wrong type would
    fail every reader in its writer's place. Both raise InvalidArgument.
    """

    __slots__ = (
        "decode_key",
        "decode_value",
        "encode_key",
        "encode_value",
        "entry_type",
        "key_of",
        "locate",
        "name",
        "route_of_key",
        "schema",
    )

    def __init__(self, schema: SpaceSchema, entry_type: type[Any] | None = None) -> None:
        self.name = schema.name
        self.schema = schema
        self.encode_key: Callable[[Any], bytes] = encode_key
        self.decode_key: Callable[[bytes], Any] = decode_key
        self.encode_value: Callable[[Any], bytes] = encode_value
        self.decode_value: Callable[[bytes], Any] = decode_value
        self.key_of: Callable[[Any], Any] | None = None
        self.route_of_key = _route_of_key(schema)
        self.entry_type = entry_type
        if entry_type is not None:
            self.key_of = _guarded(attrgetter(*schema.key), schema)
            self.encode_value, self.decode_value = _typed_values(schema, entry_type)
        elif schema.typed:
            self.key_of = _guarded(itemgetter(*schema.key), schema)
            self.encode_value, self.decode_value = _dict_values(schema)
        if len(schema.key) > 1:
            self.encode_key = _key_of_parts(schema)
        self.locate = _locator(self.encode_key, self.route_of_key)

    @property
    def typed(self) -> bool:
        return self.key_of is not None

    def located(
        self, pairs: Iterable[tuple[Any, Any]], partitions: int
    ) -> dict[int, dict[bytes, bytes]]:
        """Encoded entries by partition; of equal keys the last one counts."""
        locate, encode = self.locate, self.encode_value
        groups: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        for key, value in pairs:
            key_bytes, partition = locate(key, partitions)
            try:
                groups[partition][key_bytes] = encode(value)
            except InvalidArgument as error:
                if self.typed:  # then it names the entry
                    raise
                raise InvalidArgument(f"key {key!r:.100}: {error.message}") from None
        return groups

    def decode_entry(self, key: Any, value: bytes) -> Any:
        """As `decode_value`; the error names the key."""
        try:
            return self.decode_value(value)
        except InvalidArgument as error:
            raise self.misfit(key, error) from None

    def misfit(self, key: Any, error: InvalidArgument) -> InvalidArgument:
        """What `decode_value` said of the entry of a key, with the key and what can be done."""
        return InvalidArgument(
            f"entry {key!r:.100} of space {self.name!r}: {error.message}; delete({key!r:.100}) "
            "removes it"
        )

    def located_keys(self, keys: Iterable[Any], partitions: int) -> dict[int, dict[bytes, bytes]]:
        """As `located`, with empty values."""
        locate = self.locate
        groups: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        for key in keys:
            key_bytes, partition = locate(key, partitions)
            groups[partition][key_bytes] = b""
        return groups


def _locator(
    encode: Callable[[Any], bytes], route_of_key: Callable[[Any], bytes] | None
) -> Callable[[Any, int], tuple[bytes, int]]:
    """The hottest function of all: closures, so that nothing is looked up that need not be."""
    if route_of_key is not None:

        def locate_by_route(key: Any, partitions: int) -> tuple[bytes, int]:
            return encode(key), xxh3_64_intdigest(route_of_key(key)) % partitions

        return locate_by_route
    if encode is not encode_key:

        def locate_by_key(key: Any, partitions: int) -> tuple[bytes, int]:
            key_bytes = encode(key)
            return key_bytes, xxh3_64_intdigest(key_bytes) % partitions

        return locate_by_key

    def locate(key: Any, partitions: int) -> tuple[bytes, int]:
        try:
            key_bytes = _encode(key) if key.__class__ in _PLAIN else encode_key(key)
        except _ENCODE_ERRORS:
            key_bytes = encode_key(key)  # raises, and says why
        return key_bytes, xxh3_64_intdigest(key_bytes) % partitions

    return locate


def _route_of_key(schema: SpaceSchema) -> Callable[[Any], bytes] | None:
    """None where the route is the whole key, so that its bytes are hashed as they are."""
    positions = schema.route
    if not positions or positions == tuple(range(len(schema.key))):
        return None
    if len(positions) == 1:
        position = positions[0]
        return lambda key: encode_key(key[position])
    parts = itemgetter(*positions)
    return lambda key: encode_key(parts(key))


def _key_of_parts(schema: SpaceSchema) -> Callable[[Any], bytes]:
    expected = len(schema.key)

    def encode(key: Any) -> bytes:
        # As encode_key does it, without a call more: a quarter of what this function costs.
        if key.__class__ is tuple and len(key) == expected and _PLAIN.issuperset(map(type, key)):
            try:
                return _encode(key)
            except _ENCODE_ERRORS:
                return encode_key(key)  # raises, and says why
        if not isinstance(key, (tuple, list)) or len(key) != expected:
            names = ", ".join(schema.key)
            raise InvalidArgument(
                f"a key of space {schema.name!r} is a tuple of {expected} parts ({names}), "
                f"not {key!r}"
            )
        return encode_key(key)

    return encode


def _guarded(getter: Callable[[Any], Any], schema: SpaceSchema) -> Callable[[Any], Any]:
    def key_of(entry: Any) -> Any:
        try:
            return getter(entry)
        except (AttributeError, KeyError, TypeError):
            names = ", ".join(schema.key)
            raise InvalidArgument(
                f"an entry of space {schema.name!r} has the key fields {names}, "
                f"and {type(entry).__name__} {entry!r:.100} does not"
            ) from None

    return key_of


_Codec = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]


def encode_struct(entry: Any) -> bytes:
    """An entry as it is, its fields not checked: for those who decode it again anyway."""
    return encode_value(entry, "the entry cannot be stored")


def _typed_values(schema: SpaceSchema, entry_type: type[Any]) -> _Codec:
    """Entries of one msgspec.Struct class as a MessagePack map of all fields."""
    decoder = msgspec.msgpack.Decoder(entry_type).decode

    def encode(value: Any) -> bytes:
        if value.__class__ is not entry_type:
            raise InvalidArgument(
                f"an entry of this space is a {entry_type.__name__}, not {value!r:.100}"
            )
        try:
            # Structs do not check their fields when they are made, and msgspec.convert does not
            # look into one that is of its class already: decoding is what readers do.
            data = _encode(value)
            decoder(data)
        except _ENCODE_ERRORS as error:
            key = [getattr(value, name, None) for name in schema.key]
            raise _refused(schema, key, error) from None
        return data

    def decode(data: bytes) -> Any:
        try:
            return decoder(data)
        except DECODE_ERRORS as error:
            raise InvalidArgument(
                f"a stored entry does not fit {entry_type.__name__}: {in_words(error)}"
            ) from None

    return encode, decode


def _dict_values(schema: SpaceSchema) -> _Codec:
    """Dicts checked against the schema, for a typed space whose class the client does not have."""
    fields: list[tuple[str, Any, Any]] = []
    order = [field.name for field in schema.fields]
    # Python's own names for them: a field may be called anything.
    attributes = [f"field_{number}" for number in range(len(order))]
    for attribute, field in zip(attributes, schema.fields, strict=True):
        declared = _field_type(field.type)
        if field.optional:
            fields.append((attribute, declared | None if declared is not Any else Any, None))
        else:
            fields.append((attribute, declared, msgspec.NODEFAULT))
    struct = msgspec.defstruct(
        _class_name(schema.name),
        fields,
        kw_only=True,
        rename=dict(zip(attributes, order, strict=True)),
    )
    names = frozenset(order)
    decoder = msgspec.msgpack.Decoder(struct).decode

    def encode(value: Any) -> bytes:
        if not isinstance(value, Mapping):
            raise InvalidArgument(
                f"an entry of space {schema.name!r} is a dict of its fields, not {value!r:.100}"
            )
        unknown = sorted(map(str, value.keys() - names))
        if unknown:
            raise InvalidArgument(
                f"space {schema.name!r} has no field {', '.join(unknown)}; "
                f"its fields are {', '.join(sorted(names))}"
            )
        try:
            return _encode(msgspec.convert(dict(value), struct))
        except _ENCODE_ERRORS as error:
            raise _refused(schema, [value.get(name) for name in schema.key], error) from None

    def decode(data: bytes) -> Any:
        try:
            return dict(zip(order, msgspec.structs.astuple(decoder(data)), strict=True))
        except DECODE_ERRORS as error:
            raise InvalidArgument(
                f"a stored entry does not fit space {schema.name!r}: {in_words(error)}"
            ) from None

    return encode, decode


def in_words(error: BaseException) -> str:
    """What msgspec says of a field, which it names by a path of its own."""
    return _PATH.sub(r" in field `\1`", str(error))


def _refused(schema: SpaceSchema, key: Sequence[Any], error: BaseException) -> InvalidArgument:
    named = key[0] if len(key) == 1 else tuple(key)
    return InvalidArgument(
        f"entry {named!r:.100} does not fit space {schema.name!r}: {in_words(error)}"
    )


def _class_name(space: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in f"Entry_{space}")
