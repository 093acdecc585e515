"""A client's own calls to one unit: coalesced into columns, one future a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from tupelo._async.connection import UnitConnection
from tupelo._async.frames import Frame, Part
from tupelo._async.routes import RouteKeeper
from tupelo._async.runtime import OTHER_LOOP, Guard
from tupelo.batch import (
    Columns,
    Outcome,
    Packed,
    Row,
    Token,
    columns_of,
    late,
    operation_bytes_max,
    outcomes,
    pack_again,
    pack_new,
    size_bytes,
    too_large,
    unsent,
)
from tupelo.config import ClientConfig
from tupelo.errors import Overloaded, RequestError, ResultCode, TooLarge
from tupelo.retry import CLOSED, DEADLINE, NOT_SENT, Failure, RetryBudget, no_primary
from tupelo.session import Sessions
from tupelo.v1.data_pb2 import BatchResult, OpBatch

_done: Final = asyncio.Future.done
_running_loop: Final = asyncio.get_running_loop

Waiter = asyncio.Future[Outcome | Failure]


class RowsPart:
    """The calls of one frame that travel under one session."""

    __slots__ = ("_packed", "deadline")

    def __init__(self, packed: Packed) -> None:
        self._packed = packed
        self.deadline = packed.deadline

    @property
    def batches(self) -> Sequence[OpBatch]:
        return (self._packed.batch,)

    @property
    def partitions(self) -> list[int]:
        return [row[2] for row in self._packed.rows if not row[0].done()]

    def settle(self, results: Sequence[BatchResult]) -> None:
        for waiter, outcome in outcomes(self._packed, results[0]):
            if not waiter.done():
                waiter.set_result(outcome)
            elif outcome.__class__ is Failure:
                _abandon(outcome)

    def fail(self, error: Exception, *, sent: bool) -> None:
        code: int = ResultCode.OUTCOME_UNKNOWN if sent else NOT_SENT
        indexes: Sequence[int] = range(len(self._packed.rows))
        if isinstance(error, TooLarge):
            # Of the answer perhaps, not of the request: then writes were carried out, and are
            # repeated under their tokens. Reads would only be too large again.
            numbers = self._packed.numbers or [0] * len(indexes)
            reads = [index for index in indexes if not numbers[index]]
            indexes = [index for index in indexes if numbers[index]]
            self._end(reads, ResultCode.VALUE_TOO_LARGE, str(error), maybe=False)
        self._end(indexes, code, str(error), maybe=sent)

    def expire(self, now: float) -> None:
        if now < self._packed.earliest:
            return
        late = [index for index, row in enumerate(self._packed.rows) if row[8] <= now]
        if late:
            self._end(late, DEADLINE, "no answer came in time", maybe=True)

    def _end(self, indexes: Sequence[int], code: int, message: str, *, maybe: bool) -> None:
        for index in indexes:
            waiter = self._packed.waiters[index]
            failure = self._packed.failure(index, code, message, maybe=maybe)
            if not waiter.done():
                waiter.set_result(failure)
            elif code != DEADLINE:
                _abandon(failure)


def _abandon(failure: Failure) -> None:
    """Nobody waits for the operation any more, so its number does not hold up the others."""
    if failure.session is not None and failure.number:
        failure.session.answered(failure.number, failure.number + 1)


class Nowhere:
    """The lane to partitions that have no primary: at the moment, or because they are `lost`."""

    address = ""

    def __init__(self, lost: bool = False) -> None:
        self.lost = lost

    def submit(self, kind: int, partition: int, *_: object) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        waiter.set_result(no_primary(partition, self.lost))
        return waiter

    def begin(
        self, batches: Sequence[OpBatch], timeout_s: float, size_bytes: int | None = None
    ) -> asyncio.Future[list[BatchResult]]:
        first = batches[0]
        partition = (first.partitions or first.bulk.partitions)[0]
        raise no_primary(partition, self.lost).error()


class UnitLane(UnitConnection):
    """A connection whose frames take up rows beside parcels.

    Args:
        sessions: of the client, shared by its lanes.
        budget: is credited with every operation sent for the first time.

    `belongs(partition)` is set by its owner: whether operations of the partition go here.
    """

    def __init__(
        self,
        address: str,
        config: ClientConfig,
        routes: RouteKeeper,
        sessions: Sessions,
        budget: RetryBudget,
        guard: Guard,
    ) -> None:
        self._rows: list[Row] = []
        self._again: list[Row] = []
        self._sessions = sessions
        self._budget = budget
        self._guard = guard
        self._bytes_max = operation_bytes_max(config)
        self.belongs: Callable[[int], bool] = lambda partition: True
        super().__init__(address, config, routes)

    def submit(
        self,
        kind: int,
        partition: int,
        target: str,
        key: bytes,
        value: bytes,
        ttl_ms: int,
        expected: int,
        deadline: float,
        strict: bool = False,
        token: Token | None = None,
    ) -> Waiter:
        """Queues one operation. The future's result is an Outcome, or a Failure; it never raises.

        Raises Overloaded when queue_ops_max operations wait already.
        """
        waiter: Waiter = self._loop.create_future()
        if self.closed:
            waiter.set_result(Failure(CLOSED, f"the connection to {self.address} is closed"))
            return waiter
        if len(key) + len(value) > self._bytes_max:
            raise too_large(len(key) + len(value), self._bytes_max)
        rows = self._rows if token is None and not strict else self._again
        if not rows and _running_loop() is not self._loop:
            # The first of a frame is asked, not each: it takes a third of a microsecond.
            raise RequestError(OTHER_LOOP)
        if len(rows) >= self.config.queue_ops_max:
            raise Overloaded(
                f"{len(rows)} calls wait for {self.address}; "
                "make fewer at a time, or raise queue_ops_max"
            )
        rows.append(
            (waiter, kind, partition, target, key, value, ttl_ms, expected, deadline, strict, token)
        )
        if self._idle or self._sweeper is None:
            self.wake()
        return waiter

    def take_back(self) -> list[Row]:
        """Removes and returns the waiting rows whose partition does not belong here any more.

        Called with every newer table: frames that are late already are given up for it at once.
        """
        for frame in [frame for frame in self._flying if frame.late]:
            self._give_up_moved(frame)
        moved: list[Row] = []
        for name in ("_rows", "_again"):
            rows: list[Row] = getattr(self, name)
            if rows:
                setattr(self, name, [row for row in rows if self.belongs(row[2])])
                moved += [row for row in rows if not self.belongs(row[2])]
        return moved

    def push(self, rows: Sequence[Row]) -> None:
        """Takes over rows that waited for another unit."""
        for row in rows:
            (self._rows if row[10] is None and not row[9] else self._again).append(row)
        if rows:
            self.wake()

    def bounce(self, row: Row) -> None:
        """Hands a row that was not sent back to its caller, who may try again."""
        self._finish(row, unsent(row, NOT_SENT, no_primary(row[2]).message))

    # Of UnitConnection.

    def _stalled(self, frame: Frame) -> None:
        """What has moved meanwhile is better asked where it is now."""
        super()._stalled(frame)
        self._give_up_moved(frame)

    def _give_up_moved(self, frame: Frame) -> None:
        rows = [part for part in frame.parts if isinstance(part, RowsPart)]
        if any(not self.belongs(partition) for part in rows for partition in part.partitions):
            self._give_up(frame)

    def _waiting(self) -> bool:
        return bool(self._rows or self._parcels or self._again)

    def _take(self, now: float, in_frame: int = 0) -> list[Part]:
        parts: list[Part] = []
        table = self.routes.table
        if self._again:
            again, _, self._again, in_frame = self._limited(self._again, in_frame)
            with self._guard:
                packed = pack_again(again, self._sessions, table, now)
            parts += [RowsPart(one) for one in packed]
        if self._rows:
            rows, columns, self._rows, in_frame = self._limited(self._rows, in_frame)
            if rows:
                with self._guard:
                    self._budget.deposit(len(rows))
                    parts.append(RowsPart(pack_new(rows, columns, self._sessions, table, now)))
        if self._parcels:
            parts += super()._take(now, in_frame)
        return parts

    def _limited(self, rows: list[Row], in_frame: int) -> tuple[list[Row], Columns, list[Row], int]:
        """The rows of the next frame, their columns, the rows left, and the frame's bytes."""
        config = self.config
        columns = columns_of(rows)
        if any(map(_done, columns[0])):
            # Their callers have gone away, so they need not be sent.
            rows = [row for row in rows if not row[0].done()]
            columns = columns_of(rows)
            if not rows:
                return rows, columns, rows, in_frame
        total = in_frame + size_bytes(columns)
        if len(rows) <= config.frame_ops_max and total <= config.frame_bytes_max:
            return rows, columns, [], total
        for place, row in enumerate(rows):
            row_bytes = len(row[4]) + len(row[5])
            over = in_frame + row_bytes > config.frame_bytes_max
            if place == config.frame_ops_max or (in_frame and over):
                taken = rows[:place]
                return taken, columns_of(taken), rows[place:], in_frame
            in_frame += row_bytes
        return rows, columns, [], in_frame

    def _drop_waiting(self, error: Exception) -> None:
        super()._drop_waiting(error)
        dropped, self._rows, self._again = self._rows + self._again, [], []
        for row in dropped:
            self._finish(row, unsent(row, CLOSED, str(error)))

    def _expire_waiting(self, now: float) -> None:
        super()._expire_waiting(now)
        for name in ("_rows", "_again"):
            rows: list[Row] = getattr(self, name)
            if rows and min([row[8] for row in rows]) <= now:
                setattr(self, name, [row for row in rows if row[8] > now])
                for row in rows:
                    if row[8] <= now:
                        self._finish(row, late(row))

    def _finish(self, row: Row, failure: Failure) -> None:
        waiter: Waiter = row[0]
        if not waiter.done():
            waiter.set_result(failure)
