"""One client at work: asks, and records what it was told.

What a client hears decides what its history may say: an answer; OutcomeUnknown, after which the
operation may take effect at any time or never; or an error that says that it certainly was not
carried out. Any other error, and a call that does not end, is a problem of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Hashable, Sequence
from typing import Any, Final, TypeVar

import tupelo
from tupelo.errors import ApplicationError, OutcomeUnknown, TupeloError, Unavailable

from tests.linearizability.history import UNKNOWN, Call, Recorder

T = TypeVar("T")

OVERTIME_S: Final = 5.0
"""A call that ends so long after its deadline hangs."""
PROBLEMS_MAX: Final = 50


class Tally:
    """What became of all operations, of all clients.

    Attributes:
        errors: how often each error class was raised, unknown outcomes and failures alike.
        problems: what no fault explains, in words.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.unknown = 0
        self.failed = 0
        self.errors: Counter[str] = Counter()
        self.problems: list[str] = []

    @property
    def operations(self) -> int:
        return self.acknowledged + self.unknown + self.failed

    def problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)


class Rotation:
    """A key that few clients use for a while, then the next one: long histories of one key with
    many unknown outcomes take a checker for ever.

    Attributes:
        names: all keys there have been.
    """

    def __init__(self, prefix: str, calls_max: int = 60, unknown_max: int = 3) -> None:
        self.names = [f"{prefix}.0"]
        self._prefix = prefix
        self._calls_max = calls_max
        self._unknown_max = unknown_max
        self._calls = self._unknown = 0

    def take(self) -> str:
        self._calls += 1
        if self._calls > self._calls_max or self._unknown >= self._unknown_max:
            self.names.append(f"{self._prefix}.{len(self.names)}")
            self._calls = self._unknown = 0
        return self.names[-1]

    def unknown(self, name: str) -> None:
        self._unknown += name == self.names[-1]


class Worker:
    """A client's own things.

    Args:
        pause_s: the mean time between its calls.
        hurry: share of calls that wait only about a second, so that outcomes become unknown.
    """

    def __init__(
        self,
        name: str,
        grid: tupelo.Grid,
        seed: str,
        recorder: Recorder,
        tally: Tally,
        stop: asyncio.Event,
        pause_s: float,
        hurry: float,
    ) -> None:
        self.name = name
        self.grid = grid
        self.rng = random.Random(seed)
        self.recorder = recorder
        self.tally = tally
        self.stop = stop
        self._pause_s = pause_s
        self._hurry = hurry
        self._values = 0

    def unique(self) -> str:
        self._values += 1
        return f"{self.name}-{self._values}"

    def timeout_s(self) -> float:
        return 1.2 if self.rng.random() < self._hurry else 10.0

    def invoke(self, key: Hashable, kind: str, *arguments: Any) -> Call:
        return self.recorder.invoke(self.name, key, kind, *arguments)

    async def rest(self) -> bool:
        """Between two calls. False when there is to be no further one."""
        pause_s = self.rng.random() * 2 * self._pause_s
        if not pause_s:
            return not self.stop.is_set()
        try:
            async with asyncio.timeout(pause_s):
                await self.stop.wait()
        except TimeoutError:
            return True
        return False

    async def ask(
        self, calls: Sequence[Call], asked: Awaitable[T], timeout_s: float, *, parts: bool = False
    ) -> T | Any:
        """The answer, or the ApplicationError that is one; UNKNOWN where there is none.

        Args:
            calls: what the answer is of; told only when there is none.
            parts: some may have been carried out although another failed.
        """
        try:
            async with asyncio.timeout(timeout_s + OVERTIME_S):
                answer = await asked
        except ApplicationError as error:
            self.tally.acknowledged += len(calls)
            return error
        except OutcomeUnknown as error:
            self._unknown(calls, error)
        except Unavailable as error:
            if parts:
                self._unknown(calls, error)
            else:
                self._failed(calls, error)
        except TupeloError as error:
            self.tally.problem(f"{self.name}: {type(error).__name__}: {error}")
            self._failed(calls, error)
        except TimeoutError as error:
            self.tally.problem(
                f"{self.name}: a call did not end {OVERTIME_S:g} s after its deadline"
            )
            self._unknown(calls, error)
        else:
            self.tally.acknowledged += len(calls)
            return answer
        return UNKNOWN

    def _unknown(self, calls: Sequence[Call], error: Exception) -> None:
        self.tally.errors[type(error).__name__] += 1
        self.tally.unknown += len(calls)
        for call in calls:
            call.unknown()

    def _failed(self, calls: Sequence[Call], error: Exception) -> None:
        self.tally.errors[type(error).__name__] += 1
        self.tally.failed += len(calls)
        for call in calls:
            call.failed()
