"""What a request to a unit is put together from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import grpc.aio

from tupelo.errors import DeadlineExceeded, OutcomeUnknown, TooLarge
from tupelo.v1.data_pb2 import BatchResult, OpBatch, SessionRequest, SessionResponse

Stream = grpc.aio.StreamStreamCall[SessionRequest, SessionResponse]


class Part(Protocol):
    """What contributes batches to a frame, and takes their results."""

    deadline: float

    @property
    def batches(self) -> Sequence[OpBatch]: ...

    def settle(self, results: Sequence[BatchResult]) -> None:
        """Raises GarbledAnswer, having given out nothing, when they do not fit."""
        ...

    def fail(self, error: Exception, *, sent: bool) -> None: ...

    def expire(self, now: float) -> None:
        """Ends those whose deadline has passed, while the answer may still come."""
        ...


class Parcel:
    """Ready-made batches: bulk operations, and what a router passes on."""

    __slots__ = ("batches", "deadline", "future", "size_bytes")

    def __init__(
        self,
        batches: Sequence[OpBatch],
        future: asyncio.Future[list[BatchResult]],
        deadline: float,
        size_bytes: int | None,
    ) -> None:
        self.batches = batches
        self.future = future
        self.deadline = deadline
        self.size_bytes = size_bytes

    def bytes(self) -> int:
        if self.size_bytes is None:
            self.size_bytes = sum([batch.ByteSize() for batch in self.batches])
        return self.size_bytes

    def settle(self, results: Sequence[BatchResult]) -> None:
        if not self.future.done():
            self.future.set_result(list(results))

    def fail(self, error: Exception, *, sent: bool) -> None:
        if self.future.done():
            return
        if isinstance(error, TooLarge) or not sent:
            self.future.set_exception(error)
        else:
            self.future.set_exception(OutcomeUnknown(str(error)))

    def expire(self, now: float) -> None:
        if self.deadline <= now:
            self.fail(DeadlineExceeded("no answer in time"), sent=True)


class Frame:
    """One request that has no answer yet. `late`: for so long that what it asks may have moved."""

    __slots__ = ("asked_at", "deadline", "late", "parts", "request", "stream")

    def __init__(self, request: SessionRequest, parts: list[Part], now: float) -> None:
        self.request = request
        self.parts = parts
        self.deadline = max([part.deadline for part in parts])
        self.asked_at = now
        self.late = False
        self.stream: Stream | None = None
