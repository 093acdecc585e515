"""Loops that begin a stream anew end when they are cancelled, also where the stream, which ended in
the same moment, says only that it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.messaging.pump import DataPump

from tests.unit.test_core_unit import Cluster


class Ending:
    """A stream that hides a cancellation; but once, so that the test ends in any case."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.hidden = 0

    async def read(self, *_: object) -> Any:
        self.reading.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.hidden:
                raise
            self.hidden += 1
            metadata = grpc.aio.Metadata()
            unavailable = grpc.StatusCode.UNAVAILABLE
            raise grpc.aio.AioRpcError(unavailable, metadata, metadata, "it ended") from None

    def cancel(self) -> None:
        """It has ended."""


@pytest.fixture
async def ending() -> AsyncIterator[Ending]:
    stream = Ending()
    yield stream
    assert stream.hidden == 1


async def test_a_watch_of_the_state_store(ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = SimpleNamespace(Watch=lambda *_, **__: ending)
    monkeypatch.setattr(RemoteStateStore, "_stub", lambda store: stub)
    store = RemoteStateStore("127.0.0.1:1", GridConfig())

    async def watch() -> None:
        async for _ in store.watch(""):
            pass

    task = asyncio.create_task(watch())
    async with asyncio.timeout(5.0):
        await ending.reading.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_a_data_pump(ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataPump, "_one_stream", ending.read)
    # Its pause between streams has a timeout, which on CPython 3.11 hands on what it did not cause.
    monkeypatch.setattr(DataPump, "_sleep", lambda pump, seconds: asyncio.sleep(0))
    cluster = Cluster(["a#1"])
    source = UnitPumpSource(cluster.units["a#1"])
    pump = DataPump(GridConfig(), source, "a#1", b"0" * 16, cluster.clock, {})
    async with asyncio.timeout(5.0), pump:
        await ending.reading.wait()
