"""The Session stream loop against a scripted stream: order, bounds, ends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import OpBatch, SessionRequest, SessionResponse
from tupelo_grid.transport.session import SessionStreams, serve_session


class ScriptedStream:
    """A servicer context: requests are queued by the test, responses collected."""

    def __init__(self, *request_ids: int, close: bool = True) -> None:
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.reads = 0
        self.written: list[SessionResponse] = []
        self.on_write = asyncio.Event()
        self.writers = 0
        for request_id in request_ids:
            self.send(request_id)
        if close:
            self.requests.put_nowait(grpc.aio.EOF)

    def send(self, request_id: int) -> None:
        batch = OpBatch(kinds=b"\x01\x01", partitions=[0, 1], keys=[b"\x01", b"\x02"])
        self.requests.put_nowait(SessionRequest(request_id=request_id, batches=[batch]))

    async def read(self) -> Any:
        request = await self.requests.get()
        self.reads += 1
        return request

    async def write(self, response: SessionResponse) -> None:
        self.writers += 1
        assert self.writers == 1, "two writes at the same time"
        await asyncio.sleep(0)
        self.writers -= 1
        self.written.append(response)
        self.on_write.set()

    async def next_write(self) -> None:
        self.on_write.clear()
        await self.on_write.wait()

    @property
    def ids(self) -> list[int]:
        return [response.request_id for response in self.written]


def answer(request: SessionRequest) -> SessionResponse:
    return SessionResponse(request_id=request.request_id)


async def turns(count: int) -> None:
    """Lets everything that is ready to run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_ready_answers_leave_at_once_and_in_order() -> None:
    stream = ScriptedStream(1, 2, 3)
    await serve_session(stream, answer, 4)
    assert stream.ids == [1, 2, 3]


async def test_late_answers_hold_back_those_behind_them() -> None:
    stream = ScriptedStream(1, 2, 3)
    late: asyncio.Future[SessionResponse] = asyncio.get_running_loop().create_future()
    read_all = asyncio.Event()

    def execute(request: SessionRequest) -> Any:
        if request.request_id == 3:
            read_all.set()
        return late if request.request_id == 1 else answer(request)

    serving = asyncio.create_task(serve_session(stream, execute, 8))
    await read_all.wait()
    assert stream.ids == []
    late.set_result(SessionResponse(request_id=1))
    await serving
    assert stream.ids == [1, 2, 3]


async def test_unanswered_frames_are_bounded() -> None:
    stream = ScriptedStream(*range(10))
    futures: dict[int, asyncio.Future[SessionResponse]] = {}
    loop = asyncio.get_running_loop()

    def execute(request: SessionRequest) -> Any:
        return futures.setdefault(request.request_id, loop.create_future())

    serving = asyncio.create_task(serve_session(stream, execute, 3))
    await turns(20)
    assert sorted(futures) == [0, 1, 2]
    for request_id in range(10):
        assert len(futures) - request_id <= 3
        futures[request_id].set_result(SessionResponse(request_id=request_id))
        await stream.next_write()
        await turns(5)
    await serving
    assert stream.ids == list(range(10))


@pytest.mark.parametrize("late", [False, True])
async def test_a_fault_is_answered_with_outcome_unknown(late: bool) -> None:
    stream = ScriptedStream(1, 2)

    def execute(request: SessionRequest) -> Any:
        if request.request_id == 2:
            return answer(request)
        if late:
            future: asyncio.Future[SessionResponse] = asyncio.get_running_loop().create_future()
            future.set_exception(RuntimeError("broken"))
            return future
        raise RuntimeError("broken")

    await serve_session(stream, execute, 4)
    assert stream.ids == [1, 2]
    assert stream.written[0].results[0].codes == bytes([ResultCode.OUTCOME_UNKNOWN]) * 2
    assert list(stream.written[0].results[0].error_ops) == [0, 1]


async def test_a_cancelled_stream_cancels_what_it_waits_for() -> None:
    stream = ScriptedStream(1, 2, close=False)
    futures: list[asyncio.Future[SessionResponse]] = []
    two = asyncio.Event()

    def execute(request: SessionRequest) -> Any:
        futures.append(asyncio.get_running_loop().create_future())
        if len(futures) == 2:
            two.set()
        return futures[-1]

    serving = asyncio.create_task(serve_session(stream, execute, 4))
    await two.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert all(future.cancelled() for future in futures)


async def test_drain_answers_what_was_read_and_ends_the_stream() -> None:
    stream = ScriptedStream(1, close=False)
    late: asyncio.Future[SessionResponse] = asyncio.get_running_loop().create_future()
    called = asyncio.Event()

    def execute(request: SessionRequest) -> Any:
        called.set()
        return late

    streams = SessionStreams(execute, 4)
    serving = asyncio.create_task(streams.serve(stream))
    await called.wait()
    streams.drain()
    stream.send(2)
    late.set_result(SessionResponse(request_id=1))
    await serving
    assert stream.ids == [1]
    assert streams.open_streams == 0
