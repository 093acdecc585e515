"""Batches between the wire and the core: protobuf columns to lists and back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BatchResult, BulkResult, ErrorDetail, OpBatch

from tupelo_grid.core.batch import Batch, Bulk, OpError, Pending

# Beyond it the details of further failed operations are left out; their codes stay.
ERROR_DETAILS_MAX = 100

_DEFAULT_MESSAGES = {
    ResultCode.NOT_READY: "the partition is changing its primary; try again",
    ResultCode.OUTCOME_UNKNOWN: "the primary changed or fell silent before the write was "
    "acknowledged; retry with the same token",
}


def to_batch(message: OpBatch, faults: Mapping[int, ErrorDetail], deadline: float) -> Batch:
    """A validated batch. `deadline`: by the core's clock."""
    bulk = message.bulk if message.HasField("bulk") else None
    return Batch(
        session=message.session,
        acked_below=message.acked_below,
        kinds=message.kinds,
        partitions=list(message.partitions),
        targets=list(message.targets),
        target_index=list(message.target_index) or None,
        keys=list(message.keys),
        values=list(message.values) or None,
        op_numbers=list(message.op_numbers) or None,
        ttls_ms=list(message.ttls_ms) or None,
        expected=list(message.expected_versions) or None,
        strict=message.strict,
        deadline=deadline,
        bulk=None
        if bulk is None
        else Bulk(
            kind=bulk.kind,
            space=bulk.space,
            partitions=list(bulk.partitions),
            counts=list(bulk.counts),
            op_numbers=list(bulk.op_numbers),
            keys=list(bulk.keys),
            values=list(bulk.values),
            ttl_ms=bulk.ttl_ms,
        ),
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
