"""Declarations of spaces: what contradicts itself is refused before anybody works by it."""

from __future__ import annotations

import msgspec
import pytest
from tupelo.codec import SpaceCodec
from tupelo.errors import InvalidArgument
from tupelo.schema import FieldSchema, SpaceSchema, decode_schema, encode_schema

A, B = FieldSchema("a", "int"), FieldSchema("b", "str")


@pytest.mark.parametrize(
    "schema",
    [
        SpaceSchema("s"),
        SpaceSchema("s", ttl_ms=5, persist=False),
        SpaceSchema("s", key=("a",), fields=(A,)),
        SpaceSchema("s", key=("a", "b"), route=(1,), fields=(B, A)),
        SpaceSchema("s", key=("a", "b"), route=(1, 0), fields=(A, B)),
    ],
)
def test_sound_ones_survive_and_work(schema):
    again = decode_schema(encode_schema(schema))
    assert again == schema
    codec = SpaceCodec(again)
    key = (1, "x")[: max(1, len(schema.key))]
    assert codec.locate(key if len(schema.key) > 1 else key[0], 16)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"key": ("b",), "fields": (A,)}, "'b' of space 's' is no field"),
        ({"key": ("a",), "fields": (A, FieldSchema("a", "str"))}, "names a field twice"),
        ({"key": ("a", "a"), "fields": (A,)}, "names a key field twice"),
        ({"fields": (A,)}, "no key"),
        *(
            ({"key": ("a",), "fields": (A, FieldSchema(name, "int"))}, "cannot name a field")
            for name in ("", 'a"b', "a\\b", "a\nb")
        ),
        ({"key": ("a",), "route": (1,), "fields": (A,)}, "the route"),
        ({"key": ("a",), "route": (-1,), "fields": (A,)}, "the route"),
        ({"key": ("a", "b"), "route": (0, 0), "fields": (A, B)}, "names a route twice"),
        ({"route": (0,)}, "the route"),
        ({"ttl_ms": -1}, "ttl_ms"),
    ],
)
def test_contradictions_are_refused_in_words(given, said):
    with pytest.raises(ValueError, match=said):
        SpaceSchema("s", **given)
    data = msgspec.json.encode({"name": "s", **given})
    with pytest.raises(msgspec.ValidationError, match=said):
        decode_schema(data)


def test_fields_may_have_nearly_any_name():
    names = ["Name", "name", "class", "a-b", "quo'te", "50%", "__init__", "ä b"]
    fields = tuple(FieldSchema(name, "str", optional=name == "50%") for name in names)
    codec = SpaceCodec(SpaceSchema("odd.space-1", key=("a-b", "class"), fields=fields))
    entry = {name: name[:1] for name in names} | {"50%": None}
    data = codec.encode_value(entry)
    assert msgspec.msgpack.decode(data) == codec.decode_value(data) == entry
    assert list(codec.decode_value(data)) == names
    assert codec.key_of(entry) == ("a", "c")
    with pytest.raises(InvalidArgument, match="`ä b`"):
        codec.encode_value(dict.fromkeys(names[:-1], "x"))
