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

from tupelo.errors import Overloaded, ResultCode, TupeloError
from tupelo.retry import MOVING_GROWTH, backoff_s
from tupelo.routing import RouteTable
from tupelo.v1.data_pb2 import BatchResult, ErrorDetail, OpBatch, SessionRequest, SessionResponse

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.messaging.router_forward import Forwarding, Sent, failure_of
from tupelo_grid.messaging.router_limits import Admission
from tupelo_grid.messaging.router_links import RouterRoutes, UnitConnections
from tupelo_grid.runtime.clock import MachineClock
from tupelo_grid.transport.route import RouteCache
from tupelo_grid.transport.session import Answer
from tupelo_grid.transport.status import detail
from tupelo_grid.transport.validate import validate_batch

_NO_GRID: Final = (
    "the router knows no partition table yet: the control process has not answered it; "
    "try again, and see `tupelo status`"
)


class Router:
    """Carries out batches on the units that own their partitions.

    Args:
        config: the router_* settings bound what is held at the same time, request_timeout_s is for
            batches that name no deadline.
        keeper: follows the state store; enter it before, and leave it after.
    """

    def __init__(self, config: GridConfig, keeper: TableKeeper) -> None:
        self._config = config
        self._keeper = keeper
        self.cache = RouteCache(lambda: keeper.state, MachineClock().wall_ms)
        self.routes = RouterRoutes(keeper, self.cache, config)
        self._units = UnitConnections(self.routes)
        self.admission = Admission(config)
        self.closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[SessionResponse]] = set()

    @property
    def frames_held(self) -> int:
        return self.admission.all.frames

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

    def execute(
        self, request: SessionRequest, client: str = "", timeout_s: float | None = None
    ) -> Answer:
        """For SessionStreams: the response, or a future of it. Never raises for bad input.

        Args:
            client: whose limits count; its connection.
            timeout_s: what is left of the call's own deadline, where it has one; that of a batch
                may be sooner.
        """
        table = self.routes.known
        if table is None or self.closing:
            return _refused(request, [self._away()] * len(request.batches))
        errors = [self._fault(batch, table) for batch in request.batches]
        if any(errors):
            if all(errors):
                return _refused(request, errors)
            return self.keep(
                asyncio.create_task(self._execute_sound(request, errors, client, timeout_s))
            )
        size_bytes = request.ByteSize()
        try:
            self.admission.enter(client, size_bytes)
        except Overloaded as error:
            return _refused(request, [failure_of(error)] * len(request.batches))
        self._idle.clear()
        limit_s = self._config.request_timeout_s_max
        limit_s = limit_s if timeout_s is None else min(timeout_s, limit_s)
        answer = Forwarding(self, request, table, size_bytes, limit_s).start()
        answer.add_done_callback(lambda _: self._release(client, size_bytes))
        return answer

    def _release(self, client: str, size_bytes: int) -> None:
        self.admission.leave(client, size_bytes)
        if not self.frames_held:
            self._idle.set()

    def _away(self) -> ErrorDetail:
        if self.closing:
            return detail(ResultCode.SHUTTING_DOWN, "this router is shutting down; use another")
        return detail(ResultCode.NOT_READY, _NO_GRID)

    def _fault(self, batch: OpBatch, table: RouteTable) -> ErrorDetail | None:
        if batch.grid_id and batch.grid_id != table.grid_id:
            return detail(
                ResultCode.INVALID_ARGUMENT,
                "this is another grid than the one the client was connected to; connect again",
            )
        return validate_batch(batch, self._config, table.partitions)

    async def _execute_sound(
        self,
        request: SessionRequest,
        errors: Sequence[ErrorDetail | None],
        client: str,
        timeout_s: float | None,
    ) -> SessionResponse:
        """The batches of a frame that have no fault, as a frame of their own."""
        sound = [
            batch for batch, error in zip(request.batches, errors, strict=True) if error is None
        ]
        part = SessionRequest(request_id=request.request_id, batches=sound)
        answer = self.execute(part, client, timeout_s)
        response = await answer if isinstance(answer, asyncio.Future) else answer
        results = iter(response.results)
        joined = [BatchResult(refused=error) if error else next(results) for error in errors]
        route = response.route if response.HasField("route") else None
        return SessionResponse(request_id=request.request_id, results=joined, route=route)

    # What a Forwarding needs.

    @property
    def timeout_s(self) -> float:
        return self._config.request_timeout_s

    @property
    def message_bytes_max(self) -> int:
        return self._config.message_bytes_max

    def send(self, address: str, batches: Sequence[OpBatch], left_s: float, size: int) -> Sent:
        """Raises Overloaded, ConnectionLost."""
        self.admission.send(address, size)
        try:
            sent = self._units.to(address).begin(batches, left_s, size)
        except TupeloError:
            self.admission.sent(address, size)
            raise
        sent.add_done_callback(lambda done: self._sent(done, address, size))
        return sent

    def _sent(self, done: Sent, address: str, size: int) -> None:
        self.admission.sent(address, size)
        if not done.cancelled():
            # Whoever waited may have gone away; then nobody else looks at it.
            done.exception()

    def keep(self, task: asyncio.Task[SessionResponse]) -> asyncio.Task[SessionResponse]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def pause(self, attempt: int, deadline: float, tried: int) -> None:
        """Full jitter, and a newer table if there is one.

        No pause before the first repetition where a newer table than `tried` has come already.
        """
        if attempt == 0 and self.routes.table.version > tried:
            return
        config = self.routes.config
        await self.routes.refresh()
        longest = config.backoff_base_s, config.backoff_max_s
        delay_s = backoff_s(attempt, *longest, random.random(), MOVING_GROWTH)
        await asyncio.sleep(max(0.0, min(delay_s, deadline - time.monotonic())))


def _refused(request: SessionRequest, errors: Sequence[ErrorDetail | None]) -> SessionResponse:
    results = [BatchResult(refused=error) for error in errors]
    return SessionResponse(request_id=request.request_id, results=results)
