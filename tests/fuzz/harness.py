"""Runs targets on many inputs, and says what came of it."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import random
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

HANG_S: Final = 60.0
"""WATCHED inputs may take so long; then the stacks are written and the process ends."""
WATCHED: Final = 64
SLOW_S: Final = 1.0
CRASHES_MAX: Final = 20
"""Of one target; further inputs are not tried."""


class Target(Protocol):
    """One way in. Made inside a running event loop.

    Attributes:
        fresh_every: inputs after which it is made anew, so that state does not grow without end;
            0 for never.
    """

    name: str
    fresh_every: int

    async def one(self, rng: random.Random) -> bool:
        """Makes an input from `rng` and feeds it; whether it was taken, not refused.

        Raises only what is not documented."""
        ...

    def close(self) -> None: ...


class Broken(Exception):
    """An answer that is none, or an internal error that somebody caught and logged."""


@dataclass
class Report:
    """Of one target.

    Attributes:
        crashes: (seed of the input, traceback).
        slow: seeds of inputs that took longer than SLOW_S.
        taken: inputs that were not refused: were it none, little would be tried.
    """

    name: str
    inputs: int = 0
    taken: int = 0
    crashes: list[tuple[str, str]] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0


class Complaints(logging.Handler):
    """Errors of ours that were caught, logged and turned into a vague answer."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        # A command that breaks is application code, and a row of the store that is none was written
        # by somebody else: that they are logged is right.
        of_others = record.name == "tupelo_grid.messaging.reader" and not record.exc_info
        if record.name != "tupelo_grid.units.runner" and not of_others:
            self.records.append(record)

    def check(self) -> None:
        """Raises Broken for what has been logged since the last time."""
        if self.records:
            record, self.records = self.records[0], []
            cause = record.exc_info[1] if record.exc_info else None
            raise Broken(f"logged: {record.getMessage()}") from cause


def input_seed(seed: int, name: str, number: int) -> str:
    return f"{seed}/{name}/{number}"


async def fuzz(
    kinds: Sequence[Any], inputs: int, seed: int, complaints: Complaints
) -> list[Report]:
    """`inputs` of all targets together, the same number of each."""
    reports = []
    for kind in kinds:
        report = Report(kind.name)
        started = perf_counter()
        await _run(kind, max(1, -(-inputs // len(kinds))), seed, complaints, report)
        report.elapsed_s = perf_counter() - started
        reports.append(report)
    return reports


async def _run(kind: Any, inputs: int, seed: int, complaints: Complaints, report: Report) -> None:
    target: Target = kind()
    for number in range(inputs):
        if target.fresh_every and number and number % target.fresh_every == 0:
            target.close()
            target = kind()
        if number % WATCHED == 0:
            # The real one: a test may have put something else in its place.
            faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stderr__)
            await asyncio.sleep(0)
        await attempt(target, input_seed(seed, kind.name, number), complaints, report)
        if len(report.crashes) >= CRASHES_MAX:
            break
    faulthandler.cancel_dump_traceback_later()
    target.close()


async def attempt(target: Target, seed: str, complaints: Complaints, report: Report) -> None:
    report.inputs += 1
    started = perf_counter()
    try:
        report.taken += await target.one(random.Random(seed))
        complaints.check()
    except Exception:
        complaints.records.clear()
        report.crashes.append((seed, traceback.format_exc()))
    if perf_counter() - started > SLOW_S:
        report.slow.append(seed)


def memory_bytes() -> int:
    """Resident, after a full collection."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Growth:
    """Of resident memory, in bytes: `grown` from after a first part of the inputs to the end."""

    before: int
    after: int

    @property
    def grown(self) -> int:
        return self.after - self.before
