"""The router: one address for the whole grid.

It has the same Space service as a unit and keeps no data: each batch is split by the owners of its
partitions, forwarded under the client's own session and numbers on the SDK's connections, and its
results are put together again. What a move or a fail-over interrupts is tried again within the
caller's deadline, which is safe because a retry carries the same token.

    router = Router(config, keeper)
    add_SpaceServicer_to_server(router.service, server)
    ...
    router.drain(); await server.stop(grace); await router.close()
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final

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
from tupelo.retry import backoff_s
from tupelo.routing import RouteTable
from tupelo.v1.data_pb2 import BatchResult, ErrorDetail, OpBatch, SessionRequest, SessionResponse

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.messaging.router_batch import Columns, Merger, Piece, settled
from tupelo_grid.messaging.router_links import RouterRoutes, UnitConnections
from tupelo_grid.transport.route import RouteCache
from tupelo_grid.transport.session import Answer
from tupelo_grid.transport.status import detail
from tupelo_grid.transport.validate import validate_batch

Sent = asyncio.Future[list[BatchResult]]

_NO_GRID: Final = (
    "the router knows no partition table yet: the control process has not answered it; "
    "try again, and see `tupelo status`"
)


class Router:
    """Carries out batches on the units that own their partitions.

    Args:
        config: router_frames_max and router_bytes_max bound what is held at the same time,
            request_timeout_s is for batches that name no deadline.
        keeper: follows the state store; enter it before, and leave it after.
    """

    def __init__(self, config: GridConfig, keeper: TableKeeper) -> None:
        self._config = config
        self._keeper = keeper
        self.cache = RouteCache(lambda: keeper.state)
        self.routes = RouterRoutes(keeper, self.cache, config)
        self._units = UnitConnections(self.routes)
        self._frames = 0
        self._bytes = 0
        self.closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[SessionResponse]] = set()

    @property
    def frames_held(self) -> int:
        return self._frames

    async def idle(self) -> None:
        """Waits until no frame is held; the caller bounds it."""
        await self._idle.wait()

    async def close(self) -> None:
        """Ends the connections to units; what is still held gets an unknown outcome."""
        self.closing = True
        await self._units.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.routes.close()

    def execute(self, request: SessionRequest) -> Answer:
        """For SessionStreams: the response, or a future of it. Never raises for bad input."""
        size_bytes = request.ByteSize()
        table = self.routes.known
        error = self._overload(table, size_bytes)
        if table is None or error is not None:
            return _refused(request, [error] * len(request.batches))
        errors = [self._fault(batch, table) for batch in request.batches]
        if any(errors):
            if all(errors):
                return _refused(request, errors)
            return self._keep(asyncio.create_task(self._execute_sound(request, errors)))
        self._frames += 1
        self._bytes += size_bytes
        self._idle.clear()
        forwarding = _Forwarding(self, request, table, size_bytes)
        answer = forwarding.start()
        answer.add_done_callback(lambda _: self._release(size_bytes))
        return answer

    def _release(self, size_bytes: int) -> None:
        self._frames -= 1
        self._bytes -= size_bytes
        if not self._frames:
            self._idle.set()

    def _overload(self, table: RouteTable | None, size_bytes: int) -> ErrorDetail | None:
        config = self._config
        if self.closing:
            return detail(ResultCode.SHUTTING_DOWN, "this router is shutting down; use another")
        if table is None:
            return detail(ResultCode.NOT_READY, _NO_GRID)
        if (
            self._frames < config.router_frames_max
            and self._bytes + size_bytes <= config.router_bytes_max
        ):
            return None
        return detail(
            ResultCode.OVERLOADED,
            f"the router holds {self._frames} frames of {self._bytes} bytes; send less at a "
            "time (router_frames_max, router_bytes_max)",
        )

    def _fault(self, batch: OpBatch, table: RouteTable) -> ErrorDetail | None:
        if batch.grid_id and batch.grid_id != table.grid_id:
            return detail(
                ResultCode.INVALID_ARGUMENT,
                "this is another grid than the one the client was connected to; connect again",
            )
        return validate_batch(batch, self._config, table.partitions)

    async def _execute_sound(
        self, request: SessionRequest, errors: Sequence[ErrorDetail | None]
    ) -> SessionResponse:
        """The batches of a frame that have no fault, as a frame of their own."""
        sound = [
            batch for batch, error in zip(request.batches, errors, strict=True) if error is None
        ]
        answer = self.execute(SessionRequest(request_id=request.request_id, batches=sound))
        response = await answer if isinstance(answer, asyncio.Future) else answer
        results = iter(response.results)
        joined = [BatchResult(refused=error) if error else next(results) for error in errors]
        route = response.route if response.HasField("route") else None
        return SessionResponse(request_id=request.request_id, results=joined, route=route)

    # What _Forwarding needs.

    @property
    def timeout_s(self) -> float:
        return self._config.request_timeout_s

    def send(self, address: str, batches: Sequence[OpBatch], left_s: float, size: int) -> Sent:
        """Raises Overloaded, ConnectionLost."""
        return self._units.to(address).begin(batches, left_s, size or None)

    def spawn(self, forwarding: _Forwarding) -> asyncio.Task[SessionResponse]:
        return self._keep(asyncio.create_task(forwarding.carry_out()))

    def _keep(self, task: asyncio.Task[SessionResponse]) -> asyncio.Task[SessionResponse]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def pause(self, attempt: int, deadline: float, tried: int) -> None:
        """Before another attempt: full jitter, and a newer table if there is one.

        No pause before the first repetition where a newer table than `tried` has come already.
        """
        if attempt == 0 and self.routes.table.version > tried:
            return
        config = self.routes.config
        await self.routes.refresh()
        delay_s = backoff_s(attempt, config.backoff_base_s, config.backoff_max_s, random.random())
        await asyncio.sleep(max(0.0, min(delay_s, deadline - time.monotonic())))


def _refused(request: SessionRequest, errors: Sequence[ErrorDetail | None]) -> SessionResponse:
    results = [BatchResult(refused=error) for error in errors]
    return SessionResponse(request_id=request.request_id, results=results)


class _Forwarding:
    """One frame on its way through the router."""

    def __init__(
        self, router: Router, request: SessionRequest, table: RouteTable, size_bytes: int
    ) -> None:
        self._router = router
        self._request = request
        self._size_bytes = size_bytes
        self._started = time.monotonic()
        self._stale = any(0 < batch.table_version < table.version for batch in request.batches)
        self._first: list[BatchResult] | None = None
        self._table = table

    def start(self) -> asyncio.Future[SessionResponse]:
        """Without a task, where one unit owns everything and answers everything."""
        address = self._sole_owner()
        if not address:
            return self._router.spawn(self)
        answer: asyncio.Future[SessionResponse] = asyncio.get_running_loop().create_future()
        now = self._started
        for batch in self._request.batches:
            self._readdress(batch, self._table, self._deadline(batch) - now)
        left_s = max(self._deadline(batch) for batch in self._request.batches) - now
        try:
            sent = self._router.send(address, list(self._request.batches), left_s, self._size_bytes)
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
        timeout_s = batch.timeout_ms / 1000 if batch.timeout_ms else self._router.timeout_s
        return self._started + timeout_s

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
        self._first = _results(self._request.batches, error, sent)
        task = self._router.spawn(self)
        task.add_done_callback(lambda done: _pass_on(done, answer))

    def _response(self, results: Sequence[BatchResult]) -> SessionResponse:
        response = SessionResponse(request_id=self._request.request_id, results=results)
        table = self._router.routes.known
        if self._stale and table is not None:
            response.route.CopyFrom(self._router.cache.response())
        return response

    async def carry_out(self) -> SessionResponse:
        """All batches at the same time, each split by owner and repeated under its deadline."""
        batches = self._request.batches
        firsts: Sequence[BatchResult | None] = self._first or [None] * len(batches)
        if len(batches) == 1:
            return self._response([await self._carry_batch(batches[0], firsts[0])])
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._carry_batch(batch, first))
                for batch, first in zip(batches, firsts, strict=True)
            ]
        return self._response([task.result() for task in tasks])

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
        router, attempt, tried = self._router, 0, self._table.version
        while any(left := merger.left()) and not router.closing:
            if attempt or first is not None:
                await router.pause(max(0, attempt - 1), deadline, tried)
            if time.monotonic() >= deadline:
                break
            tried = router.routes.table.version
            await self._attempt(columns, merger, left, deadline)
            attempt += 1
        return merger.result()

    async def _attempt(
        self, columns: Columns, merger: Merger, left: tuple[list[int], list[int]], deadline: float
    ) -> None:
        """Every operation left once, at the same time on all units."""
        table = self._router.routes.table
        waiting: list[tuple[Piece, Sent]] = []
        for address, (ops, groups) in columns.owners(table.addresses, *left).items():
            piece = columns.piece(ops, groups)
            left_s = deadline - time.monotonic()
            self._readdress(piece.batch, table, left_s)
            if not address:
                merger.fail(piece, _no_primary(columns, piece))
                continue
            try:
                waiting.append((piece, self._router.send(address, [piece.batch], left_s, 0)))
            except TupeloError as error:
                merger.fail(piece, _failure(error))
        for piece, sent in waiting:
            try:
                merger.take(piece, (await sent)[0])
            except TupeloError as error:
                # It may be the answer that was too large for us, not the request.
                merger.fail(piece, _failure(error), maybe=isinstance(error, TooLarge))


def _pass_on(done: asyncio.Task[SessionResponse], answer: asyncio.Future[SessionResponse]) -> None:
    if answer.done():
        return
    if done.cancelled():
        answer.cancel()
    elif error := done.exception():
        answer.set_exception(error)
    else:
        answer.set_result(done.result())


def _results(
    batches: Sequence[OpBatch], error: BaseException | None, sent: Sent
) -> list[BatchResult]:
    """One a batch; where there is no answer, a refusal that says what is known."""
    if error is None and not sent.cancelled():
        return sent.result()
    if not isinstance(error, TupeloError):
        error = OutcomeUnknown("the connection was closed")
    return [BatchResult(refused=_failure(error)) for _ in batches]


def _failure(error: TupeloError) -> ErrorDetail:
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


def _no_primary(columns: Columns, piece: Piece) -> ErrorDetail:
    partition = (
        columns.partitions[piece.ops[0]] if piece.ops else columns.bulk_partitions[piece.groups[0]]
    )
    return detail(
        ResultCode.NOT_READY,
        f"partition {partition} has no primary right now; see `tupelo status`",
    )
