"""One frame on its way through a router: split, sent, repeated, put together again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Protocol

from tupelo.batch import timeout_ms
from tupelo.errors import (
    ConnectionLost,
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
    ResultCode,
    TooLarge,
    TupeloError,
)
from tupelo.retry import no_primary
from tupelo.routing import RouteTable
from tupelo.v1.data_pb2 import BatchResult, ErrorDetail, OpBatch, SessionRequest, SessionResponse

from tupelo_grid.messaging.router_batch import Columns, Merger, Piece, settled
from tupelo_grid.messaging.router_links import RouterRoutes
from tupelo_grid.transport.answer_room import Room, bound
from tupelo_grid.transport.route import RouteCache
from tupelo_grid.transport.status import detail

Sent = asyncio.Future[list[BatchResult]]

# In place of an address.
NOWHERE: Final = ""
LOST: Final = "lost"


class Way(Protocol):
    """What a frame needs of its router."""

    cache: RouteCache
    routes: RouterRoutes
    closing: bool

    @property
    def timeout_s(self) -> float:
        """For batches that name no deadline."""
        ...

    @property
    def message_bytes_max(self) -> int: ...

    def send(self, address: str, batches: Sequence[OpBatch], left_s: float, size: int) -> Sent:
        """Raises Overloaded, ConnectionLost."""
        ...

    def keep(self, task: asyncio.Task[SessionResponse]) -> asyncio.Task[SessionResponse]:
        """Until it is done."""
        ...

    async def pause(self, attempt: int, deadline: float, tried: int) -> None:
        """Before another attempt; `tried`: the version of the table that the last one went by."""
        ...


class Forwarding:
    """A frame, from its start to its answer.

    Args:
        size_bytes: of the request.
        limit_s: however late the deadlines of its batches are, it ends after so long.
    """

    def __init__(
        self,
        way: Way,
        request: SessionRequest,
        table: RouteTable,
        size_bytes: int,
        limit_s: float,
    ) -> None:
        self._way = way
        self._limit_s = limit_s
        self._request = request
        self._size_bytes = size_bytes
        self._started = time.monotonic()
        self._stale = any(0 < batch.table_version < table.version for batch in request.batches)
        self._first: list[BatchResult] | None = None
        self._table = table
        self._address = ""

    def start(self) -> asyncio.Future[SessionResponse]:
        """Without a task, where one unit owns everything and answers everything."""
        address = self._address = self._sole_owner()
        if not address:
            return self._way.keep(asyncio.create_task(self.carry_out()))
        answer: asyncio.Future[SessionResponse] = asyncio.get_running_loop().create_future()
        now = self._started
        for batch in self._request.batches:
            self._readdress(batch, self._table, self._deadline(batch) - now)
        left_s = max(self._deadline(batch) for batch in self._request.batches) - now
        try:
            sent = self._way.send(address, list(self._request.batches), left_s, self._size_bytes)
        except TupeloError as error:
            sent = asyncio.get_running_loop().create_future()
            sent.set_exception(error)
        sent.add_done_callback(lambda done: self._arrived(done, answer))
        return answer

    def _sole_owner(self) -> str:
        addresses = self._table.addresses
        partitions: set[int] = set()
        for batch in self._request.batches:
            partitions.update(batch.partitions)
            if batch.HasField("bulk"):
                partitions.update(batch.bulk.partitions)
        owners = {addresses[partition] for partition in partitions}
        return owners.pop() if len(owners) == 1 else ""

    def _deadline(self, batch: OpBatch) -> float:
        timeout_s = batch.timeout_ms / 1000 if batch.timeout_ms else self._way.timeout_s
        return self._started + min(timeout_s, self._limit_s)

    @staticmethod
    def _readdress(batch: OpBatch, table: RouteTable, left_s: float) -> None:
        batch.grid_id = table.grid_id
        batch.table_version = table.version
        batch.timeout_ms = timeout_ms(left_s)

    def _arrived(self, sent: Sent, answer: asyncio.Future[SessionResponse]) -> None:
        """The one unit has answered; what it could not do is tried again by a task."""
        if answer.done():
            return
        error = None if sent.cancelled() else sent.exception()
        if (
            error is None
            and not sent.cancelled()
            and all(map(settled, self._request.batches, sent.result()))
        ):
            answer.set_result(self._response(sent.result()))
            return
        if error is None and sent.cancelled():
            error = OutcomeUnknown("the connection was closed")
        self._first = self._results(error, sent)
        task = self._way.keep(asyncio.create_task(self.carry_out()))
        task.add_done_callback(lambda done: _pass_on(done, answer))

    def _response(self, results: Sequence[BatchResult]) -> SessionResponse:
        response = SessionResponse(request_id=self._request.request_id, results=results)
        table = self._way.routes.known
        if self._stale and table is not None:
            response.route.CopyFrom(self._way.cache.response())
        return response

    async def carry_out(self) -> SessionResponse:
        """All batches at the same time, each split by owner and repeated under its deadline."""
        batches = self._request.batches
        firsts: Sequence[BatchResult | None] = self._first or [None] * len(batches)
        if len(batches) == 1:
            return self._merged([await self._carry_batch(batches[0], firsts[0])])
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._carry_batch(batch, first))
                for batch, first in zip(batches, firsts, strict=True)
            ]
        return self._merged([task.result() for task in tasks])

    def _merged(self, results: Sequence[BatchResult]) -> SessionResponse:
        """Each unit's answer fits a message; all of them together need not."""
        room = Room(self._way.message_bytes_max)
        if sum([result.ByteSize() for result in results]) > room.bytes_max:
            bound(results, self._request.batches, room)
        return self._response(results)

    async def _carry_batch(self, batch: OpBatch, first: BatchResult | None) -> BatchResult:
        """`first`: the result of an attempt already made on the whole batch."""
        if first is not None and settled(batch, first):
            return first
        deadline = self._deadline(batch)
        columns = Columns(batch)
        merger = Merger(columns)
        if first is not None:
            whole = columns.piece(range(len(columns.kinds)), range(len(columns.bulk_partitions)))
            merger.take(whole, first)
        way, attempt, tried = self._way, 0, self._table.version
        while any(left := merger.left()) and not way.closing:
            if attempt or first is not None:
                await way.pause(max(0, attempt - 1), deadline, tried)
            if time.monotonic() >= deadline:
                break
            tried = way.routes.table.version
            await self._attempt(columns, merger, left, deadline)
            attempt += 1
        return merger.result()

    async def _attempt(
        self, columns: Columns, merger: Merger, left: tuple[list[int], list[int]], deadline: float
    ) -> None:
        """Every operation left once, at the same time on all units."""
        table = self._way.routes.table
        waiting: list[tuple[Piece, str, Sent]] = []
        for address, (ops, groups) in columns.owners(_places(table), *left).items():
            piece = columns.piece(ops, groups)
            left_s = deadline - time.monotonic()
            self._readdress(piece.batch, table, left_s)
            if address in (NOWHERE, LOST):
                merger.fail(piece, _no_primary(columns, piece, address == LOST))
                continue
            try:
                size_bytes = piece.batch.ByteSize()
                sent = self._way.send(address, [piece.batch], left_s, size_bytes)
                waiting.append((piece, address, sent))
            except TupeloError as error:
                merger.fail(piece, self._failure(error, address))
        for piece, address, sent in waiting:
            try:
                merger.take(piece, (await sent)[0])
            except TupeloError as error:
                # It may be the answer that was too large for us, not the request.
                failure = self._failure(error, address)
                merger.fail(piece, failure, maybe=isinstance(error, TooLarge))

    def _failure(self, error: TupeloError, address: str) -> ErrorDetail:
        """Of an attempt without an answer; it says which unit was asked."""
        failure = failure_of(error)
        unit = self._way.routes.unit_at(address)
        failure.message = f"{unit}: {failure.message}"
        return failure

    def _results(self, error: BaseException | None, sent: Sent) -> list[BatchResult]:
        """One a batch; where there is no answer, a refusal that says what is known."""
        if error is None:
            return sent.result()
        if not isinstance(error, TupeloError):
            error = OutcomeUnknown(f"{type(error).__name__}: {error}")
        failure = self._failure(error, self._address)
        if isinstance(error, TooLarge):
            return [_maybe_done(batch, failure) for batch in self._request.batches]
        return [BatchResult(refused=failure) for _ in self._request.batches]


def _maybe_done(batch: OpBatch, failure: ErrorDetail) -> BatchResult:
    """It may be the answer that was too large for us, not the request."""
    columns = Columns(batch)
    merger = Merger(columns)
    whole = columns.piece(range(len(columns.kinds)), range(len(columns.bulk_partitions)))
    merger.fail(whole, failure, maybe=True)
    return merger.result()


def _pass_on(done: asyncio.Task[SessionResponse], answer: asyncio.Future[SessionResponse]) -> None:
    if answer.done():
        return
    if done.cancelled():
        answer.cancel()
    elif error := done.exception():
        answer.set_exception(error)
    else:
        answer.set_result(done.result())


def failure_of(error: TupeloError) -> ErrorDetail:
    """How an attempt without an answer counts for its operations."""
    if isinstance(error, OutcomeUnknown):
        return detail(ResultCode.OUTCOME_UNKNOWN, error.message)
    if isinstance(error, Overloaded):
        return detail(ResultCode.OVERLOADED, error.message)
    if isinstance(error, ConnectionLost | DeadlineExceeded):
        return detail(ResultCode.NOT_READY, error.message)
    if isinstance(error, TooLarge):
        return detail(ResultCode.VALUE_TOO_LARGE, f"{error.message}; ask for less at a time")
    return detail(ResultCode.OUTCOME_UNKNOWN, error.message)


def _places(table: RouteTable) -> Sequence[str]:
    """The address of each partition's primary, NOWHERE or LOST."""
    if not table.lost:
        return table.addresses
    return [LOST if n in table.lost else address for n, address in enumerate(table.addresses)]


def _no_primary(columns: Columns, piece: Piece, lost: bool) -> ErrorDetail:
    partition = (
        columns.partitions[piece.ops[0]] if piece.ops else columns.bulk_partitions[piece.groups[0]]
    )
    if lost:
        return detail(ResultCode.PARTITION_LOST, no_primary(partition, lost=True).message)
    return detail(
        ResultCode.NOT_READY,
        f"partition {partition} has no primary right now; see `tupelo status`",
    )
