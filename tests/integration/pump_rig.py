"""A pump, the writer and a SQLite file over either transport: what the tests of both share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import msgspec
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2_grpc
from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.messaging.nats_pump import NatsPump
from tupelo_grid.messaging.nats_writer import NatsWriter
from tupelo_grid.messaging.pump import DataPump
from tupelo_grid.messaging.writer import SERVICE, DataWriter
from tupelo_grid.runtime.servers import open_server
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import Outcome, StoreAway
from tupelo_grid.store.sql import SqlStore

from tests.unit.pump_source import FakeSource

GRID = b"g" * 16
SCHEMAS = {"s": SpaceSchema("s")}


class WallClock:
    def now(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Flaky:
    """A store that is away while told so; `attempts` counts the transactions tried."""

    def __init__(self, inner: SqlStore) -> None:
        self._inner = inner
        self.away = ""
        self.attempts = 0
        self.transactions: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    name = property(lambda self: self._inner.name)
    concurrency = property(lambda self: self._inner.concurrency)

    async def open(self) -> None:
        self._check()
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def dead_letter_count(self) -> int:
        return await self._inner.dead_letter_count()

    async def claim(self, epochs: Mapping[int, int]) -> dict[int, Outcome]:
        self._check()
        return await self._inner.claim(epochs)

    async def apply(
        self, batches: Sequence[PartitionBatch], schemas: Mapping[str, SpaceSchema]
    ) -> list[Outcome]:
        self._check()
        self.transactions.append(len(batches))
        await self.gate.wait()
        return await self._inner.apply(batches, schemas)

    def _check(self) -> None:
        self.attempts += 1
        if self.away:
            raise StoreAway(self.away)


def settings(folder: Path, **more: object) -> GridConfig:
    """Short waits."""
    config = GridConfig(
        data_dir=str(folder),
        pump_batch_s=0.02,
        store_retry_s_min=0.01,
        store_retry_s_max=0.05,
        pump_retry_s_max=0.05,
        nats_heartbeat_s=0.05,
        nats_writer_s=0.3,
        nats_retry_s_max=0.2,
        nats_answer_s=0.3,
    )
    return msgspec.structs.replace(config, **more)


@asynccontextmanager
async def serving(
    config: GridConfig, store: object, port: int = 0, **more: object
) -> AsyncIterator[tuple[DataWriter, int]]:
    arguments: dict[str, object] = {"schemas": SCHEMAS, "grid_id": GRID, **more}
    async with DataWriter(config, store, **arguments) as writer:  # type: ignore[arg-type]

        def register(server: grpc.aio.Server) -> None:
            pump_pb2_grpc.add_DataWriterServicer_to_server(writer, server)

        async with AsyncExitStack() as stack:
            if config.pump_transport == "nats":
                grid_id = arguments["grid_id"]
                assert isinstance(grid_id, bytes)
                await stack.enter_async_context(NatsWriter(config, writer, grid_id, "messaging"))
            else:
                _, port = await stack.enter_async_context(
                    open_server(
                        config, "127.0.0.1", port, "messaging", [SERVICE], register, grace_s=0
                    )
                )
            yield writer, port


def pump_to(
    config: GridConfig,
    port: int,
    source: FakeSource,
    schemas: Mapping[str, SpaceSchema] = SCHEMAS,
    name: str = "unit-1#1",
    grid_id: bytes = GRID,
) -> DataPump:
    if config.pump_transport == "nats":
        return NatsPump(config, source, name, grid_id, WallClock(), schemas)
    address = f"127.0.0.1:{port}"
    return DataPump(config, source, name, grid_id, WallClock(), schemas, address)


async def until(pump: DataPump, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await pump.changed()


async def stored(folder: Path) -> dict[bytes, tuple[bytes, int]]:
    store = make_store(GridConfig(data_dir=str(folder)))
    found = {row[0]: (row[1], row[2]) async for row in store.read_rows("s")}
    await store.close()
    return found


def store_of(config: GridConfig) -> SqlStore:
    return make_store(config, GRID.hex())
