"""The Space service of a processing unit."""

from __future__ import annotations

from typing import Any

import grpc.aio
from tupelo.v1.data_pb2 import RouteRequest, RouteResponse, SessionRequest, SessionResponse

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.runtime.shell import UnitShell
from tupelo_grid.transport.near import NearStreams
from tupelo_grid.transport.route import RouteCache
from tupelo_grid.transport.rows import RowServicer, one_by_one
from tupelo_grid.transport.rows_through import WaitPersisted
from tupelo_grid.transport.session import SessionStreams

Context = grpc.aio.ServicerContext[Any, Any]


class UnitSpaceServicer(RowServicer):
    """Columnar batches on streams or one by one, the table, and the row forms."""

    def __init__(
        self,
        shell: UnitShell,
        config: GridConfig,
        keeper: TableKeeper,
        routes: RouteCache,
        wait_persisted: WaitPersisted,
        near: NearStreams,
    ) -> None:
        super().__init__(config, one_by_one(shell.execute), lambda: keeper.state, wait_persisted)
        self._shell = shell
        self._routes = routes
        self._near = near
        self._streams = SessionStreams(shell.execute, config.session_frames_max)

    def drain(self) -> None:
        """Reads no more frames; what was read is answered."""
        self._streams.drain()
        self._near.close()

    async def Session(self, request_iterator: object, context: Context) -> None:
        await self._streams.serve(context)

    async def Near(self, request_iterator: object, context: Context) -> None:
        await self._near.serve(context)

    async def Execute(self, request: SessionRequest, context: Context) -> SessionResponse:
        answer = self._shell.execute(request)
        return answer if isinstance(answer, SessionResponse) else await answer

    async def Route(self, request: RouteRequest, context: Context) -> RouteResponse:
        return self._routes.answer(request)
