"""The messaging process's life: what it waits for, what it survives, how it stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tupelo.v1 import admin_pb2, admin_pb2_grpc, pump_pb2
from tupelo.v1 import data_pb2 as pb
from tupelo.v1.coordinator_pb2_grpc import add_StateStoreServicer_to_server
from tupelo.v1.data_pb2_grpc import SpaceStub
from tupelo.v1.pump_pb2_grpc import DataWriterStub
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.service import StateStoreServicer
from tupelo_grid.core.table import GridInfo, encode
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.messaging import run_messaging
from tupelo_grid.runtime.servers import make_server, start_server

from tests.fake_grid import FakeGrid, free_port
from tests.integration.router_rig import Gate, Rig, pack

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def free_pair() -> int:
    """A free port whose next one is free too."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue  # taken, or beyond the last port: try another pair
            return port


class Process:
    """run_messaging in a task, its coordinator beside it, both on real ports."""

    def __init__(self, rig: Rig, control: grpc.aio.Server) -> None:
        self.rig = rig
        self.control = control
        self.stop = asyncio.Event()
        self.facts: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            run_messaging(rig.config, "messaging", self.stop, self.facts.set_result)
        )
        self.channel = grpc.aio.insecure_channel(rig.config.messaging_address)
        self.stub: Any = SpaceStub(self.channel)
        self._health: Any = None

    async def said(self, wanted: int) -> None:
        """Waits until the Space service's health is `wanted`."""
        await self.facts
        if self._health is None:
            stub: Any = health_pb2_grpc.HealthStub(self.channel)
            request = health_pb2.HealthCheckRequest(service="tupelo.v1.Space")
            self._health = stub.Watch(request, timeout=30)
        while (await self._health.read()).status != wanted:
            pass

    async def put(self, key: str) -> Any:
        request = pb.PutRequest(space="default", key=pack(key), value=pack(key))
        return await self.stub.Put(request, timeout=5)


async def control_server(rig: Rig) -> grpc.aio.Server:
    server = make_server(rig.config)
    add_StateStoreServicer_to_server(StateStoreServicer(rig.store), server)
    await start_server(
        server, rig.config.host, rig.config.control_port, ["tupelo.v1.StateStore"], "control"
    )
    return server


@asynccontextmanager
async def messaging(tmp_path: Path) -> AsyncIterator[Process]:
    config = GridConfig(
        port=free_pair(),
        data_dir=str(tmp_path),
        keepalive_s=1.0,
        keepalive_timeout_s=1.0,
        rpc_timeout_s=1.0,
        request_timeout_s=2.0,
        stop_timeout_s=2.0,
        router_probe_s=0.2,
        router_unreachable_s=0.5,
    )
    async with AsyncExitStack() as stack:
        grid = await stack.enter_async_context(FakeGrid())
        rig = Rig(grid, config)
        await rig.store.txn([], {"grid": encode(GridInfo(grid.grid_id.hex(), grid.partitions))})
        control = await control_server(rig)
        process = Process(rig, control)
        try:
            yield process
        finally:
            await process.channel.close()
            process.stop.set()
            async with asyncio.timeout(10):
                await process.task
            await process.control.stop(None)


async def test_it_starts_before_units_are_there_and_serves_when_they_come(tmp_path: Path) -> None:
    async with messaging(tmp_path) as process:
        facts = await process.facts
        assert facts == {"address": process.rig.config.messaging_address}
        await process.said(NOT_SERVING)
        waiting = asyncio.create_task(process.put("early"))
        await process.rig.publish()
        assert (await waiting).applied, "a call waits for its partition within its deadline"
        await process.said(SERVING)
        admin: Any = admin_pb2_grpc.AdminStub(process.channel)
        status = await admin.Status(admin_pb2.StatusRequest(), timeout=5)
        assert status.grid_id == process.rig.grid.grid_id.hex()
        assert status.pump.store.startswith("sqlite")


async def test_it_goes_on_with_the_last_table_while_control_is_away(tmp_path: Path) -> None:
    async with messaging(tmp_path) as process:
        await process.rig.publish()
        await process.said(SERVING)
        await process.control.stop(None)
        assert (await process.put("alone")).applied
        # Nothing is known of changes meanwhile; they are seen when control is back.
        process.rig.grid.move(0, None)
        await process.rig.publish()
        process.control = await control_server(process.rig)
        await process.said(NOT_SERVING)


async def test_a_fenced_primary_is_not_healthy(tmp_path: Path) -> None:
    async with messaging(tmp_path) as process:
        await process.rig.publish()
        await process.said(SERVING)
        await process.rig.publish(fenced="unit-1")
        await process.said(NOT_SERVING)
        process.rig.grid.fail_over(process.rig.grid.units[0])
        await process.rig.publish(fenced="unit-1")
        await process.said(SERVING)


async def test_a_unit_that_hangs_is_not_healthy_and_then_is_again(tmp_path: Path) -> None:
    async with messaging(tmp_path) as process:
        await process.rig.publish()
        await process.said(SERVING)
        process.rig.grid.units[1].gate.clear()
        await process.said(NOT_SERVING)
        stub: Any = health_pb2_grpc.HealthStub(process.channel)
        said = {}
        for service in ("", "tupelo.v1.Space", "tupelo.v1.Admin", "tupelo.v1.DataWriter"):
            request = health_pb2.HealthCheckRequest(service=service)
            said[service] = (await stub.Check(request, timeout=5)).status
        assert list(said.values()) == [NOT_SERVING, NOT_SERVING, SERVING, SERVING]
        admin: Any = admin_pb2_grpc.AdminStub(process.channel)
        status = await admin.Status(admin_pb2.StatusRequest(), timeout=5)
        assert [router.state for router in status.routers] == ["not serving"]
        assert any("does not reach all partitions" in warning for warning in status.warnings)
        process.rig.grid.units[1].gate.set()
        await process.said(SERVING)


async def test_a_unit_that_hung_is_replaced_and_health_goes_on(tmp_path: Path) -> None:
    async with messaging(tmp_path) as process:
        rig = process.rig
        await rig.publish()
        await process.said(SERVING)
        for number in range(20):
            await process.put(f"k{number}")
        hanging = rig.grid.units[1]
        hanging.gate.clear()
        await process.said(NOT_SERVING)
        # The connection to it is closed, and with it the question that it has not answered.
        rig.grid.fail_over(hanging)
        await rig.publish(fenced=hanging.name)
        await process.said(SERVING)
        rig.grid.units[0].gate.clear()
        await process.said(NOT_SERVING)
        rig.grid.units[0].gate.set()


async def test_a_stop_answers_what_was_asked_and_takes_no_more(tmp_path: Path) -> None:
    async with messaging(tmp_path) as process:
        await process.rig.publish()
        await process.said(SERVING)
        arrived = Gate.close_all(process.rig)
        pump = DataWriterStub(process.channel).Persist()
        frame = pump_pb2.PumpFrame(
            grid_id=process.rig.grid.grid_id, sender="unit-1#1", position=1,
            claim_partitions=[0], claim_epochs=[1],
        )  # fmt: skip
        await pump.write(frame)
        assert (await pump.read()).statuses == b"\x01"
        stream = process.stub.Session()
        batch = process.rig.batch(b"\x03", ["s"], [1])
        await stream.write(pb.SessionRequest(request_id=1, batches=[batch]))
        row = asyncio.create_task(process.put("row"))
        for _ in range(2):
            await arrived.acquire()
        process.stop.set()
        await process.said(NOT_SERVING)
        with pytest.raises(grpc.aio.AioRpcError):
            await process.put("late")
        for unit in process.rig.grid.units:
            unit.gate.set()
        assert (await row).applied
        assert (await stream.read()).results[0].codes == b"\0"
        assert await stream.read() is grpc.aio.EOF
        async with asyncio.timeout(5):
            await process.task
        assert set(process.rig.grid.entries()) == {pack("s"), pack("row")}


async def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    config = GridConfig(port=free_pair(), data_dir=str(tmp_path), start_timeout_s=0.3)
    with pytest.raises(FatalStartError, match="did not answer"):
        await run_messaging(config, "messaging", asyncio.Event(), lambda facts: None)
    async with messaging(tmp_path / "one") as process:
        await process.facts
        with pytest.raises(FatalStartError, match="another process uses it"):
            await run_messaging(
                process.rig.config, "messaging", asyncio.Event(), lambda facts: None
            )
