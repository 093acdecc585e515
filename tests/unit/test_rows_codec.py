"""Row requests to bytes and partitions, by the space's schema."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tupelo.codec import SpaceCodec, encode_key, partition_of
from tupelo.errors import InvalidArgument, NotReady, UnknownCommand, UnknownSpace
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.core.table import GridInfo
from tupelo_grid.transport.rows_codec import RowCodec

pack = msgspec.msgpack.encode
SEATS = SpaceSchema(
    "seats",
    key=("event", "number"),
    route=(0,),
    fields=(
        FieldSchema("event", "str"),
        FieldSchema("number", "int"),
        FieldSchema("holder", "str", optional=True),
        FieldSchema("since", "datetime", optional=True),
        FieldSchema("photo", "bytes", optional=True),
    ),
)
PRICES = SpaceSchema(
    "prices", key=("at",), fields=(FieldSchema("at", "float"), FieldSchema("eur", "decimal"))
)
STATE = GridState(
    grid=GridInfo("00" * 16, 64),
    spaces={"default": SpaceSchema("default"), "seats": SEATS, "prices": PRICES},
    commands={
        "air.hold": b'{"route": ["event"], "read_only": false}',
        "air.odd": b'{"way": 1}',
        "air.pair": b'{"route": ["a", "b"], "read_only": true}',
    },
)
CODEC = RowCodec(STATE)


def space(name: str) -> SpaceCodec:
    return CODEC.space(name)


def test_keys_in_either_form_are_the_same_place() -> None:
    for key in ("k", 5, 1.5, None, True, ["a", 2]):
        one = CODEC.place(space("default"), pack(key), "")
        assert one == CODEC.place(space("default"), b"", json.dumps(key))
        assert one.partition == partition_of(pack(key), 64)
    with_bytes = CODEC.place(space("default"), b"", '{"$base64": "AQI="}')
    assert with_bytes.key == pack(b"\x01\x02")


def test_a_typed_key_routes_by_its_field() -> None:
    place = CODEC.place(space("seats"), b"", '["e1", 7]')
    assert place == (pack(["e1", 7]), partition_of(pack("e1"), 64))
    assert CODEC.place(space("prices"), b"", "1").key == pack(1.0)


@pytest.mark.parametrize(
    ("name", "key", "key_json", "says"),
    [
        ("default", b"", "", "either as MessagePack"),
        ("default", b"\x01", "1", "either as MessagePack"),
        ("default", b"\xc1", "", "not MessagePack"),
        ("default", b"\xcc\x01", "", "not canonical"),
        ("default", b"", "hello", "not JSON"),
        ("default", b"", '{"a": 1}', "not an object"),
        ("default", b"", "[[1]]", "cannot be a key"),
        ("seats", b"", '"e1"', "is a tuple of 2 parts"),
        ("seats", b"", '["e1"]', "is a tuple of 2 parts"),
        ("seats", b"", '["e1", "7"]', "'number' of space 'seats' is of type int"),
        ("seats", pack([1, 7]), "", "'event' of space 'seats' is of type str"),
        ("prices", b"", '"x"', "is of type float"),
    ],
)
def test_bad_keys(name: str, key: bytes, key_json: str, says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        CODEC.place(space(name), key, key_json)
    assert says in str(caught.value)


def test_a_key_of_the_wrong_type_can_be_removed() -> None:
    place = CODEC.place(space("seats"), b"", '["e1", "7"]', any_type=True)
    assert place == (pack(["e1", "7"]), partition_of(pack("e1"), 64))


def entry(name: str, **given: Any) -> Any:
    arguments = {"key": b"", "key_json": "", "value": b"", "value_json": "", **given}
    return CODEC.entry(space(name), **arguments)


def test_untyped_values_are_kept_byte_for_byte() -> None:
    odd = b"\xcd\x00\x01"  # 1, not in its shortest form: a value may be
    assert entry("default", key_json="1", value=odd)[1] == odd
    assert entry("default", key_json="1", value_json='{"a": {"$base64": ""}}')[1] == pack(
        {"a": b""}
    )


def test_a_typed_entry_brings_its_own_key() -> None:
    text = (
        '{"event": "e1", "number": 7, "since": "2026-01-02T03:04:05Z", '
        '"photo": {"$base64": "AQ=="}}'
    )
    place, packed = entry("seats", value_json=text)
    assert place == CODEC.place(space("seats"), b"", '["e1", 7]')
    value = space("seats").decode_value(packed)
    assert (value["holder"], value["photo"], value["since"].year) == (None, b"\x01", 2026)
    assert entry("seats", value=packed) == (place, packed)
    assert entry("seats", key_json='["e1", 7]', value=packed) == (place, packed)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("default", {"key_json": "1"}, "give the value either"),
        ("default", {"key_json": "1", "value": b"\x01", "value_json": "1"}, "the value either"),
        ("default", {"key_json": "1", "value": b"\x92\x01"}, "not MessagePack"),
        ("default", {"key_json": "1", "value_json": "{"}, "not JSON"),
        ("default", {"value_json": "1"}, "give the key either"),
        ("seats", {"value_json": "1"}, "is a dict of its fields"),
        ("seats", {"value_json": '{"event": "e1"}'}, "missing required field `number`"),
        ("seats", {"value_json": '{"event": "e1", "number": "x"}'}, "Expected `int`"),
        ("seats", {"value_json": '{"event": "e", "number": 1, "x": 1}'}, "has no field x"),
        ("seats", {"value": pack(["e1", 7])}, "is a dict of its fields"),
        ("seats", {"value": pack({"event": "e", "number": 1}), "key_json": '["e", 2]'},
         "not that of the entry"),
    ],
)  # fmt: skip
def test_bad_entries(name: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        entry(name, **given)
    assert says in str(caught.value)


def test_calls_go_where_their_route_says() -> None:
    arguments, partition = CODEC.call("air.hold", b"", '{"event": "e1", "seat": 7}')
    assert msgspec.msgpack.decode(arguments) == {"event": "e1", "seat": 7}
    assert partition == partition_of(encode_key("e1"), 64)
    again = CODEC.call("air.hold", arguments, "")
    assert again == (arguments, partition)
    _, partition = CODEC.call("air.pair", b"", '{"b": 2, "a": 1}')
    assert partition == partition_of(encode_key([1, 2]), 64)


@pytest.mark.parametrize(
    ("arguments", "text", "says"),
    [
        (b"", "", "needs the argument 'event'"),
        (b"", "[1]", "arguments are a map"),
        (b"\x80", "{}", "one form"),
        (b"\xc1", "", "`arguments` is not MessagePack"),
        (b"", '{"event": {"a": 1}}', "cannot be a key"),
    ],
)
def test_bad_arguments(arguments: bytes, text: str, says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        CODEC.call("air.hold", arguments, text)
    assert says in str(caught.value)


def test_unknown_names_are_told_what_is_known() -> None:
    with pytest.raises(UnknownSpace, match="known: default, prices, seats"):
        CODEC.space("nope")
    with pytest.raises(UnknownCommand, match=r"known: air\.hold"):
        CODEC.command("nope")
    with pytest.raises(Exception, match="cannot be read"):
        CODEC.command("air.odd")
    early = RowCodec(GridState())
    with pytest.raises(NotReady):
        early.place(early.space("default"), b"\x01", "")
