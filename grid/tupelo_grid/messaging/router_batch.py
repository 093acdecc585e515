"""Splitting a batch by partition owner, and putting the results together again. Pure, no I/O.

A piece is the part of a batch that goes to one unit: some of its operations and some of its bulk
groups, in their order, under the batch's own session, numbers, strictness and floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from tupelo.errors import ResultCode
from tupelo.kinds import GET, WRITES
from tupelo.v1.data_pb2 import BatchResult, BulkBatch, BulkResult, ErrorDetail, OpBatch

from tupelo_grid.transport.status import detail

CARRIED_OUT: Final = bytes(range(16))
UNKNOWN: Final = int(ResultCode.OUTCOME_UNKNOWN)
NOT_TRIED: Final = int(ResultCode.NOT_READY)

# What another attempt, by a newer table or a little later, may get past.
RETRYABLE: Final = frozenset(
    {
        int(ResultCode.WRONG_OWNER),
        int(ResultCode.NOT_READY),
        int(ResultCode.SHUTTING_DOWN),
        UNKNOWN,
    }
)
_RETRYABLE_BYTES: Final = bytes(sorted(RETRYABLE))


def settled(batch: OpBatch, result: BatchResult) -> bool:
    """Whether a result fits its batch, and nothing of it is worth another attempt."""
    if result.HasField("refused"):
        return result.refused.code not in RETRYABLE
    codes = result.codes
    if len(codes) != len(batch.kinds):
        return False
    if batch.HasField("bulk"):
        groups = result.bulk.codes
        if len(groups) != len(batch.bulk.partitions):
            return False
        codes += groups
    return len(codes.translate(None, _RETRYABLE_BYTES)) == len(codes)


class Piece:
    """Operations `ops` and bulk groups `groups` of a batch, as a batch for one unit."""

    __slots__ = ("batch", "groups", "ops", "whole")

    def __init__(
        self, batch: OpBatch, ops: Sequence[int], groups: Sequence[int], whole: bool
    ) -> None:
        self.batch = batch
        self.ops = ops
        self.groups = groups
        self.whole = whole


class Columns:
    """A batch unpacked once, so that it can be split as often as it is routed."""

    def __init__(self, batch: OpBatch) -> None:
        self.batch = batch
        self.kinds = batch.kinds
        self.partitions = list(batch.partitions)
        self.bulk = batch.bulk if batch.HasField("bulk") else None
        self.bulk_partitions = list(self.bulk.partitions) if self.bulk else []
        self.starts = [0]
        for count in self.bulk.counts if self.bulk else ():
            self.starts.append(self.starts[-1] + count)
        self._lists = {
            name: list(getattr(batch, name))
            for name in (
                "target_index",
                "keys",
                "values",
                "op_numbers",
                "ttls_ms",
                "expected_versions",
            )
        }

    def owners(
        self, addresses: Sequence[str], ops: Iterable[int], groups: Iterable[int]
    ) -> Mapping[str, tuple[list[int], list[int]]]:
        """Operations and groups by the address of their partition; "" for no primary."""
        found: dict[str, tuple[list[int], list[int]]] = {}
        for index in ops:
            address = addresses[self.partitions[index]]
            if address not in found:
                found[address] = ([], [])
            found[address][0].append(index)
        for group in groups:
            address = addresses[self.bulk_partitions[group]]
            if address not in found:
                found[address] = ([], [])
            found[address][1].append(group)
        return found

    def piece(self, ops: Sequence[int], groups: Sequence[int]) -> Piece:
        source = self.batch
        if len(ops) == len(self.kinds) and len(groups) == len(self.bulk_partitions):
            return Piece(source, ops, groups, True)
        batch = OpBatch(
            grid_id=source.grid_id,
            session=source.session,
            acked_below=source.acked_below,
            strict=source.strict,
        )
        if ops:
            batch.targets.extend(source.targets)
            batch.kinds = bytes(_pick(self.kinds, ops))
            batch.partitions.extend(_pick(self.partitions, ops))
            for name, column in self._lists.items():
                if column:
                    getattr(batch, name).extend(_pick(column, ops))
        if groups:
            batch.bulk.CopyFrom(self._bulk_piece(groups))
        return Piece(batch, ops, groups, False)

    def _bulk_piece(self, groups: Sequence[int]) -> BulkBatch:
        bulk = self.bulk
        assert bulk is not None
        entries = [
            entry for group in groups for entry in range(self.starts[group], self.starts[group + 1])
        ]
        return BulkBatch(
            kind=bulk.kind,
            space=bulk.space,
            ttl_ms=bulk.ttl_ms,
            partitions=_pick(self.bulk_partitions, groups),
            counts=_pick(bulk.counts, groups),
            op_numbers=_pick(bulk.op_numbers, groups) if bulk.op_numbers else (),
            keys=_pick(bulk.keys, entries),
            values=_pick(bulk.values, entries) if bulk.values else (),
        )


def _pick(column: Sequence[Any], indexes: Sequence[int]) -> Sequence[Any]:
    if len(indexes) == 1:
        return (column[indexes[0]],)
    picked: Sequence[Any] = itemgetter(*indexes)(column)
    return picked


class Merger:
    """The result of a batch, put together from those of its pieces, attempt by attempt.

    An operation that may have been carried out once is never reported as failed: what a later
    attempt says of it counts only if it was carried out then, else its outcome stays unknown.
    """

    def __init__(self, columns: Columns) -> None:
        ops, groups = len(columns.kinds), len(columns.bulk_partitions)
        bulk = columns.bulk
        self._columns = columns
        self._ops = ops
        self._read_bulk = bulk is not None and bulk.kind == GET
        self.codes = bytearray([NOT_TRIED]) * ops
        self.versions = [0] * ops
        self.values = [b""] * ops
        self.epochs = [0] * ops
        self.copies = bytearray(ops)
        self.errors: dict[int, ErrorDetail] = {}
        self.bulk_codes = bytearray([NOT_TRIED]) * groups
        rows = columns.starts[-1] if self._read_bulk else groups
        self.bulk_versions = [0] * rows
        self.bulk_values = [b""] * (rows if self._read_bulk else 0)
        self.bulk_epochs = [0] * groups
        self.bulk_copies = bytearray(groups)
        self._maybe: set[int] = set()

    def take(self, piece: Piece, result: BatchResult) -> None:
        """A unit's answer. One that does not fit its piece counts as no answer."""
        if result.HasField("refused"):
            refused = result.refused
            if not refused.code:
                refused.code = int(ResultCode.INVALID_ARGUMENT)  # type: ignore[assignment]
            self.fail(piece, refused)
            return
        details = dict(zip(result.error_ops, result.errors, strict=False))
        bulk = result.bulk
        if len(result.codes) != len(piece.ops) or len(bulk.codes) != len(piece.groups):
            self.fail(piece, detail(ResultCode.OUTCOME_UNKNOWN, "a unit's answer does not fit"))
            return
        if piece.ops:
            self._take_ops(piece.ops, result, details)
        if piece.groups:
            self._take_groups(piece.groups, len(piece.ops), bulk, details)

    def _take_ops(
        self, ops: Sequence[int], result: BatchResult, details: Mapping[int, ErrorDetail]
    ) -> None:
        count, codes = len(ops), result.codes
        if not (codes.translate(None, CARRIED_OUT) or self.errors or self._maybe):
            for index, code in zip(ops, codes, strict=True):
                self.codes[index] = code
        else:
            for place, (index, code) in enumerate(zip(ops, codes, strict=True)):
                self._set_code(index, code, details.get(place))
        for name, column in (
            ("versions", result.versions),
            ("values", result.values),
            ("epochs", result.epochs),
            ("copies", result.copies),
        ):
            if len(column) == count:
                target = getattr(self, name)
                for index, element in zip(ops, column, strict=True):
                    target[index] = element

    def _take_groups(
        self,
        groups: Sequence[int],
        base: int,
        bulk: BulkResult,
        details: Mapping[int, ErrorDetail],
    ) -> None:
        for place, group in enumerate(groups):
            self._set_code(self._ops + group, bulk.codes[place], details.get(base + place))
        if not self._read_bulk:
            for name, column in (
                ("bulk_versions", bulk.versions),
                ("bulk_epochs", bulk.epochs),
                ("bulk_copies", bulk.copies),
            ):
                if len(column) == len(groups):
                    target = getattr(self, name)
                    for group, element in zip(groups, column, strict=True):
                        target[group] = element
            return
        starts = self._columns.starts
        entries = [entry for group in groups for entry in range(starts[group], starts[group + 1])]
        if len(bulk.versions) == len(entries):
            for entry, version in zip(entries, bulk.versions, strict=True):
                self.bulk_versions[entry] = version
        if len(bulk.values) == len(entries):
            for entry, value in zip(entries, bulk.values, strict=True):
                self.bulk_values[entry] = value

    def fail(self, piece: Piece, error: ErrorDetail, *, maybe: bool = False) -> None:
        """The same error for every operation of the piece; `maybe`: it may have been carried out
        all the same."""
        for index in (*piece.ops, *(self._ops + group for group in piece.groups)):
            self._set_code(index, error.code, error)
            if maybe and self._is_write(index):
                self._maybe.add(index)

    def _set_code(self, index: int, code: int, error: ErrorDetail | None) -> None:
        """`index`: of an operation, or the number of operations + that of a group."""
        if code == UNKNOWN and not self._is_write(index):
            code = NOT_TRIED
            if error is not None:
                error = detail(ResultCode.NOT_READY, error.message)
        if code == UNKNOWN:
            self._maybe.add(index)
        if code < 16:
            self._maybe.discard(index)
            self.errors.pop(index, None)
        elif error is not None:
            self.errors[index] = error
        if index < self._ops:
            self.codes[index] = code
        else:
            self.bulk_codes[index - self._ops] = code

    def _is_write(self, index: int) -> bool:
        if index < self._ops:
            return self._columns.kinds[index] in WRITES
        return not self._read_bulk

    def left(self) -> tuple[list[int], list[int]]:
        """Operations and groups that are worth another attempt."""
        ops = [index for index, code in enumerate(self.codes) if code in RETRYABLE]
        groups = [group for group, code in enumerate(self.bulk_codes) if code in RETRYABLE]
        return ops, groups

    def result(self) -> BatchResult:
        for index in self._maybe:
            code = self._code(index)
            if code != UNKNOWN:
                self._end_unknown(index, code)
        result = BatchResult(
            error_ops=sorted(self.errors),
            errors=[self.errors[index] for index in sorted(self.errors)],
        )
        if self._ops:
            result.codes = bytes(self.codes)
            result.versions.extend(self.versions)
            if any(self.values):
                result.values.extend(self.values)
            if any(self.epochs):
                result.epochs.extend(self.epochs)
                result.copies = bytes(self.copies)
        if self._columns.bulk is not None:
            result.bulk.CopyFrom(self._bulk_result())
        return result

    def _bulk_result(self) -> BulkResult:
        return BulkResult(
            codes=bytes(self.bulk_codes),
            versions=self.bulk_versions,
            values=self.bulk_values,
            epochs=() if self._read_bulk else self.bulk_epochs,
            copies=b"" if self._read_bulk else bytes(self.bulk_copies),
        )

    def _code(self, index: int) -> int:
        return self.codes[index] if index < self._ops else self.bulk_codes[index - self._ops]

    def _end_unknown(self, index: int, code: int) -> None:
        """The last attempt was not carried out, but an earlier one may have been."""
        said = self.errors.get(index)
        try:
            name = ResultCode(code).name
        except ValueError:
            name = str(code)
        last = said.message if said and said.message else name
        self.errors[index] = ErrorDetail(
            code=UNKNOWN,  # type: ignore[arg-type]
            message=f"an earlier attempt may have been carried out; the last ended with: {last}",
        )
        if index < self._ops:
            self.codes[index] = UNKNOWN
        else:
            self.bulk_codes[index - self._ops] = UNKNOWN
