"""The data reader: gives primaries what the store has of their partitions, at a cold start."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from tupelo.codec import SpaceCodec, decode_key
from tupelo.errors import TupeloError
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2 as pb
from tupelo.v1 import pump_pb2_grpc as pb_grpc

from tupelo_grid.core.table import MALFORMED
from tupelo_grid.store.port import Row, Store, StoreError

log = logging.getLogger(__name__)

SERVICE: Final = "tupelo.v1.DataReader"
CHUNK_ROWS: Final = 1000
CHUNK_BYTES: Final = 1024 * 1024

Context = grpc.aio.ServicerContext[Any, Any]
OnTheirWay = Callable[[frozenset[int]], Awaitable[str]]


class DataReader(pb_grpc.DataReaderServicer):
    """Serves Load.

    Args:
        schemas: the declared spaces; those that are persisted are read.
        partitions: of the grid; a row's partition follows from its key.
        on_their_way: says why the store does not have all yet that was sent to it; "": it has.
    """

    def __init__(
        self,
        store: Store,
        schemas: Callable[[], Mapping[str, SpaceSchema]],
        partitions: Callable[[], int],
        grid_id: bytes,
        on_their_way: OnTheirWay | None = None,
    ) -> None:
        self._on_their_way = on_their_way
        self._store = store
        self._schemas = schemas
        self._partitions = partitions
        self._grid_id = grid_id

    async def Load(self, request: pb.LoadRequest, context: Context) -> None:
        """UNAVAILABLE while the store is away or behind, FAILED_PRECONDITION for another grid."""
        if request.grid_id != self._grid_id:
            message = "the unit belongs to another grid: check its messaging address"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
        wanted = frozenset(request.partitions)
        if self._on_their_way is not None and (reason := await self._on_their_way(wanted)):
            await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
        try:
            await context.write(await self._fences(wanted))
            for name, schema in sorted(self._schemas().items()):
                if schema.persist:
                    async for chunk in self._chunks(name, schema, wanted):
                        await context.write(chunk)
        except StoreError as error:
            log.warning("a cold start waits for the store: %s", error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _fences(self, wanted: frozenset[int]) -> pb.LoadChunk:
        chunk = pb.LoadChunk()
        for partition, (epoch, cursor) in sorted((await self._store.cursors()).items()):
            if partition in wanted:
                chunk.fence_partitions.append(partition)
                chunk.fence_epochs.append(epoch)
                chunk.fence_cursors.append(cursor)
        return chunk

    async def _chunks(
        self, name: str, schema: SpaceSchema, wanted: frozenset[int]
    ) -> AsyncIterator[pb.LoadChunk]:
        codec, partitions = SpaceCodec(schema), self._partitions()
        rows: list[tuple[int, Row]] = []
        size = 0
        async for row in self._store.read_rows(name):
            try:
                partition = codec.locate(decode_key(row[0]), partitions)[1]
            except (*MALFORMED, TupeloError) as error:
                log.error("a row of %s has a key that is none, it is left out: %s", name, error)
                continue
            if partition in wanted:
                rows.append((partition, row))
                size += len(row[0]) + len(row[1])
                if len(rows) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                    yield _chunk(name, rows)
                    rows, size = [], 0
        if rows:
            yield _chunk(name, rows)


def _chunk(space: str, rows: list[tuple[int, Row]]) -> pb.LoadChunk:
    return pb.LoadChunk(
        space=space,
        partitions=[partition for partition, _ in rows],
        keys=[row[0] for _, row in rows],
        values=[row[1] for _, row in rows],
        versions=[row[2] for _, row in rows],
        deadlines_ms=[row[3] for _, row in rows],
    )
