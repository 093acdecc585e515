"""The Space service of a router."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from tupelo.v1.data_pb2 import (
    BatchResult,
    OpBatch,
    RouteRequest,
    RouteResponse,
    SessionRequest,
    SessionResponse,
)

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.messaging.router import Router
from tupelo_grid.messaging.router_persisting import RouterPersisting
from tupelo_grid.transport.deadlines import time_left_s
from tupelo_grid.transport.rows import RowServicer
from tupelo_grid.transport.session import SessionStreams

SERVICE = "tupelo.v1.Space"

Context = grpc.aio.ServicerContext[Any, Any]


class RouterServicer(RowServicer):
    """All partitions: batches on streams or one by one, the table, and the row forms."""

    def __init__(self, config: GridConfig, router: Router, keeper: TableKeeper) -> None:
        self._persisting = RouterPersisting(config, lambda: keeper.state)
        super().__init__(config, self._one, lambda: keeper.state, self._persisting.wait)
        self._router = router
        self._streams = SessionStreams(router.execute, config.session_frames_max)

    @property
    def open_streams(self) -> int:
        return self._streams.open_streams

    async def drain(self) -> None:
        """Reads no more frames, answers those that were read, and ends the streams.

        Returns when nothing is under way any more; the caller bounds it.
        """
        self._streams.drain()
        await self._streams.ended()
        await self._router.idle()

    async def close(self) -> None:
        """Ends its own channels to units."""
        await self._persisting.close()

    async def Session(self, request_iterator: object, context: Context) -> None:
        client = context.peer()
        await self._streams.serve(context, lambda request: self._router.execute(request, client))

    async def Execute(self, request: SessionRequest, context: Context) -> SessionResponse:
        answer = self._router.execute(request, context.peer(), time_left_s(context))
        return await answer if isinstance(answer, asyncio.Future) else answer

    async def _one(self, batch: OpBatch, context: Context) -> BatchResult:
        return (await self.Execute(SessionRequest(batches=[batch]), context)).results[0]

    async def Route(self, request: RouteRequest, context: Context) -> RouteResponse:
        return self._router.cache.answer(request)
