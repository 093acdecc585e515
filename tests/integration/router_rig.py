"""A router in front of the SDK's fake grid: real gRPC on both sides, a state store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import grpc.aio
import msgspec
from tupelo.codec import encode_key, partition_of
from tupelo.v1.data_pb2 import OpBatch, SessionRequest
from tupelo.v1.data_pb2_grpc import SpaceStub, add_SpaceServicer_to_server
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.core.table import (
    FENCED,
    GridInfo,
    Lease,
    PartitionConfig,
    command_key,
    encode,
    lease_key,
    part_key,
    space_key,
)
from tupelo_grid.messaging.router import Router
from tupelo_grid.messaging.router_service import RouterServicer
from tupelo_grid.runtime.servers import open_server

from tests.fake_grid import FakeGrid
from tests.memory_store import MemoryStateStore

SERVICE = "tupelo.v1.Space"
pack = msgspec.msgpack.encode


class Rig:
    """Attributes: grid (the fake units), store (what the router follows), stub, channel, router."""

    def __init__(self, grid: FakeGrid, config: GridConfig) -> None:
        self.grid = grid
        self.config = config
        self.store = MemoryStateStore(config)
        self.keeper = TableKeeper(self.store, config)
        self.commands: dict[str, bytes] = {}
        self.number = 0

    async def publish(self, fenced: str = "") -> None:
        """Brings the state store in line with the fake grid."""
        grid = self.grid
        puts = {"grid": encode(GridInfo(grid.grid_id.hex(), grid.partitions))}
        for unit in grid.units:
            nonce = FENCED if unit.name == fenced else "n"
            puts[lease_key(f"{unit.name}#1")] = encode(Lease(unit.name, unit.address, "", nonce))
        puts |= {space_key(name): schema for name, schema in grid.spaces.items()}
        puts |= {command_key(name): info for name, info in self.commands.items()}
        for number, owner in enumerate(grid.owners):
            name = f"{owner.name}#1" if owner else ""
            config = PartitionConfig(grid.epoch, name, (name,) if name else ())
            puts[part_key(number)] = encode(config)
        for key, value in puts.items():
            known = self.store.state.entries.get(key)
            if known is None or known.value != value:
                assert (await self.store.txn([], {key: value})).succeeded
        # Versions on the wire are those of the state store, whoever tells them.
        grid.version = self.table_version

    @property
    def table_version(self) -> int:
        entries = self.store.state.entries.items()
        return max(entry.revision for key, entry in entries if key.startswith("part/"))

    def batch(self, kinds: bytes, keys: list[Any], values: list[Any] | None = None) -> OpBatch:
        """Operations on the default space under one session; reads get no numbers."""
        packed = [encode_key(key) for key in keys]
        writes = any(kind >= 3 for kind in kinds)
        numbers = range(self.number + 1, self.number + 1 + len(keys)) if writes else ()
        self.number += len(numbers)
        return OpBatch(
            session=1 << 40,
            acked_below=1,
            targets=["default"],
            kinds=kinds,
            partitions=[partition_of(key, self.grid.partitions) for key in packed],
            keys=packed,
            values=[pack(value) for value in values] if values else (),
            op_numbers=numbers,
            timeout_ms=5000,
        )

    async def execute(self, *batches: OpBatch) -> Any:
        request = SessionRequest(request_id=7, batches=batches)
        return await self.stub.Execute(request, timeout=10)

    async def start(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.keeper)
        self.router = Router(self.config, self.keeper)
        stack.push_async_callback(self.router.close)
        self.service = RouterServicer(self.config, self.router, self.keeper)

        def register(server: grpc.aio.Server) -> None:
            add_SpaceServicer_to_server(self.service, server)

        _, port = await stack.enter_async_context(
            open_server(self.config, "127.0.0.1", 0, "router", [SERVICE], register)
        )
        self.address = f"127.0.0.1:{port}"
        self.channel = await stack.enter_async_context(grpc.aio.insecure_channel(self.address))
        self.stub = SpaceStub(self.channel)


@asynccontextmanager
async def running(
    config: GridConfig | None = None, units: int = 3, partitions: int = 16, known: bool = True
) -> AsyncIterator[Rig]:
    """`known`: the router has the table before the test begins."""
    async with AsyncExitStack() as stack:
        grid = await stack.enter_async_context(FakeGrid(units=units, partitions=partitions))
        rig = Rig(grid, config or GridConfig())
        if known:
            await rig.publish()
        await rig.start(stack)
        if known:
            await rig.keeper.wait_for(lambda state: len(state.table.parts) == partitions)
        yield rig


class Gate(asyncio.Event):
    """A closed gate that tells who stands before it."""

    def __init__(self, arrived: asyncio.Semaphore) -> None:
        super().__init__()
        self.arrived = arrived

    async def wait(self) -> Literal[True]:
        self.arrived.release()
        return await super().wait()

    @classmethod
    def close_all(cls, rig: Rig) -> asyncio.Semaphore:
        """Holds every request at the units; each that comes releases the semaphore."""
        arrived = asyncio.Semaphore(0)
        for unit in rig.grid.units:
            unit.gate = cls(arrived)
        return arrived
