"""Calls that end up in locust's statistics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
from tupelo.errors import ApplicationError, TupeloError
from tupelo.unit import Command

from loadtest.airline_package import unit as airline

R = TypeVar("R")

REQUEST_TYPE: Final = "grpc"
# Errors that are part of selling seats, and the word for each beside the command's name.
EXPECTED: Final[Mapping[type[ApplicationError], str]] = {
    airline.SeatTaken: "taken",
    airline.NotHolder: "not held",
}


class Fire(Protocol):
    """locust's `environment.events.request.fire`."""

    def __call__(
        self,
        *,
        request_type: str,
        name: str,
        response_time: float,
        response_length: int,
        exception: BaseException | None,
        context: dict[str, Any],
    ) -> None: ...


class CommandCaller(Protocol):
    """A `tupelo.sync` Grid, as far as it is needed here."""

    def call(self, command: Command[..., R], /, **arguments: Any) -> R: ...


class ReportedCalls:
    """Runs commands on a grid. Each becomes one request of locust's: milliseconds, the size of the
    answer as MessagePack in bytes, and the exception where it failed unexpectedly.

    `failures` counts the latter.
    """

    def __init__(self, grid: CommandCaller, fire: Fire) -> None:
        self._grid = grid
        self._fire = fire
        self.failures = 0

    def __call__(self, command: Command[..., R], /, **arguments: Any) -> R | None:
        name = command.__name__
        started = time.perf_counter()
        try:
            result = self._grid.call(command, **arguments)
        except ApplicationError as error:
            word = EXPECTED.get(type(error))
            if word is None:
                self._report(name, started, error.fields, error)
            else:
                self._report(f"{name} ({word})", started, error.fields, None)
            return None
        except TupeloError as error:
            self._report(name, started, None, error)
            return None
        self._report(name, started, result, None)
        return result

    def _report(
        self, name: str, started: float, answer: object, exception: BaseException | None
    ) -> None:
        elapsed_ms = (time.perf_counter() - started) * 1000
        if exception is not None:
            self.failures += 1
        self._fire(
            request_type=REQUEST_TYPE,
            name=name,
            response_time=elapsed_ms,
            response_length=len(msgspec.msgpack.encode(answer)),
            exception=exception,
            context={},
        )
