"""What a row request says, as the bytes and the partition of an operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from tupelo.codec import SpaceCodec, decode_key, encode_key, partition_of
from tupelo.errors import InvalidArgument, NotReady, UnknownCommand, UnknownSpace
from tupelo.schema import SpaceSchema

from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.transport.route import CommandInfo, decode_command
from tupelo_grid.transport.rows_json import from_json, to_json
from tupelo_grid.transport.validate import key_fault, value_fault

_decode: Final = msgspec.msgpack.Decoder().decode
_encode: Final = msgspec.msgpack.Encoder().encode


class Place(NamedTuple):
    """Key bytes, and where they belong."""

    key: bytes
    partition: int


class RowCodec:
    """Codecs of one state of the grid; make a new one when the state changes."""

    def __init__(self, state: GridState) -> None:
        self.state = state
        self._spaces: dict[str, SpaceCodec] = {}
        self._commands: dict[str, CommandInfo] = {}

    @property
    def partitions(self) -> int:
        """Raises NotReady before the grid is known."""
        if not self.state.partitions:
            raise NotReady("there is no partition table yet: the control process has not answered")
        return self.state.partitions

    def space(self, name: str) -> SpaceCodec:
        """Raises UnknownSpace."""
        codec = self._spaces.get(name)
        if codec is None:
            schema = self.state.spaces.get(name)
            if schema is None:
                known = ", ".join(sorted(self.state.spaces)[:20])
                raise UnknownSpace(
                    f"there is no space {name!r}; declare it in a processing unit or create it "
                    f"with CreateSpace (known: {known})"
                )
            codec = self._spaces[name] = SpaceCodec(schema)
        return codec

    def command(self, name: str) -> CommandInfo:
        """Raises UnknownCommand."""
        info = self._commands.get(name)
        if info is None:
            data = self.state.commands.get(name)
            if data is None:
                known = ", ".join(sorted(self.state.commands)[:20]) or "none"
                raise UnknownCommand(
                    f"there is no command {name!r}; commands are called UNIT.FUNCTION (known: "
                    f"{known})"
                )
            info = self._commands[name] = decode_command(name, data)
        return info

    def place(self, codec: SpaceCodec, key: bytes, key_json: str, any_type: bool = False) -> Place:
        """Raises InvalidArgument.

        Args:
            any_type: key fields may be of another type than the space declares. Entries with such
                keys do not get in any more, but those that did can be removed.
        """
        if bool(key) == bool(key_json):
            raise InvalidArgument(
                "give the key either as MessagePack in `key` or as JSON in `key_json`"
            )
        if key:
            fault = key_fault(key)
            if fault:
                raise InvalidArgument(fault)
            decoded = decode_key(key)
        else:
            decoded = _typed_key(codec.schema, from_json(key_json, "key_json"))
        return self._locate(codec, decoded, any_type)

    def _locate(self, codec: SpaceCodec, key: Any, any_type: bool = False) -> Place:
        if isinstance(key, dict):
            raise InvalidArgument("a key is a scalar or a flat array, not an object")
        located = codec.locate(key, self.partitions)
        if not any_type:
            _check_field_types(codec.schema, key)
        return Place(*located)

    def entry(
        self, codec: SpaceCodec, key: bytes, key_json: str, value: bytes, value_json: str
    ) -> tuple[Place, bytes]:
        """Place and value bytes of a put. In a typed space the key may be left out.

        Raises InvalidArgument, also for an entry whose key fields are not the key given.
        """
        if bool(value) == bool(value_json):
            raise InvalidArgument(
                "give the value either as MessagePack in `value` or as JSON in `value_json`"
            )
        if value_json:
            decoded = from_json(value_json, "value_json")
        elif fault := value_fault(value):
            raise InvalidArgument(fault)
        elif not codec.typed:
            return self.place(codec, key, key_json), value
        else:
            decoded = _decode_value(value)
        packed = codec.encode_value(decoded)
        if codec.key_of is None:
            return self.place(codec, key, key_json), packed
        own = self._locate(codec, codec.key_of(codec.decode_value(packed)))
        if (key or key_json) and self.place(codec, key, key_json) != own:
            names = ", ".join(codec.schema.key)
            raise InvalidArgument(
                f"the key given is not that of the entry: its key fields are {names}; leave the "
                "key out, it follows from the entry"
            )
        return own, packed

    def call(self, name: str, arguments: bytes, arguments_json: str) -> tuple[bytes, int]:
        """Arguments as a MessagePack map, and the partition that they route to."""
        info = self.command(name)
        if arguments and arguments_json:
            raise InvalidArgument("give the arguments in one form, not in both")
        if arguments:
            if fault := value_fault(arguments):
                raise InvalidArgument(fault.replace("the value", "`arguments`"))
            decoded = _decode_value(arguments)
        else:
            decoded = from_json(arguments_json, "arguments_json") if arguments_json else {}
        if not isinstance(decoded, Mapping):
            raise InvalidArgument("arguments are a map from names to values")
        missing = [name for name in info.route if name not in decoded]
        if missing:
            raise InvalidArgument(
                f"{name} needs the argument {missing[0]!r}: it decides the partition"
            )
        parts = [decoded[name] for name in info.route]
        route = encode_key(parts[0] if len(parts) == 1 else parts)
        return arguments or _encode(decoded), partition_of(route, self.partitions)


def value_json(value: bytes) -> str:
    """A stored value, or a command's result, as JSON text."""
    return to_json(_decode_value(value)) if value else "null"


def _decode_value(value: bytes) -> Any:
    try:
        return _decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the value is not MessagePack: {error}") from None


def _typed_key(schema: SpaceSchema, key: Any) -> Any:
    """JSON writes 1.0 as 1 at times; a float field makes it a float again."""
    types = _key_types(schema)
    if not types or isinstance(key, dict):
        return key
    parts = key if isinstance(key, list) and len(types) > 1 else [key]
    if len(parts) != len(types):
        return key
    converted = [
        float(part) if kind == "float" and type(part) is int else part
        for part, kind in zip(parts, types, strict=True)
    ]
    return converted if len(types) > 1 else converted[0]


_PYTHON_TYPES: Final[Mapping[str, type]] = {
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "bool": bool,
}


def _check_field_types(schema: SpaceSchema, key: Any) -> None:
    """A key of the wrong type would only never be found; it is better to say so."""
    types = _key_types(schema)
    if not types:
        return
    parts = key if len(types) > 1 else (key,)
    for name, kind, part in zip(schema.key, types, parts, strict=True):
        expected = _PYTHON_TYPES.get(kind)
        if expected is not None and type(part) is not expected:
            raise InvalidArgument(
                f"key field {name!r} of space {schema.name!r} is of type {kind}, not {part!r}"
            )


def _key_types(schema: SpaceSchema) -> list[str]:
    types = {field.name: field.type for field in schema.fields}
    return [types.get(name, "json") for name in schema.key] if schema.typed else []
