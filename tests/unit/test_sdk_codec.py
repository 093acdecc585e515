"""Keys, routes and values as bytes."""

from __future__ import annotations

import datetime
import enum
import math
from typing import Any

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from tupelo.codec import (
    SpaceCodec,
    decode_key,
    decode_value,
    encode_key,
    encode_value,
    partition_of,
)
from tupelo.errors import InvalidArgument
from tupelo.pages import Place, decode_place, encode_place
from tupelo.schema import FieldSchema, SpaceSchema

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=40)
)
KEYS = SCALARS | st.lists(SCALARS, max_size=4).map(tuple)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


class Seat(msgspec.Struct, frozen=True):
    event: str
    number: int
    holder: str | None = None


SEATS = SpaceSchema(
    "seats",
    key=("event", "number"),
    route=(0,),
    fields=(
        FieldSchema("event", "str"),
        FieldSchema("number", "int"),
        FieldSchema("holder", "str", optional=True),
    ),
)


@given(KEYS)
def test_a_key_comes_back_as_it_was(key: Any) -> None:
    back = decode_key(encode_key(key))
    assert back == key
    assert type(back) is type(key)


@given(KEYS, KEYS)
def test_keys_are_equal_bytes_only_when_they_are_the_same(one: Any, other: Any) -> None:
    same = repr(one).replace("-0.0", "0.0") == repr(other).replace("-0.0", "0.0")
    assert (encode_key(one) == encode_key(other)) == same


def test_numbers_texts_and_bytes_that_look_alike_are_different_keys() -> None:
    alike = [1, "1", b"1", 1.0, True, (1,)]
    assert len({encode_key(key) for key in alike}) == len(alike)


def test_a_list_and_a_tuple_of_the_same_parts_are_one_key() -> None:
    assert encode_key(["e1", 7]) == encode_key(("e1", 7)) == b"\x92\xa2e1\x07"


@pytest.mark.parametrize(
    ("key", "wire"),
    [
        (127, b"\x7f"),
        (128, b"\xcc\x80"),
        (-32, b"\xe0"),
        (-33, b"\xd0\xdf"),
        (65_536, b"\xce\x00\x01\x00\x00"),
        (1.0, b"\xcb\x3f\xf0" + bytes(6)),
        (-0.0, b"\xcb" + bytes(8)),
        ("a" * 32, b"\xd9\x20" + b"a" * 32),
        (b"\x00", b"\xc4\x01\x00"),
        (None, b"\xc0"),
    ],
)
def test_the_shortest_form_is_the_canonical_one(key: Any, wire: bytes) -> None:
    assert encode_key(key) == wire


def test_members_of_enums_are_their_values() -> None:
    colour = enum.Enum("colour", {"RED": "red"})
    number = enum.IntEnum("number", {"ONE": 1})
    assert encode_key(colour.RED) == encode_key("red")
    assert encode_key((number.ONE, "x")) == encode_key((1, "x"))


@pytest.mark.parametrize(
    "key",
    [
        math.nan,
        ("a", math.nan),
        {"a": 1},
        {"a"},
        ("a", ("b",)),
        [["a"]],
        object(),
        2**64,
        -(2**63) - 1,
        "\ud800",
        ("\ud800",),
        datetime.date(2013, 11, 27),
    ],
)
def test_what_cannot_be_a_key_is_an_invalid_argument(key: Any) -> None:
    with pytest.raises(InvalidArgument, match="cannot be a key"):
        encode_key(key)
    with pytest.raises(InvalidArgument, match="cannot be a key"):
        SpaceCodec(SpaceSchema("any")).locate(key, 16)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert decode_value(encode_value(value)) == value


@pytest.mark.parametrize("value", [object(), 2**64, {1: object()}, "\ud800"])
def test_what_cannot_be_a_value_is_an_invalid_argument(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="cannot be stored"):
        encode_value(value)


def test_a_stored_value_that_is_no_messagepack_is_said_to_be() -> None:
    with pytest.raises(InvalidArgument, match="not MessagePack"):
        decode_value(b"\xc1")


@given(st.binary(), st.integers(1, 4096))
def test_a_partition_is_the_hash_of_the_route(route: bytes, partitions: int) -> None:
    assert partition_of(route, partitions) == xxhash.xxh3_64_intdigest(route) % partitions


@given(KEYS)
def test_an_untyped_space_routes_by_the_whole_key(key: Any) -> None:
    codec = SpaceCodec(SpaceSchema("any"))
    assert codec.locate(key, 256) == (encode_key(key), partition_of(encode_key(key), 256))
    assert not codec.typed


@given(TEXT, st.integers(-(2**63), 2**63 - 1), st.none() | TEXT)
def test_typed_entries_round_trip(event: str, number: int, holder: str | None) -> None:
    codec = SpaceCodec(SEATS, Seat)
    seat = Seat(event, number, holder)
    assert codec.key_of is not None
    assert codec.key_of(seat) == (event, number)
    assert codec.decode_value(codec.encode_value(seat)) == seat
    assert codec.locate((event, number), 256) == (
        encode_key((event, number)),
        partition_of(encode_key(event), 256),
    )


@given(TEXT, st.integers(-(2**63), 2**63 - 1), st.none() | TEXT)
def test_by_name_the_same_bytes_are_dicts(event: str, number: int, holder: str | None) -> None:
    typed, named = SpaceCodec(SEATS, Seat), SpaceCodec(SEATS)
    fields = {"event": event, "number": number, "holder": holder}
    stored = typed.encode_value(Seat(event, number, holder))
    assert named.encode_value(fields) == stored
    assert named.decode_value(stored) == fields
    assert named.key_of is not None
    assert named.key_of(fields) == (event, number)


def test_optional_fields_of_a_dict_may_be_left_out() -> None:
    codec = SpaceCodec(SEATS)
    stored = codec.encode_value({"event": "e1", "number": 7})
    assert codec.decode_value(stored) == {"event": "e1", "number": 7, "holder": None}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"event": "e1"}, "does not fit space 'seats'.*number"),
        ({"event": "e1", "number": "7"}, "Expected `int`"),
        ({"event": "e1", "number": 7, "seat": 1}, "has no field seat"),
        ("e1", "is a dict of its fields"),
    ],
)
def test_dicts_that_do_not_fit_the_schema_are_refused(entry: Any, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        SpaceCodec(SEATS).encode_value(entry)


def test_an_entry_of_another_class_is_refused() -> None:
    class Other(msgspec.Struct, frozen=True):
        event: str
        number: int

    with pytest.raises(InvalidArgument, match="is a Seat"):
        SpaceCodec(SEATS, Seat).encode_value(Other("e1", 7))


def test_an_entry_without_the_key_fields_is_refused() -> None:
    key_of = SpaceCodec(SEATS, Seat).key_of
    assert key_of is not None
    with pytest.raises(InvalidArgument, match="key fields event, number"):
        key_of({"event": "e1"})


@pytest.mark.parametrize("key", ["e1", ("e1",), ("e1", 7, 8), 7])
def test_a_key_with_too_few_or_too_many_parts_is_refused(key: Any) -> None:
    with pytest.raises(InvalidArgument, match="2 parts"):
        SpaceCodec(SEATS, Seat).locate(key, 256)


def test_routes_of_one_several_and_all_key_fields() -> None:
    def route(*positions: int) -> int:
        schema = SpaceSchema("s", key=("a", "b", "c"), route=positions)
        return SpaceCodec(schema).locate((1, 2, 3), 4096)[1]

    assert route(1) == partition_of(encode_key(2), 4096)
    assert route(2, 0) == partition_of(encode_key([3, 1]), 4096)
    assert route(0, 1, 2) == route() == partition_of(encode_key([1, 2, 3]), 4096)


def test_bulk_entries_are_grouped_and_the_last_of_equal_keys_counts() -> None:
    codec = SpaceCodec(SpaceSchema("any"))
    groups = codec.located([("a", 1), ("b", 2), ("a", 3)], 4)
    entries = {key: value for group in groups.values() for key, value in group.items()}
    assert entries == {encode_key("a"): encode_value(3), encode_key("b"): encode_value(2)}
    assert all(
        partition_of(key, 4) == partition for partition, group in groups.items() for key in group
    )


def test_dates_decimals_and_ids_of_typed_entries_keep_their_types_by_name() -> None:
    schema = SpaceSchema(
        "s",
        key=("id",),
        fields=(FieldSchema("id", "int"), FieldSchema("day", "date"), FieldSchema("any", "json")),
    )
    codec = SpaceCodec(schema)
    entry = {"id": 1, "day": datetime.date(2013, 11, 27), "any": [1, {"a": None}]}
    assert codec.decode_value(codec.encode_value(entry)) == entry


@given(st.integers(0, 4095), st.binary(max_size=50))
def test_page_tokens_round_trip(partition: int, after: bytes) -> None:
    assert decode_place(encode_place(Place(partition, after))) == Place(partition, after)


@pytest.mark.parametrize("token", ["x", "!!!!", "AAAA", "ü", "k_-hYQ=="])
def test_a_wrong_page_token_is_an_invalid_argument(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page token"):
        decode_place(token)


def test_no_page_token_is_the_beginning() -> None:
    assert decode_place("") == Place(0, b"")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (("e1", "7"), r"entry \('e1', '7'\) does not fit space 'seats'.*in field `number`"),
        (("e1", 7, 5), r"entry \('e1', 7\) does not fit.*in field `holder`"),
        ((None, 7), r"entry \(None, 7\) does not fit.*in field `event`"),
    ],
)
def test_an_entry_that_readers_would_refuse_is_refused(fields: Any, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        SpaceCodec(SEATS, Seat).encode_value(Seat(*fields))
