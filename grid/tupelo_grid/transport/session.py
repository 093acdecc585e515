"""The server's side of a Session stream: frames in, answers out in the order the frames came.

Shared by the router and by processing units. No task is made per frame: a stream has two tasks, one
that reads and executes, one that waits for answers that are not there yet and writes them. An
answer that is ready at once, with nothing before it, is written by the reader itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc.aio
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import (
    BatchResult,
    BulkResult,
    ErrorDetail,
    OpBatch,
    SessionRequest,
    SessionResponse,
)

log = logging.getLogger(__name__)

Answer = SessionResponse | asyncio.Future[SessionResponse]
Execute = Callable[[SessionRequest], Answer]
Context = grpc.aio.ServicerContext[SessionRequest, SessionResponse]

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it


class SessionStreams:
    """All Session streams of one server.

    `execute(request)` is called once a frame, in order, and must not block: it returns the
    response, or a future of it (a task is one). It should answer bad input with a response, not
    raise; what it raises all the same, or a future fails with, is logged and answered with
    OUTCOME_UNKNOWN for every operation of the frame. When a stream goes, the futures it still
    waits for are cancelled: check `done()` before resolving one.

    Args:
        execute: as above.
        frames_max: unanswered frames of one stream; beyond it the stream is not read, so that
            HTTP/2 flow control holds the client back.
    """

    def __init__(self, execute: Execute, frames_max: int) -> None:
        self._execute = execute
        self._frames_max = frames_max
        self._open: set[_Stream] = set()
        self._draining = False
        self._none_open = asyncio.Event()
        self._none_open.set()

    @property
    def open_streams(self) -> int:
        return len(self._open)

    async def serve(self, context: Context, execute: Execute | None = None) -> None:
        """The body of the Session RPC; returns when the client closes its side, or at `drain`.

        `execute`: of this stream, instead of that of all.
        """
        stream = _Stream(context, execute or self._execute, self._frames_max)
        if self._draining:
            return
        self._open.add(stream)
        self._none_open.clear()
        try:
            await stream.run()
        finally:
            self._open.discard(stream)
            if not self._open:
                self._none_open.set()

    def drain(self) -> None:
        """Reads no more frames; each stream ends once what it has read is answered."""
        self._draining = True
        for stream in self._open:
            stream.stop_reading()

    async def ended(self) -> None:
        """Waits until no stream is open; the caller bounds it."""
        await self._none_open.wait()


async def serve_session(context: Context, execute: Execute, frames_max: int) -> None:
    """One Session stream; see SessionStreams, which adds draining."""
    await SessionStreams(execute, frames_max).serve(context)


class _Stream:
    def __init__(self, context: Context, execute: Execute, frames_max: int) -> None:
        self._context = context
        self._execute = execute
        self._frames_max = frames_max
        self._answers: deque[tuple[SessionRequest, Answer]] = deque()
        self._work = asyncio.Event()  # the writer has something to do, or reading has ended
        self._room = asyncio.Event()
        self._writing = False
        self._ended = False
        self._reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._reader = group.create_task(self._read())
                group.create_task(self._write())
        except* grpc.aio.UsageError:
            # The RPC ended between two of our steps: nobody is left to answer.
            log.debug("session stream ended by its client")
        finally:
            for _, answer in self._answers:
                if isinstance(answer, asyncio.Future):
                    answer.cancel()

    def stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        context, answers = self._context, self._answers
        try:
            while True:
                request = await context.read()
                if request is _EOF:
                    return
                answer = self._run(request)
                if not answers and not self._writing and not isinstance(answer, asyncio.Future):
                    await context.write(answer)
                    continue
                answers.append((request, answer))
                self._work.set()
                while len(answers) >= self._frames_max:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._work.set()

    def _run(self, request: SessionRequest) -> Answer:
        try:
            return self._execute(request)
        except Exception:
            log.exception("a frame could not be executed")
            return unknown_response(request)

    async def _write(self) -> None:
        context, answers = self._context, self._answers
        while True:
            if not answers:
                if self._ended:
                    return
                self._work.clear()
                await self._work.wait()
                continue
            response = await self._resolve(*answers[0])
            self._writing = True
            answers.popleft()
            self._room.set()
            await context.write(response)
            self._writing = False

    async def _resolve(self, request: SessionRequest, answer: Answer) -> SessionResponse:
        if not isinstance(answer, asyncio.Future):
            return answer
        try:
            return await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return unknown_response(request)
        except Exception:
            log.exception("a frame failed")
            return unknown_response(request)


def unknown_response(request: SessionRequest) -> SessionResponse:
    """OUTCOME_UNKNOWN for every operation of a frame: what is safe to say after a fault of ours."""
    return SessionResponse(
        request_id=request.request_id,
        results=[unknown_result(batch) for batch in request.batches],
    )


def unknown_result(
    batch: OpBatch, message: str = "an internal error; retry with the same token"
) -> BatchResult:
    """OUTCOME_UNKNOWN for every operation and bulk group of a batch, columns present."""
    return failed_result(batch, ResultCode.OUTCOME_UNKNOWN, message)


def failed_result(
    batch: OpBatch, code: ResultCode, message: str, fields: bytes = b""
) -> BatchResult:
    """The same error for every operation and bulk group of a batch, every column at full length."""
    result: dict[str, Any] = {}
    ops = len(batch.kinds)
    groups = len(batch.bulk.partitions)
    if ops:
        result.update(codes=bytes([code]) * ops, versions=[0] * ops)
    if groups:
        result["bulk"] = BulkResult(codes=bytes([code]) * groups)
    indexes = range(ops + groups)
    detail = ErrorDetail(code=int(code), message=message, fields=fields)  # type: ignore[arg-type]
    return BatchResult(error_ops=indexes, errors=[detail] * len(indexes), **result)
