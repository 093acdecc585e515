"""Values as JSON text and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tupelo.errors import InvalidArgument
from tupelo_grid.transport.rows_json import from_json, to_json

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
    | st.binary()
)
keys = st.text(st.characters(exclude_categories=("Cs",))) | st.integers(-5, 5) | st.binary()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_every_value_comes_back_as_the_same_bytes(value: Any) -> None:
    packed = msgspec.msgpack.encode(value)
    decoded = msgspec.msgpack.decode(packed)
    assert msgspec.msgpack.encode(from_json(to_json(decoded), "value_json")) == packed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x01\x02", '{"$base64":"AQI="}'),
        ({1: "a"}, '{"$map":[[1,"a"]]}'),
        ({"$base64": "x"}, '{"$map":[["$base64","x"]]}'),
        ({"$base64": "x", "more": 1}, '{"$base64":"x","more":1}'),
        (msgspec.msgpack.Ext(5, b"\x01"), '{"$ext":[5,"AQ=="]}'),
        (1.0, "1.0"),
        (1, "1"),
    ],
)
def test_the_marks(value: Any, text: str) -> None:
    assert to_json(value) == text
    assert from_json(text, "x") == value
    assert type(from_json(text, "x")) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello", "value_json is not JSON"),
        ("", "value_json is not JSON"),
        ("[1", "value_json is not JSON"),
        ("NaN", "value_json is not JSON"),
        ("\ud800", "value_json is not JSON"),
        ("[" * 100_000, "value_json is not JSON"),
        (str(2**64), "beyond 64 bits"),
        (str(-(2**63) - 1), "beyond 64 bits"),
        ('{"$base64": "*"}', "'$base64' does not fit"),
        ('{"$base64": 1}', "'$base64' does not fit"),
        ('{"$map": 1}', "'$map' does not fit"),
        ('{"$map": [[1]]}', "'$map' does not fit"),
        ('{"$map": [[{}, 1]]}', "'$map' does not fit"),
        ('{"$ext": [1000, "AQ=="]}', "'$ext' does not fit"),
        ('{"$ext": "AQ=="}', "'$ext' does not fit"),
    ],
)
def test_what_is_no_value(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match="value_json") as caught:
        from_json(text, "value_json")
    assert says in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, -float("inf")]])
def test_what_has_no_json(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="no JSON form"):
        to_json(value)
