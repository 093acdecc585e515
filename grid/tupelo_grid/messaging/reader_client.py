"""The data reader as a unit calls it. One channel for all that the unit reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc.aio
from tupelo.v1 import pump_pb2 as pb
from tupelo.v1 import pump_pb2_grpc as pb_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.core.loads import Fence, Found
from tupelo_grid.runtime.servers import open_channel


class StoreSilent(Exception):
    """The store's entries could not be read; the text says why, for whoever waits for them."""


@dataclass(frozen=True, slots=True)
class KeysFound:
    """`rows`: by key, None where there is none."""

    fences: Mapping[int, Fence]
    rows: Mapping[bytes, Found | None]
    dead: frozenset[bytes]


class ReaderClient:
    """Enter it before use. What it raises is StoreSilent."""

    def __init__(self, config: GridConfig, grid_id: bytes, address: str = "") -> None:
        """`address`: of the messaging process, where it is not the configuration's."""
        self._config = config
        self._grid_id = grid_id
        self._address = address or config.messaging_address

    async def __aenter__(self) -> Self:
        self._channel = open_channel(self._config, self._address)
        self._stub = pb_grpc.DataReaderStub(self._channel)  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close(None)

    async def load(
        self, partitions: Sequence[int], epochs: Sequence[int] = (), space: str = ""
    ) -> AsyncIterator[pb.LoadChunk]:
        """See LoadRequest. Given up when nothing comes for load_timeout_s."""
        request = pb.LoadRequest(
            grid_id=self._grid_id, partitions=partitions, epochs=epochs, space=space
        )
        call = self._stub.Load(request)
        try:
            while isinstance(chunk := await self._next(call), pb.LoadChunk):
                yield chunk
        finally:
            call.cancel()

    async def _next(self, call: Any) -> Any:
        timeout_s = self._config.load_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await call.read()
        except TimeoutError as error:
            raise StoreSilent(f"nothing came from the store for {timeout_s:g} s") from error
        except grpc.aio.AioRpcError as error:
            raise StoreSilent(_words(error)) from error

    async def read(
        self, space: str, places: Sequence[tuple[int, bytes]], timeout_s: float
    ) -> KeysFound:
        """`places`: (partition, key)."""
        request = pb.ReadRowsRequest(
            grid_id=self._grid_id,
            space=space,
            partitions=[partition for partition, _ in places],
            keys=[key for _, key in places],
        )
        try:
            answer: pb.ReadRowsResponse = await self._stub.ReadRows(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise StoreSilent(_words(error)) from error
        rows: dict[bytes, Found | None] = {key: None for _, key in places}
        columns = zip(answer.found, answer.values, answer.deadlines_ms, strict=True)
        for index, value, deadline_ms in columns:
            rows[places[index][1]] = (value, deadline_ms)
        dead = frozenset(places[index][1] for index in answer.dead)
        return KeysFound(fences_of(answer), rows, dead)


def fences_of(message: pb.LoadChunk | pb.ReadRowsResponse) -> dict[int, Fence]:
    columns = zip(
        message.fence_partitions, message.fence_epochs, message.fence_cursors, strict=True
    )
    return {partition: Fence(epoch, cursor) for partition, epoch, cursor in columns}


def _words(error: grpc.aio.AioRpcError) -> str:
    return error.details() or error.code().name
