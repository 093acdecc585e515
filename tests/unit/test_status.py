"""Every result code has its gRPC status; messages and fields fit in metadata."""

from __future__ import annotations

from typing import Any

import grpc
import msgspec
import pytest
from tupelo.errors import ApplicationError, Overloaded, ResultCode
from tupelo.v1.data_pb2 import ErrorDetail
from tupelo_grid.transport.status import (
    STATUS,
    abort,
    answers_errors,
    detail,
    refused,
    status_of,
    trailers_of,
)


class Aborted(Exception):
    pass


class Context:
    def __init__(self) -> None:
        self.status: tuple[Any, ...] = ()

    async def abort(self, *status: Any) -> None:
        self.status = status
        raise Aborted


class Service:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    @answers_errors
    async def Call(self, request: str, context: Any) -> str:
        if self.error is not None:
            raise self.error
        return request


class SeatTaken(ApplicationError):
    pass


def test_every_code_but_ok_has_a_status() -> None:
    assert set(STATUS) == set(ResultCode) - {ResultCode.OK}
    assert status_of(ResultCode.OVERLOADED) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status_of(250) is grpc.StatusCode.UNKNOWN


async def test_an_answer_passes() -> None:
    assert await Service().Call("hello", Context()) == "hello"


@pytest.mark.parametrize(
    ("error", "status", "message", "code"),
    [
        (refused(ResultCode.UNKNOWN_SPACE, "no x"), grpc.StatusCode.NOT_FOUND, "no x",
         "UNKNOWN_SPACE"),
        (Overloaded("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "OVERLOADED"),
        (SeatTaken("gone"), grpc.StatusCode.FAILED_PRECONDITION, "gone", "APPLICATION_ERROR"),
        (KeyError("bug"), grpc.StatusCode.UNKNOWN, "internal error", "OUTCOME_UNKNOWN"),
    ],
)  # fmt: skip
async def test_errors_become_statuses(
    error: Exception, status: grpc.StatusCode, message: str, code: str
) -> None:
    context = Context()
    with pytest.raises(Aborted):
        await Service(error).Call("", context)
    assert context.status[0] is status
    assert message in context.status[1]
    assert ("tupelo-code", code) in context.status[2]


async def test_fields_travel_and_are_bounded() -> None:
    small = detail(ResultCode.SESSION_EXPIRED, "expired", {"session_above": 7})
    assert msgspec.msgpack.decode(dict(trailers_of(small))["tupelo-fields-bin"]) == {
        "session_above": 7
    }
    large = detail(ResultCode.SESSION_EXPIRED, "m" * 9000, {"x": "y" * 9000})
    context: Any = Context()
    with pytest.raises(Aborted):
        await abort(context, large)
    assert len(context.status[1]) == 1000
    assert context.status[2] == (("tupelo-code", "SESSION_EXPIRED"),)


def test_a_code_from_a_newer_peer_is_named_by_its_number() -> None:
    assert trailers_of(ErrorDetail(code=77)) == (("tupelo-code", "77"),)  # type: ignore[arg-type]
