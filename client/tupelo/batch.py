"""Calls to columns, and columns to results. Pure: shared by the async and the sync client.

A row is one call that waits; a packed batch is the rows of one session as an OpBatch. Rows are
tuples and columns come from `zip`, since anything with attributes would cost more per operation
than the whole rest of the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

import msgspec

from tupelo.codec import DECODE_ERRORS
from tupelo.config import ClientConfig
from tupelo.errors import ResultCode, TooLarge
from tupelo.kinds import WRITES
from tupelo.retry import DEADLINE, NOT_SENT, Failure
from tupelo.routing import RouteTable
from tupelo.session import Session, Sessions
from tupelo.v1.data_pb2 import BatchResult, ErrorDetail, OpBatch

Token = tuple[Session, int]
# waiter, kind, partition, target, key, value, ttl_ms, expected version, deadline, strict, token
Row = tuple[Any, int, int, str, bytes, bytes, int, int, float, bool, Token | None]
Columns = tuple[Any, ...]
# code, version, value, epoch, copies: of an operation that was carried out.
Outcome = tuple[int, int, bytes, int, int]
Outcomes = Iterable[tuple[Any, "Outcome | Failure"]]

_CARRIED_OUT: Final = bytes(range(16))
_MAYBE: Final = ResultCode.OUTCOME_UNKNOWN
_TIMEOUT_MS_MAX: Final = (1 << 32) - 1


class GarbledAnswer(Exception):
    """A response that does not fit its request; what was done is unknown."""


class Packed:
    """Rows on their way as one OpBatch.

    Attributes:
        rows: the calls.
        numbers: op number of every row, 0 for reads; empty when all are reads.
        reserved: (first, stop) of numbers that were new with this batch, to be answered at once.
        deadline: the latest of the rows.
        earliest: the first of their deadlines.
    """

    __slots__ = (
        "batch",
        "deadline",
        "earliest",
        "numbers",
        "reserved",
        "rows",
        "session",
        "waiters",
    )

    def __init__(
        self,
        batch: OpBatch,
        rows: Sequence[Row],
        waiters: Sequence[Any],
        session: Session | None,
        numbers: Sequence[int],
        reserved: tuple[int, int] | None,
        deadline: float,
        earliest: float,
    ) -> None:
        self.batch = batch
        self.rows = rows
        self.waiters = waiters
        self.session = session
        self.numbers = numbers
        self.reserved = reserved
        self.deadline = deadline
        self.earliest = earliest

    def failure(self, index: int, code: int, message: str, *, maybe: bool) -> Failure:
        number = self.numbers[index] if self.numbers else 0
        session = self.session if number else None
        return Failure(code, message, {}, maybe and number > 0, session, number)


def columns_of(rows: Sequence[Row]) -> Columns:
    """The columns of rows, of which there must be some."""
    return tuple(zip(*rows, strict=True))


def size_bytes(columns: Columns) -> int:
    """Keys and values, together."""
    return sum(map(len, columns[4])) + sum(map(len, columns[5]))


def pack_new(
    rows: Sequence[Row], columns: Columns, sessions: Sessions, table: RouteTable, now: float
) -> Packed:
    """A batch of calls that are tried for the first time, all strict or all not."""
    kinds = bytes(columns[1])
    writes = len(rows) - len(kinds.translate(None, WRITES))
    if not writes:
        return _pack(rows, columns, kinds, None, (), None, table, now)
    session, first = sessions.reserve(writes)
    stop = first + writes
    numbers: Sequence[int] = range(first, stop)
    if writes != len(rows):
        fresh = iter(numbers)
        numbers = [next(fresh) if kind in WRITES else 0 for kind in kinds]
    return _pack(rows, columns, kinds, session, numbers, (first, stop), table, now)


def pack_again(
    rows: Sequence[Row], sessions: Sessions, table: RouteTable, now: float
) -> list[Packed]:
    """Batches of calls that are tried again with their tokens, or that are strict reads."""
    groups: dict[tuple[int, bool], list[Row]] = {}
    for row in rows:
        token = row[10]
        groups.setdefault((token[0].id if token else 0, row[9]), []).append(row)
    packed = []
    for (session_id, _), group in groups.items():
        columns = columns_of(group)
        if not session_id:
            packed.append(pack_new(group, columns, sessions, table, now))
            continue
        tokens: Sequence[Token | None] = columns[10]
        session = next(token[0] for token in tokens if token)
        numbers = [token[1] if token else 0 for token in tokens]
        kinds = bytes(columns[1])
        packed.append(_pack(group, columns, kinds, session, numbers, None, table, now))
    return packed


def _pack(
    rows: Sequence[Row],
    columns: Columns,
    kinds: bytes,
    session: Session | None,
    numbers: Sequence[int],
    reserved: tuple[int, int] | None,
    table: RouteTable,
    now: float,
) -> Packed:
    waiters, _, partitions, targets, keys, values, ttls, expected, deadlines, strict, _ = columns
    names = list(dict.fromkeys(targets))
    target_index: Sequence[int] = ()
    if len(names) > 1:
        places = {name: index for index, name in enumerate(names)}
        target_index = [places[name] for name in targets]
    deadline = max(deadlines)
    batch = OpBatch(
        grid_id=table.grid_id,
        table_version=table.version,
        session=session.id if session else 0,
        acked_below=session.acked_below if session else 0,
        strict=strict[0],
        timeout_ms=timeout_ms(deadline - now),
        targets=names,
        kinds=kinds,
        partitions=partitions,
        target_index=target_index,
        keys=keys,
        values=values if any(values) else (),
        op_numbers=numbers,
        ttls_ms=ttls if any(ttls) else (),
        expected_versions=expected if any(expected) else (),
    )
    earliest = min(deadlines)
    return Packed(batch, rows, waiters, session, numbers, reserved, deadline, earliest)


def timeout_ms(left_s: float) -> int:
    """What is left of a deadline, for the wire: at least 1, since 0 means the server's default."""
    return min(max(1, int(left_s * 1000)), _TIMEOUT_MS_MAX)


def outcomes(packed: Packed, result: BatchResult) -> Outcomes:
    """Every waiter with its outcome. Raises GarbledAnswer before it gives out any.

    Marks as answered what was carried out; the rest is for the retry to end.
    """
    waiters = packed.waiters
    count = len(waiters)
    if result.HasField("refused"):
        detail = result.refused
        return _refused(packed, detail)
    codes = result.codes
    if len(codes) != count:
        raise GarbledAnswer(f"{len(codes)} codes for {count} operations")
    columns = zip(
        codes,
        _column(result.versions, count, 0),
        _column(result.values, count, b""),
        _column(result.epochs, count, 0),
        _column(result.copies, count, 0),
        strict=False,
    )
    if not codes.translate(None, _CARRIED_OUT):
        if packed.reserved and packed.session:
            packed.session.answered(*packed.reserved)
        return zip(waiters, columns, strict=False)
    return _mixed(packed, result, columns)


def _column(values: Sequence[Any], count: int, missing: Any) -> Iterable[Any]:
    found = len(values)
    if found == count:
        # Protobuf hands out a slice much faster than one element after the other.
        return values[:]
    if found:
        raise GarbledAnswer(f"a column of {found} for {count} operations")
    return repeat(missing)


def _mixed(packed: Packed, result: BatchResult, columns: Iterable[Outcome]) -> Outcomes:
    """As `outcomes`, where some were not carried out."""
    count = len(packed.waiters)
    details = details_of(result)
    given: list[tuple[Any, Outcome | Failure]] = []
    for index, outcome in zip(range(count), columns, strict=False):
        code = outcome[0]
        number = packed.numbers[index] if packed.numbers else 0
        session = packed.session if number else None
        if code < 16:
            if session and packed.reserved:
                session.answered(number, number + 1)
            given.append((packed.waiters[index], outcome))
            continue
        message, fields = details.get(index, ("", {}))
        maybe = code >= _MAYBE and number > 0
        failure = Failure(code, message, fields, maybe, session, number)
        given.append((packed.waiters[index], failure))
    return given


def _refused(packed: Packed, detail: ErrorDetail) -> Outcomes:
    message, fields = read_detail(detail)
    code = detail.code or ResultCode.INVALID_ARGUMENT
    for index, waiter in enumerate(packed.waiters):
        number = packed.numbers[index] if packed.numbers else 0
        session = packed.session if number else None
        yield waiter, Failure(code, message, fields, code >= _MAYBE, session, number)


def details_of(result: BatchResult) -> dict[int, tuple[str, dict[str, Any]]]:
    """Sparse errors by the index of their operation (or group, after the operations)."""
    if len(result.error_ops) != len(result.errors):
        raise GarbledAnswer("error_ops and errors differ in length")
    return {
        index: read_detail(detail)
        for index, detail in zip(result.error_ops, result.errors, strict=True)
    }


def read_detail(detail: ErrorDetail) -> tuple[str, dict[str, Any]]:
    fields: dict[str, Any] = {}
    if detail.fields:
        try:
            fields = msgspec.msgpack.decode(detail.fields, type=dict[str, Any])
        except DECODE_ERRORS as error:
            raise GarbledAnswer(f"error fields are not a MessagePack map: {error}") from error
    return detail.message, fields


def operation_bytes_max(config: ClientConfig) -> int:
    """Key and value of one operation, so that it fits a message with all that is around it."""
    return config.message_bytes_max - config.message_bytes_max // 16


def too_large(size_bytes: int, limit: int) -> TooLarge:
    """For an operation that no message can carry."""
    return TooLarge(
        f"key and value have {size_bytes} bytes together; a message carries {limit} "
        "(message_bytes_max of client and grid)"
    )


def unsent(row: Row, code: int = NOT_SENT, message: str = "") -> Failure:
    """The failure of a row that has not left the client this time."""
    session, number = row[10] or (None, 0)
    return Failure(code, message, {}, False, session, number)


def late(row: Row) -> Failure:
    return unsent(row, DEADLINE, "the time of the call ran out before it could be sent")
