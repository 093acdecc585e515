"""The unit's end of Near streams, with a client that is slow, strange or one too many."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from tupelo.v1.data_pb2 import NearFrame, NearRequest
from tupelo_grid.config import GridConfig
from tupelo_grid.transport.near import NearStreams

from tests.unit.test_near_feed import Journals

GRID = bytes(16)
CONFIG = GridConfig(near_interval_s=0.001, near_lag_records_max=50, near_streams_max=2)


class Aborted(Exception):
    pass


class Client:
    """What the servicer sees of a client: `send` to it, take `frames`; shut, it takes none."""

    def __init__(self, **first: Any) -> None:
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.frames: asyncio.Queue[NearFrame] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.blocked = asyncio.Event()
        self.code: grpc.StatusCode | None = None
        self.ping(1, spaces=["a"], **first)

    def ping(self, number: int, **fields: Any) -> None:
        self.requests.put_nowait(NearRequest(ping=number, **fields))

    def leave(self) -> None:
        self.requests.put_nowait(grpc.aio.EOF)  # type: ignore[attr-defined]

    async def read(self) -> Any:
        return await self.requests.get()

    async def write(self, frame: NearFrame) -> None:
        if not self.gate.is_set():
            self.blocked.set()
            await self.gate.wait()
        self.frames.put_nowait(frame)

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        raise Aborted(details)

    async def frame(self) -> NearFrame:
        return await asyncio.wait_for(self.frames.get(), 5)


def serve(streams: NearStreams, client: Client) -> asyncio.Task[None]:
    context: Any = client
    return asyncio.create_task(streams.serve(context))


async def test_changes_are_told_and_pings_answered_until_the_client_leaves() -> None:
    journals = Journals(2)
    streams, client = NearStreams(journals, CONFIG, GRID), Client(grid_id=GRID)
    serving = serve(streams, client)
    assert (await client.frame()).echo == 1
    journals.write(0, b"k")
    told = await client.frame()
    assert (list(told.partitions), list(told.keys), told.echo) == ([0], [b"k"], 0)
    client.ping(2)
    assert (await client.frame()).echo == 2
    client.leave()
    await asyncio.wait_for(serving, 5)
    assert streams.open_streams == 0


async def test_for_a_client_that_takes_nothing_nothing_is_kept_and_it_must_forget() -> None:
    journals = Journals(1)
    streams, client = NearStreams(journals, CONFIG, GRID), Client()
    serving = serve(streams, client)
    await client.frame()
    client.gate.clear()
    journals.write(0, b"k")
    await asyncio.wait_for(client.blocked.wait(), 5)
    for _ in range(200):
        journals.write(0, b"l")
    client.gate.set()
    # The frame that was held up, and then one reset for all the rest.
    assert list((await client.frame()).keys) == [b"k"]
    reset = await client.frame()
    assert (reset.resets, list(reset.through), list(reset.keys)) == (b"\1", [201], [])
    assert client.frames.empty()
    streams.close()
    await asyncio.wait_for(serving, 5)


async def test_one_too_many_and_another_grids_clients_are_refused() -> None:
    streams = NearStreams(Journals(1), CONFIG, GRID)
    open_ones = [serve(streams, client) for client in (Client(), Client())]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = Client()
    with pytest.raises(Aborted, match="near_streams_max"):
        await serve(streams, late)
    assert late.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    streams.close()
    await asyncio.wait_for(asyncio.gather(*open_ones), 5)

    lost = Client(grid_id=b"x" * 16)
    with pytest.raises(Aborted, match="belongs to grid"):
        await serve(NearStreams(Journals(1), CONFIG, GRID), lost)
    assert lost.code is grpc.StatusCode.FAILED_PRECONDITION
