"""How our errors look to a caller of a unary RPC: one table from result codes to gRPC's.

The status message says what is wrong and what to do. Trailing metadata has the exact code:
`tupelo-code` (the name in tupelo.errors.ResultCode, e.g. "UNKNOWN_SPACE") and, where there are
any, `tupelo-fields-bin` (a MessagePack map).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NoReturn, TypeVar

import grpc
import grpc.aio
import msgspec
from tupelo.errors import ApplicationError, ResultCode, TupeloError
from tupelo.v1.data_pb2 import ErrorDetail

log = logging.getLogger(__name__)

STATUS: Final[Mapping[ResultCode, grpc.StatusCode]] = {
    ResultCode.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ResultCode.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ResultCode.VERSION_MISMATCH: grpc.StatusCode.ABORTED,
    ResultCode.APPLICATION_ERROR: grpc.StatusCode.FAILED_PRECONDITION,
    # UNAVAILABLE: certainly nothing was done, and the same call may succeed later.
    ResultCode.WRONG_OWNER: grpc.StatusCode.UNAVAILABLE,
    ResultCode.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    ResultCode.NOT_ENOUGH_REPLICAS: grpc.StatusCode.UNAVAILABLE,
    ResultCode.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    ResultCode.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    # FAILED_PRECONDITION: the same call cannot succeed until somebody changes something.
    ResultCode.STALE_TOKEN: grpc.StatusCode.FAILED_PRECONDITION,
    ResultCode.PARTITION_LOST: grpc.StatusCode.FAILED_PRECONDITION,
    # ABORTED: to be repeated from further up, here under a new session.
    ResultCode.SESSION_EXPIRED: grpc.StatusCode.ABORTED,
    ResultCode.UNKNOWN_SPACE: grpc.StatusCode.NOT_FOUND,
    ResultCode.UNKNOWN_COMMAND: grpc.StatusCode.NOT_FOUND,
    ResultCode.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    ResultCode.KEY_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    ResultCode.VALUE_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    ResultCode.PARTITION_OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    ResultCode.COMMAND_FAILED: grpc.StatusCode.INTERNAL,
    ResultCode.OUTCOME_UNKNOWN: grpc.StatusCode.UNKNOWN,
    ResultCode.ANSWER_FULL: grpc.StatusCode.UNKNOWN,
    # The write was done, so that nobody must take it for one to be repeated.
    ResultCode.NOT_PERSISTED: grpc.StatusCode.UNKNOWN,
}

CODE_KEY: Final = "tupelo-code"
FIELDS_KEY: Final = "tupelo-fields-bin"

# gRPC peers accept 8 KiB of metadata by default, the message included, percent-encoded.
MESSAGE_CHARS_MAX: Final = 1000
FIELDS_BYTES_MAX: Final = 3072

Q = TypeVar("Q")
R = TypeVar("R")
S = TypeVar("S")


class Refused(Exception):
    """Carries the answer of a refused call out to where the RPC ends."""

    def __init__(self, detail: ErrorDetail) -> None:
        super().__init__(detail.message)
        self.detail = detail


def detail(code: ResultCode, message: str, fields: Mapping[str, Any] | None = None) -> ErrorDetail:
    return ErrorDetail(
        code=int(code),  # type: ignore[arg-type]
        message=message,
        fields=msgspec.msgpack.encode(fields) if fields else b"",
    )


def refused(code: ResultCode, message: str, fields: Mapping[str, Any] | None = None) -> Refused:
    return Refused(detail(code, message, fields))


def detail_of(error: TupeloError) -> ErrorDetail:
    """An exception of the SDK as it travels; an application's error keeps its code in fields."""
    if isinstance(error, ApplicationError):
        fields = {"code": error.error_code, "fields": error.fields}
        return detail(error.code, error.message, fields)
    return detail(error.code, error.message or type(error).__name__, error.fields)


def status_of(code: int) -> grpc.StatusCode:
    """UNKNOWN for a code from a newer peer."""
    try:
        return STATUS[ResultCode(code)]
    except (ValueError, KeyError):
        return grpc.StatusCode.UNKNOWN


def trailers_of(error: ErrorDetail) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata. Fields too long for it are left out; the message still says what is."""
    try:
        name = ResultCode(error.code).name
    except ValueError:
        name = str(error.code)
    if not error.fields or len(error.fields) > FIELDS_BYTES_MAX:
        return ((CODE_KEY, name),)
    return ((CODE_KEY, name), (FIELDS_KEY, error.fields))


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: ErrorDetail) -> NoReturn:
    """Ends the RPC with the error's status."""
    message = error.message or "no details"
    if len(message) > MESSAGE_CHARS_MAX:
        message = message[: MESSAGE_CHARS_MAX - 3] + "..."
    await context.abort(status_of(error.code), message, trailers_of(error))
    raise AssertionError("abort raises")


def answers_errors(
    method: Callable[[S, Q, grpc.aio.ServicerContext[Q, R]], Coroutine[Any, Any, R]],
) -> Callable[[S, Q, grpc.aio.ServicerContext[Q, R]], Coroutine[Any, Any, R]]:
    """For unary RPC methods: what they raise becomes the call's status.

    Refused and TupeloError by the table; anything else is our fault: it is logged, and the caller
    is told that the outcome is not known.
    """

    @functools.wraps(method)
    async def answer(self: S, request: Q, context: grpc.aio.ServicerContext[Q, R]) -> R:
        try:
            return await method(self, request, context)
        except Refused as error:
            answered = error.detail
        except TupeloError as error:
            answered = detail_of(error)
        except grpc.aio.AbortError:
            raise
        except Exception:
            log.exception("%s failed", method.__qualname__)
            answered = detail(
                ResultCode.OUTCOME_UNKNOWN,
                "an internal error; the server's log has it. Repeat with the same token",
            )
        return await abort(context, answered)

    return answer
