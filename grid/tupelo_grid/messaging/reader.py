"""The data reader: gives primaries what the store has of their partitions.

At a cold start each primary asks for all rows of its partitions, for which it claims them first: so
nobody who held them before can write rows behind its back. Later it asks for rows of single keys
(read-through) or of a whole space (refresh), and compares them with its journal, for which the
fences are always read before the rows; see tupelo_grid.core.loads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from tupelo.codec import SpaceCodec, decode_key, partition_of
from tupelo.errors import TupeloError
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2 as pb
from tupelo.v1 import pump_pb2_grpc as pb_grpc

from tupelo_grid.coordinator.port import StoreError as StateStoreError
from tupelo_grid.core.table import MALFORMED
from tupelo_grid.store.port import KeyRows, Row, Status, Store, StoreError

log = logging.getLogger(__name__)

SERVICE: Final = "tupelo.v1.DataReader"
CHUNK_ROWS: Final = 1000
CHUNK_BYTES: Final = 1024 * 1024
EMPTY: Final = (
    "the store knows no partition of this grid, whose entries are to be loaded from it: was it "
    "replaced, or is store_url another one? Bring back the store that the grid was shut down with; "
    "to begin without its entries, use another data_dir"
)
SIGN_S: Final = 5.0
"""A load that waits for its turn sends an empty chunk so often."""
READ_KEYS_MAX: Final = 4096
"""Of one ReadRows."""

Context = grpc.aio.ServicerContext[Any, Any]
OnTheirWay = Callable[[frozenset[int]], Awaitable[str]]


class DataReader(pb_grpc.DataReaderServicer):
    """Serves Load and ReadRows.

    Args:
        schemas: the declared spaces; those that are persisted are read.
        partitions: of the grid; a row's partition follows from its key.
        loads_max: calls of Load that read at the same time; the others wait their turn.
        on_their_way: says why the store does not have all yet that was sent to it; "": it has.
        newest: brings `schemas` up to date before a load that is a partition's only source: the
            rows of a space that was declared a moment ago would be left out for good.
    """

    def __init__(
        self,
        store: Store,
        schemas: Callable[[], Mapping[str, SpaceSchema]],
        partitions: Callable[[], int],
        grid_id: bytes,
        loads_max: int = 1,
        on_their_way: OnTheirWay | None = None,
        newest: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._on_their_way = on_their_way
        self._newest = newest
        self._store = store
        self._schemas = schemas
        self._partitions = partitions
        self._grid_id = grid_id
        self._loads = asyncio.Semaphore(max(1, loads_max))

    async def Load(self, request: pb.LoadRequest, context: Context) -> None:
        """UNAVAILABLE while the store is away or behind, ABORTED where a later primary has claimed
        a partition, FAILED_PRECONDITION for another grid."""
        await self._check_grid(request.grid_id, context)
        wanted = dict(zip(request.partitions, request.epochs, strict=False))
        if request.epochs and len(wanted) < len(request.partitions):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not one epoch a partition")
        if request.epochs and self._newest is not None:
            try:
                await self._newest()
            except StateStoreError as error:
                text = f"the declared spaces cannot be read: {error}"
                await context.abort(grpc.StatusCode.UNAVAILABLE, text)
        schemas = await self._stored_spaces(request.space, context)
        await self._turn(context)
        try:
            await self._load(frozenset(request.partitions), wanted, schemas, request, context)
        except StoreError as error:
            log.warning("a load waits for the store: %s", error)
            await _away(context, error)
        finally:
            self._loads.release()

    async def _turn(self, context: Context) -> None:
        """Waits for it, and shows now and then that the call is not forgotten."""
        while True:
            try:
                async with asyncio.timeout(SIGN_S):
                    await self._loads.acquire()
            except TimeoutError:
                await context.write(pb.LoadChunk())
            else:
                return

    async def _load(
        self,
        partitions: frozenset[int],
        epochs: Mapping[int, int],
        schemas: Mapping[str, SpaceSchema],
        request: pb.LoadRequest,
        context: Context,
    ) -> None:
        on_their_way = self._on_their_way if epochs else None
        if on_their_way is not None and (reason := await on_their_way(partitions)):
            await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
        await context.write(await self._fences(partitions, epochs, context))
        if request.space:
            await self._store.find_space(schemas[request.space])
            dead = await self._store.dead_keys(request.space)
            await context.write(pb.LoadChunk(space=request.space, dead_keys=sorted(dead)))
        for name, schema in sorted(schemas.items()):
            async for chunk in self._chunks(name, schema, partitions):
                await context.write(chunk)

    async def ReadRows(self, request: pb.ReadRowsRequest, context: Context) -> pb.ReadRowsResponse:
        """UNAVAILABLE while the store is away, INVALID_ARGUMENT for a space that is not stored."""
        await self._check_grid(request.grid_id, context)
        if not len(request.partitions) == len(request.keys) <= READ_KEYS_MAX:
            text = f"one partition a key, and at most {READ_KEYS_MAX} keys"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        if not request.space:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no space is named")
        schemas = await self._stored_spaces(request.space, context)
        keys = list(request.keys)
        try:
            found = await self._store.read_keys(schemas[request.space], request.partitions, keys)
        except StoreError as error:
            await _away(context, error)
        return _response(found, keys)

    async def _check_grid(self, grid_id: bytes, context: Context) -> None:
        if grid_id != self._grid_id:
            message = "the unit belongs to another grid: check its messaging address"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)

    async def _stored_spaces(self, space: str, context: Context) -> dict[str, SpaceSchema]:
        """All, or the one that is named."""
        schemas = {name: one for name, one in self._schemas().items() if one.persist}
        if not space:
            return schemas
        if space not in schemas:
            text = f"space {space!r} is not declared, or not stored"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        return {space: schemas[space]}

    async def _fences(
        self, wanted: frozenset[int], epochs: Mapping[int, int], context: Context
    ) -> pb.LoadChunk:
        """What the fence rows said; where partitions are claimed, who wrote them last before."""
        fences = await self._store.cursors()
        if epochs:
            if not fences:
                # A primary that is ready claims its partition, so this is not the store of before.
                await context.abort(grpc.StatusCode.UNAVAILABLE, EMPTY)
            for number, claimed in (await self._store.claim(epochs)).items():
                if claimed.status is not Status.CLAIMED:
                    text = f"partition {number} has a later primary, of epoch {claimed.epoch}"
                    await context.abort(grpc.StatusCode.ABORTED, text)
                before = fences.get(number)
                if before is None or before[1] != claimed.cursor:
                    # Somebody wrote in between: who that was is not known any more. An epoch that
                    # no record has makes replicas that have such records take a snapshot.
                    fences[number] = (claimed.epoch, claimed.cursor)
        chunk = pb.LoadChunk()
        for partition, (epoch, cursor) in sorted(fences.items()):
            if partition in wanted:
                chunk.fence_partitions.append(partition)
                chunk.fence_epochs.append(epoch)
                chunk.fence_cursors.append(cursor)
        return chunk

    async def _chunks(
        self, name: str, schema: SpaceSchema, wanted: frozenset[int]
    ) -> AsyncIterator[pb.LoadChunk]:
        route_of, partitions = SpaceCodec(schema).route_of_key, self._partitions()
        rows: list[tuple[int, Row]] = []
        size = 0
        async for page in self._store.read_pages(name, wanted):
            for row in page:
                key = row[0]
                try:
                    decoded = decode_key(key)
                    route = key if route_of is None else route_of(decoded)
                    partition = partition_of(route, partitions)
                except (*MALFORMED, TupeloError) as error:
                    log.error("a row of %s has a key that is none and is left out: %s", name, error)
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


def _response(found: KeyRows, keys: list[bytes]) -> pb.ReadRowsResponse:
    response = pb.ReadRowsResponse()
    for partition, (epoch, cursor) in sorted(found.fences.items()):
        response.fence_partitions.append(partition)
        response.fence_epochs.append(epoch)
        response.fence_cursors.append(cursor)
    for index, key in enumerate(keys):
        row = found.rows.get(key)
        if row is not None:
            response.found.append(index)
            response.values.append(row[1])
            response.versions.append(row[2])
            response.deadlines_ms.append(row[3])
        if key in found.dead:
            response.dead.append(index)
    return response


async def _away(context: Context, error: StoreError) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    raise AssertionError("abort raises")
