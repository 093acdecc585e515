"""Batches between the wire and the core: protobuf columns to lists and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BatchResult, BulkBatch, BulkResult, ErrorDetail, OpBatch

from tupelo_grid.core.batch import Batch, Bulk, OpError, Pending

# Beyond it the details of further failed operations are left out; their codes stay.
ERROR_DETAILS_MAX = 100

_DEFAULT_MESSAGES = {
    ResultCode.NOT_READY: "the partition is changing its primary; try again",
    ResultCode.OUTCOME_UNKNOWN: "the primary changed or fell silent before the write was "
    "acknowledged; retry with the same token",
}


class Columns:
    """An OpBatch with its columns taken out of protobuf once, by the same names, for all that looks
    at them: protobuf makes every element anew each time."""

    __slots__ = (
        "bulk",
        "expected_versions",
        "keys",
        "kinds",
        "op_numbers",
        "partitions",
        "session",
        "target_index",
        "targets",
        "ttls_ms",
        "values",
    )

    def __init__(self, message: OpBatch) -> None:
        # A slice is made in C at one go; a list of it, by asking for one element after the other.
        self.kinds = message.kinds
        self.partitions = message.partitions[:]
        self.targets = message.targets[:]
        self.target_index = message.target_index[:]
        self.keys = message.keys[:]
        self.values = message.values[:]
        self.op_numbers = message.op_numbers[:]
        self.ttls_ms = message.ttls_ms[:]
        self.expected_versions = message.expected_versions[:]
        self.session = message.session
        self.bulk = _to_bulk(message.bulk) if message.HasField("bulk") else _NO_BULK

    def HasField(self, name: Literal["bulk"]) -> bool:
        return self.bulk is not _NO_BULK


def _to_bulk(bulk: BulkBatch) -> Bulk:
    return Bulk(
        kind=bulk.kind,
        space=bulk.space,
        partitions=bulk.partitions[:],
        counts=bulk.counts[:],
        op_numbers=bulk.op_numbers[:],
        keys=bulk.keys[:],
        values=bulk.values[:],
        ttl_ms=bulk.ttl_ms,
    )


_NO_BULK: Final = _to_bulk(BulkBatch())


def to_batch(
    message: OpBatch, columns: Columns, faults: Mapping[int, ErrorDetail], deadline: float
) -> Batch:
    """A validated batch; `columns` are those of the message. `deadline`: by the core's clock."""
    return Batch(
        session=columns.session,
        acked_below=message.acked_below,
        kinds=columns.kinds,
        partitions=columns.partitions,
        targets=columns.targets,
        target_index=columns.target_index or None,
        keys=columns.keys,
        values=columns.values or None,
        op_numbers=columns.op_numbers or None,
        ttls_ms=columns.ttls_ms or None,
        expected=columns.expected_versions or None,
        strict=message.strict,
        deadline=deadline,
        bulk=columns.bulk if columns.HasField("bulk") else None,
        faults={index: (int(fault.code), fault.message) for index, fault in faults.items()} or None,
    )


def to_result(pending: Pending) -> BatchResult:
    """The answer of a batch that is done."""
    writes = any(pending.copies)
    result = BatchResult(
        codes=bytes(pending.codes),
        versions=pending.versions,
        values=pending.values if any(pending.values) else (),
        epochs=pending.epochs if writes else (),
        copies=bytes(pending.copies) if writes else b"",
    )
    if pending.bulk is not None:
        bulk = pending.bulk
        result.bulk.CopyFrom(
            BulkResult(
                codes=bytes(bulk.codes),
                versions=bulk.versions,
                values=bulk.values,
                epochs=bulk.epochs,
                copies=bytes(bulk.copies),
            )
        )
    _add_errors(result, pending)
    return result


def _add_errors(result: BatchResult, pending: Pending) -> None:
    errors = pending.errors[:ERROR_DETAILS_MAX]
    explained = {error.code for error in errors}
    for code, message in _DEFAULT_MESSAGES.items():
        if code not in explained and bytes([code]) in pending.codes:
            index = pending.codes.index(bytes([code]))
            errors.append(OpError(index, code, message))
    for error in errors:
        result.error_ops.append(error.index)
        result.errors.append(
            ErrorDetail(
                code=error.code,  # type: ignore[arg-type]  # the enum is open on the wire
                message=error.message,
                fields=msgspec.msgpack.encode(error.fields) if error.fields else b"",
            )
        )
