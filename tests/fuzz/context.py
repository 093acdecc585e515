"""A gRPC call without gRPC: what servicers need of it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NoReturn

import grpc
import grpc.aio

from tests.fuzz.harness import Broken


class AnyContext:
    """Of one unary call. `answer(coroutine)` is the response, or None when the call was aborted
    with a status that somebody chose, and words."""

    def __init__(self, left_s: float = 5.0) -> None:
        self._left_s = left_s
        self.status: grpc.StatusCode | None = None

    def time_remaining(self) -> float:
        return self._left_s

    async def abort(self, code: grpc.StatusCode, details: str = "", trailers: Any = ()) -> NoReturn:
        if not isinstance(code, grpc.StatusCode) or code is grpc.StatusCode.OK or not details:
            raise Broken(f"aborted with {code!r}: {details!r}")
        for name, value in trailers:
            if name.endswith("-bin") != isinstance(value, bytes):
                raise Broken(f"gRPC does not take the trailer {name}={value!r}")
        self.status = code
        raise grpc.aio.AbortError(details)

    async def answer(self, call: Awaitable[Any]) -> Any:
        try:
            response = await call
        except grpc.aio.AbortError:
            return None
        response.SerializeToString()
        return response
