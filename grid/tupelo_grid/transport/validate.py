"""Looks at a batch before anything touches it.

Three checks, by what they find and cost (measured with both cores busy, CPython 3.11, puts of 100
bytes; us for a batch of one operation, ns an operation in a batch of 256):

    validate_batch   6 us    150 ns   columns, kinds, indexes, tokens: refuses the batch whole
    oversized        3 us    200 ns   keys and values too large: refuses its operation or group
    malformed        4 us    380 ns   keys and values that are no MessagePack: likewise

The first two look at whole columns in C (`bytes.translate`, `max`, `set`); most of their time is
protobuf handing out the columns. The last decodes each key and encodes it again (canonical means
that this gives the same bytes) and walks each value without making objects of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, TypeVar

import msgspec
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BulkBatch, ErrorDetail, OpBatch, OpKind

from tupelo_grid.config import GridConfig
from tupelo_grid.core.batch import Bulk
from tupelo_grid.transport.columns import Columns
from tupelo_grid.transport.status import detail

Faults = dict[int, ErrorDetail]
"""By operation; groups of the bulk part follow, from len(kinds)."""

GET: Final = int(OpKind.OP_KIND_GET)
PUT: Final = int(OpKind.OP_KIND_PUT)
COMPARE_AND_SET: Final = int(OpKind.OP_KIND_COMPARE_AND_SET)
DELETE: Final = int(OpKind.OP_KIND_DELETE)
DELETE_IF_VERSION: Final = int(OpKind.OP_KIND_DELETE_IF_VERSION)
CALL: Final = int(OpKind.OP_KIND_CALL)
CALL_READ_ONLY: Final = int(OpKind.OP_KIND_CALL_READ_ONLY)
COUNT: Final = int(OpKind.OP_KIND_COUNT)
SCAN: Final = int(OpKind.OP_KIND_SCAN)

KINDS: Final = bytes(value for value in OpKind.values() if value)
READS: Final = bytes(
    [GET, OpKind.OP_KIND_CONTAINS, CALL_READ_ONLY, COUNT, SCAN, OpKind.OP_KIND_GET_NEAR]
)
# Puts of every sort carry the entry, calls their arguments, scans their limit.
VALUED: Final = bytes(
    [
        PUT,
        OpKind.OP_KIND_PUT_IF_ABSENT,
        OpKind.OP_KIND_REPLACE,
        COMPARE_AND_SET,
        CALL,
        CALL_READ_ONLY,
        SCAN,
    ]
)
CONDITIONAL: Final = bytes([COMPARE_AND_SET, DELETE_IF_VERSION])
UNKEYED: Final = bytes([CALL, CALL_READ_ONLY, COUNT])
KEYLESS: Final = UNKEYED + bytes([SCAN])  # may be without a key
BULK_KINDS: Final = bytes([GET, PUT, DELETE])

T = TypeVar("T")

_NO_FAULTS: Final[Faults] = {}
_MALFORMED: Final = (msgspec.DecodeError, ValueError, RecursionError)
_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_walk = msgspec.msgpack.Decoder(msgspec.Raw).decode


def validate_batch(
    batch: OpBatch | Columns, config: GridConfig, partitions: int
) -> ErrorDetail | None:
    """The reason to refuse the batch as a whole, or None. `partitions`: of the grid."""
    kinds = batch.kinds
    bulk = batch.bulk if batch.HasField("bulk") else None
    # Protobuf makes a new object at each access of a column, so each is asked for once.
    numbers = batch.op_numbers
    parts = batch.partitions
    ttls = batch.ttls_ms
    reason = _columns_fault(batch, kinds, len(parts), len(numbers), len(ttls))
    if reason is None and bulk is not None:
        reason = _bulk_fault(bulk)
    if reason is None:
        reason = _token_fault(batch, kinds, numbers, bulk)
    if reason is not None:
        return detail(ResultCode.INVALID_ARGUMENT, f"{reason}; the batch was refused whole")
    entries, highest, ttl_ms = len(kinds), max(parts, default=0), max(ttls, default=0)
    if bulk is not None:
        entries += len(bulk.keys)
        highest = max(highest, max(bulk.partitions, default=0))
        ttl_ms = max(ttl_ms, bulk.ttl_ms)
    if entries > config.batch_ops_max or highest >= partitions or ttl_ms > config.ttl_ms_max:
        return _limit_fault(config, partitions, entries, highest, ttl_ms)
    return None


def _columns_fault(
    batch: OpBatch | Columns, kinds: bytes, parts: int, numbers: int, ttls: int
) -> str | None:
    ops = len(kinds)
    index = batch.target_index
    keys, indexes, values = len(batch.keys), len(index), len(batch.values)
    versions = len(batch.expected_versions)
    if kinds.translate(None, KINDS):
        return f"kinds has {kinds.translate(None, KINDS)[0]}, which is no OpKind"
    if not (
        parts == keys == ops
        and indexes in (0, ops)
        and values in (0, ops)
        and numbers in (0, ops)
        and ttls in (0, ops)
        and versions in (0, ops)
    ):
        return _unequal_columns(batch, ops)
    if not ops:
        return None
    highest, targets = max(index) if indexes else 0, len(batch.targets)
    if highest >= targets:
        return f"target_index points at {highest}, but targets has {targets} names"
    if not values and len(kinds.translate(None, VALUED)) != ops:
        return "column values is missing, and some operations need one"
    if not versions and len(kinds.translate(None, CONDITIONAL)) != ops:
        return "column expected_versions is missing, and some operations need one"
    return None


def _unequal_columns(batch: OpBatch | Columns, ops: int) -> str:
    for name in ("partitions", "keys"):
        if len(getattr(batch, name)) != ops:
            return f"column {name} has {len(getattr(batch, name))} elements, kinds has {ops}"
    for name in ("target_index", "values", "op_numbers", "ttls_ms", "expected_versions"):
        if len(getattr(batch, name)) not in (0, ops):
            return f"column {name} has {len(getattr(batch, name))} elements, kinds has {ops}"
    raise AssertionError("some column differs")


def _bulk_fault(bulk: BulkBatch | Bulk) -> str | None:
    counts = list(bulk.counts)
    groups, entries = len(bulk.partitions), len(bulk.keys)
    if bulk.kind not in BULK_KINDS:
        return f"bulk.kind is {bulk.kind}; it can be GET, PUT or DELETE"
    if len(counts) != groups:
        return f"bulk.counts has {len(counts)} elements, bulk.partitions has {groups}"
    if sum(counts) != entries:
        return f"bulk.counts add up to {sum(counts)}, but bulk.keys has {entries} elements"
    if groups and min(counts) == 0:
        return "bulk.counts has a group without entries"
    if len(bulk.values) != (entries if bulk.kind == PUT else 0):
        return f"bulk.values has {len(bulk.values)} elements for {entries} keys"
    if len(bulk.op_numbers) != (0 if bulk.kind == GET else groups):
        return f"bulk.op_numbers has {len(bulk.op_numbers)} elements for {groups} groups"
    return None


def _token_fault(
    batch: OpBatch | Columns, kinds: bytes, column: Sequence[int], bulk: BulkBatch | Bulk | None
) -> str | None:
    """Every write needs a token of its own."""
    writes = len(kinds.translate(None, READS))
    numbers = list(column) if writes else []
    if writes and not numbers:
        return "column op_numbers is missing, and writes need a token"
    if writes != len(kinds) and writes:
        numbers = [number for kind, number in zip(kinds, numbers, strict=True) if kind not in READS]
    if bulk is not None:
        numbers.extend(bulk.op_numbers)
    if not numbers:
        return None
    if not batch.session:
        return "session is 0, and writes need one"
    if min(numbers) == 0:
        return "op_numbers has a 0 for a write; they start at 1"
    if len(set(numbers)) != len(numbers):
        return "op_numbers has a number twice; each write needs its own"
    return None


def _limit_fault(
    config: GridConfig, partitions: int, entries: int, highest: int, ttl_ms: int
) -> ErrorDetail:
    if entries > config.batch_ops_max:
        return detail(
            ResultCode.INVALID_ARGUMENT,
            f"a batch of {entries} operations is above the limit of {config.batch_ops_max} "
            "(batch_ops_max); send it in parts",
        )
    if highest >= partitions:
        return detail(
            ResultCode.PARTITION_OUT_OF_RANGE,
            f"partition {highest} does not exist: this grid has 0 to {partitions - 1}; "
            "read the table with Route. The batch was refused whole",
        )
    return detail(
        ResultCode.INVALID_ARGUMENT,
        f"a time to live of {ttl_ms} ms is above the limit of {config.ttl_ms_max} "
        "(ttl_ms_max); leave it out for an entry that does not expire",
    )


def oversized(batch: OpBatch | Columns, config: GridConfig) -> Faults:
    """Operations and bulk groups with a key or value above its limit; the others may go on."""
    key_max, value_max = config.key_bytes_max, config.value_bytes_max
    if (
        max(map(len, batch.keys), default=0) <= key_max
        and max(map(len, batch.values), default=0) <= value_max
    ):
        if not batch.HasField("bulk"):
            return _NO_FAULTS
        bulk = batch.bulk
        if (
            max(map(len, bulk.keys), default=0) <= key_max
            and max(map(len, bulk.values), default=0) <= value_max
        ):
            return _NO_FAULTS
    bulk = batch.bulk
    faults: Faults = {}
    base = len(batch.kinds)
    for single, grouped, limit, make in (
        (batch.values, bulk.values, value_max, _value_too_large),
        (batch.keys, bulk.keys, key_max, _key_too_large),
    ):
        for index, length in enumerate(map(len, single)):
            if length > limit:
                faults[index] = make(length, limit)
        lengths = list(map(len, grouped))
        for index, length in _first_of_groups(bulk.counts, lengths, limit.__lt__):
            faults[base + index] = make(length, limit)
    return faults


def malformed(batch: OpBatch | Columns) -> Faults:
    """Operations and bulk groups whose key is not canonical or whose value is no MessagePack."""
    kinds = batch.kinds
    bulk = batch.bulk if batch.HasField("bulk") else None
    keys: Iterable[bytes] = batch.keys
    if len(kinds.translate(None, KEYLESS)) != len(kinds):
        keys = [key for kind, key in zip(kinds, keys, strict=True) if key or kind not in KEYLESS]
    if (
        _all_values(batch.values)
        and _all_keys(keys)
        and (bulk is None or (_all_values(bulk.values) and _all_keys(bulk.keys)))
    ):
        return _NO_FAULTS
    faults: Faults = {}
    for index, value in enumerate(batch.values):
        if value and (reason := value_fault(value)):
            faults[index] = detail(ResultCode.INVALID_ARGUMENT, reason)
    for index, (kind, key) in enumerate(zip(kinds, batch.keys, strict=True)):
        if kind in UNKEYED or (kind == SCAN and not key):
            continue
        if reason := key_fault(key):
            faults[index] = detail(ResultCode.INVALID_ARGUMENT, reason)
    if bulk is not None:
        for column, check in ((bulk.values, value_fault), (bulk.keys, key_fault)):
            reasons = list(map(check, column))
            for index, reason in _first_of_groups(bulk.counts, reasons, bool):
                faults[len(kinds) + index] = detail(ResultCode.INVALID_ARGUMENT, reason or "")
    return faults


def _all_values(column: Iterable[bytes]) -> bool:
    """Whether all are MessagePack, or empty; whole columns at a time, which takes half the time."""
    try:
        deque(map(_walk, filter(None, column)), maxlen=0)
    except _MALFORMED:
        return False
    return True


def _all_keys(column: Iterable[bytes]) -> bool:
    keys = list(column)
    try:
        decoded = list(map(_decode, keys))
        kinds = set(map(type, decoded))
        if not kinds <= _SCALARS:
            if kinds - _SCALARS != {list}:
                return False
            parts = chain.from_iterable(key for key in decoded if type(key) is list)
            if not set(map(type, parts)) <= _SCALARS:
                return False
        # MessagePack says itself where each value ends, so two rows of values are equal when they
        # are so put together: one call for all.
        return _encode(decoded)[_header_bytes(len(keys)) :] == b"".join(keys)
    except _MALFORMED:
        return False


def _header_bytes(count: int) -> int:
    """Of an array of so many values."""
    return 1 if count < 16 else 3 if count < 65536 else 5


def _first_of_groups(
    counts: Iterable[int], column: Sequence[T], bad: Callable[[T], bool]
) -> list[tuple[int, T]]:
    """(group, element) for the first bad element of each group of a bulk column that has one."""
    if not any(map(bad, column)):
        return []
    found: list[tuple[int, T]] = []
    start = 0
    for group, count in enumerate(counts):
        for element in column[start : start + count]:
            if bad(element):
                found.append((group, element))
                break
        start += count
    return found


def key_fault(key: bytes) -> str | None:
    """Why `key` is not a key: canonical MessagePack of a scalar or a flat array; None if it is."""
    try:
        value = _decode(key)
    except _MALFORMED as error:
        return f"the key is not MessagePack ({_short(error)}); encode it as a scalar or flat array"
    kind = type(value)
    if kind not in _SCALARS:
        if kind is not list:
            return (
                f"the key is a {kind.__name__}; it must be a scalar (nil, bool, integer, float, "
                "string, bytes) or a flat array of them"
            )
        for element in value:
            if type(element) not in _SCALARS:
                return f"the key is an array with a {type(element).__name__}; arrays must be flat"
    if _encode(value) != key:
        return "the key is not canonical MessagePack; use the shortest form of every value"
    return None


def value_fault(value: bytes) -> str | None:
    """Why `value` is not one MessagePack value; None if it is. Strings are not looked into."""
    try:
        _walk(value)
    except _MALFORMED as error:
        return f"the value is not MessagePack ({_short(error)})"
    return None


def _short(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 100 else text[:97] + "..."


def _key_too_large(length: int, limit: int) -> ErrorDetail:
    return detail(
        ResultCode.KEY_TOO_LARGE,
        f"the key has {length} bytes; the limit is {limit} (key_bytes_max): use a shorter key",
    )


def _value_too_large(length: int, limit: int) -> ErrorDetail:
    return detail(
        ResultCode.VALUE_TOO_LARGE,
        f"the value has {length} bytes; the limit is {limit} (value_bytes_max): store it in "
        "parts, or raise the limit",
    )
