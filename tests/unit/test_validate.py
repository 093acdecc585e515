"""Bad batches, each refused with a sentence that says what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BulkBatch, OpBatch
from tupelo_grid.config import GridConfig
from tupelo_grid.transport.validate import (
    _all_keys,
    key_fault,
    malformed,
    oversized,
    validate_batch,
    value_fault,
)

pack = msgspec.msgpack.encode
CONFIG = GridConfig(key_bytes_max=64, value_bytes_max=1000, batch_ops_max=16)
PUTS = {
    "kinds": b"\x03\x03",
    "partitions": [1, 2],
    "keys": [pack("a"), pack("b")],
    "values": [pack(1), pack({"x": 2})],
    "op_numbers": [1, 2],
    "session": 9,
    "targets": ["default"],
}
BULK = {
    "kind": 3,
    "space": "default",
    "partitions": [1, 5],
    "counts": [2, 1],
    "op_numbers": [1, 2],
    "keys": [pack("a"), pack("b"), pack("c")],
    "values": [pack(1), pack(2), pack(3)],
}


def puts(**changes: Any) -> OpBatch:
    return OpBatch(**{**PUTS, **changes})


def bulk(**changes: Any) -> OpBatch:
    return OpBatch(session=9, bulk=BulkBatch(**{**BULK, **changes}))


@pytest.mark.parametrize(
    "batch",
    [
        puts(),
        bulk(),
        OpBatch(),
        puts(bulk=BulkBatch(**{**BULK, "op_numbers": [3, 4]})),
        puts(kinds=b"\x01\x03", op_numbers=[0, 7], ttls_ms=[0, 60_000]),
        puts(kinds=b"\x01\x07", values=[], op_numbers=[0, 7], target_index=[0, 0]),
        puts(kinds=b"\x01\x02", session=0, values=[], op_numbers=[]),
        bulk(kind=1, op_numbers=[], values=[]),
    ],
)
def test_good_batches_pass_every_check(batch: OpBatch) -> None:
    assert validate_batch(batch, CONFIG, 16) is None
    assert oversized(batch, CONFIG) == {}
    assert malformed(batch) == {}


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (puts(kinds=b"\x03\x00"), "kinds has 0, which is no OpKind"),
        (puts(kinds=b"\x03\x7f"), "kinds has 127, which is no OpKind"),
        (puts(kinds=b""), "column partitions has 2 elements, kinds has 0"),
        (puts(keys=[]), "column keys has 0 elements, kinds has 2"),
        (puts(partitions=[1]), "column partitions has 1 elements, kinds has 2"),
        (puts(values=[b"\x01"]), "column values has 1 elements"),
        (puts(ttls_ms=[1, 2, 3]), "column ttls_ms has 3 elements"),
        (puts(expected_versions=[1]), "column expected_versions has 1 elements"),
        (puts(target_index=[0]), "column target_index has 1 elements"),
        (puts(target_index=[0, 1]), "target_index points at 1, but targets has 1 names"),
        (puts(targets=[]), "target_index points at 0, but targets has 0 names"),
        (puts(values=[]), "column values is missing"),
        (puts(kinds=b"\x03\x06"), "column expected_versions is missing"),
        (puts(op_numbers=[]), "column op_numbers is missing"),
        (puts(op_numbers=[1, 0]), "a 0 for a write"),
        (puts(op_numbers=[3, 3]), "a number twice"),
        (puts(session=0), "session is 0"),
        (puts(bulk=BulkBatch(**BULK)), "a number twice"),
        (bulk(kind=4), "bulk.kind is 4"),
        (bulk(counts=[3]), "bulk.counts has 1 elements"),
        (bulk(counts=[2, 2]), "bulk.counts add up to 4, but bulk.keys has 3"),
        (bulk(counts=[3, 0]), "a group without entries"),
        (bulk(values=[]), "bulk.values has 0 elements for 3 keys"),
        (bulk(op_numbers=[1]), "bulk.op_numbers has 1 elements for 2 groups"),
        (bulk(op_numbers=[1, 1]), "a number twice"),
        (bulk(partitions=[1] * 17, counts=[1] * 17, op_numbers=range(1, 18), keys=[b"\x01"] * 17,
              values=[b"\x01"] * 17), "17 operations is above the limit of 16 (batch_ops_max)"),
        (puts(ttls_ms=[0, 2**60]), "(ttl_ms_max)"),
        (bulk(ttl_ms=2**60), "(ttl_ms_max)"),
    ],
)  # fmt: skip
def test_bad_batches_are_refused_whole(batch: OpBatch, says: str) -> None:
    error = validate_batch(batch, CONFIG, 16)
    assert error is not None
    assert error.code == ResultCode.INVALID_ARGUMENT
    assert says in error.message


@pytest.mark.parametrize("batch", [puts(partitions=[1, 16]), bulk(partitions=[16, 2])])
def test_a_partition_out_of_range_is_named(batch: OpBatch) -> None:
    error = validate_batch(batch, CONFIG, 16)
    assert error is not None
    assert error.code == ResultCode.PARTITION_OUT_OF_RANGE
    assert "partition 16 does not exist" in error.message


def codes(faults: Any) -> dict[int, int]:
    return {index: fault.code for index, fault in faults.items()}


def test_only_the_operations_too_large_are_refused() -> None:
    key, value = ResultCode.KEY_TOO_LARGE, ResultCode.VALUE_TOO_LARGE
    assert codes(oversized(puts(keys=[b"k" * 65, b"\x01"]), CONFIG)) == {0: key}
    assert codes(oversized(puts(values=[b"\x01", b"v" * 1001]), CONFIG)) == {1: value}
    both = puts(keys=[b"k" * 65, b"\x01"], values=[b"v" * 1001, b"\x01"])
    assert codes(oversized(both, CONFIG)) == {0: key}
    assert codes(oversized(bulk(keys=[b"a", b"b", b"k" * 65]), CONFIG)) == {1: key}
    assert codes(oversized(bulk(values=[b"a", b"v" * 1001, b"c"]), CONFIG)) == {0: value}
    joined = puts(bulk=BulkBatch(**{**BULK, "keys": [b"a", b"b", b"k" * 65]}))
    assert codes(oversized(joined, CONFIG)) == {3: key}


def test_only_the_malformed_operations_are_refused() -> None:
    bad = ResultCode.INVALID_ARGUMENT
    assert codes(malformed(puts(keys=[b"", pack("b")]))) == {0: bad}
    assert codes(malformed(puts(values=[pack(1), b"\x92\x01"]))) == {1: bad}
    assert codes(malformed(bulk(keys=[pack(1), pack(2), b"\xc1"]))) == {1: bad}
    assert codes(malformed(puts(bulk=BulkBatch(**{**BULK, "values": [b"\xc1"] * 3})))) == {
        2: bad,
        3: bad,
    }
    calls = puts(kinds=b"\x09\x0b", keys=[b"", b""])
    assert malformed(calls) == {}
    assert malformed(puts(kinds=b"\x0c\x0c", keys=[b"", pack(3)])) == {}


@pytest.mark.parametrize(
    "key", [None, True, 0, -5, 2**63, 1.5, "text", b"bytes", "", [1, "a", b"b", None]]
)
def test_keys(key: object) -> None:
    assert key_fault(pack(key)) is None


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (b"", "not MessagePack"),
        (b"\xc1", "not MessagePack"),
        (b"\x01\x02", "not MessagePack"),
        (b"\xa5abc", "not MessagePack"),
        (b"\xa2\xff\xfe", "not MessagePack"),
        # Too deep for the decoder, or an array in an array: that depends on Python's version.
        (b"\x91" * 5000 + b"\x01", ""),
        (pack({"a": 1}), "the key is a dict"),
        (pack([1, [2]]), "arrays must be flat"),
        (pack(datetime.now(UTC)), "the key is a"),
        (msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"x")), "the key is a"),
        (b"\xcc\x01", "not canonical"),
        (b"\xd9\x01a", "not canonical"),
        (b"\xca\x3f\x80\x00\x00", "not canonical"),
    ],
)
def test_what_is_no_key(key: bytes, says: str) -> None:
    fault = key_fault(key)
    assert fault is not None
    assert says in fault


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x92\x01", b"\x01\x01", b"\x91" * 9999 + b"\x01"]
)
def test_what_is_no_value(value: bytes) -> None:
    fault = value_fault(value)
    assert fault is not None
    assert "not MessagePack" in fault


@pytest.mark.parametrize("count", [1, 15, 16, 65_535, 65_536])
def test_columns_of_every_length_are_looked_at(count: int) -> None:
    """Keys are compared in one piece, as an array whose header has one of three lengths."""
    right = [pack("k")] * count
    assert _all_keys(right), "what is right is not looked at again, key by key"
    assert not malformed(puts(kinds=b"\x03" * count, keys=right))
    for wrong in (b"\xd9\x01a", b"\xca\x3f\x80\x00\x00"):
        assert set(malformed(puts(kinds=b"\x03" * count, keys=[*right[1:], wrong]))) == {count - 1}


def test_columns_are_judged_as_their_elements_are() -> None:
    """The look at whole columns finds a fault exactly where the look at each element does."""
    for first in range(256):
        for rest in (b"", b"\x00", b"\x7f", b"\xc1", b"\xff\xff", b"\x92\0\0\0\1"):
            data = bytes([first]) + rest
            key, value = key_fault(data), value_fault(data)
            assert (1 in malformed(puts(keys=[pack("a"), data]))) == (key is not None)
            assert (1 in malformed(puts(values=[pack(1), data]))) == (value is not None)
            mixed = puts(kinds=b"\x09\x03", keys=[b"", data])
            assert set(malformed(mixed)) == ({1} if key else set())
