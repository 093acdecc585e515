"""Waiting until the store has everything that was acknowledged when somebody asked.

What comes later is not waited for, so a drain ends under load too: each partition's cursor has to
pass the newest record that it had at the beginning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from tupelo.v1 import admin_pb2 as pb

LOOK_S: Final = 0.1
PROGRESS_S: Final = 0.5
"""Something is said so often, also where nothing has changed."""


class Lags(Protocol):
    """What of a GridView is needed."""

    async def lags(self) -> tuple[dict[int, pb.PartitionLag], str]: ...

    async def flush(self, timeout_s: float) -> None: ...


async def drain_store(view: Lags, timeout_s: float) -> AsyncIterator[pb.DrainStoreProgress]:
    """The last one has `done`, and `partitions_left` 0 unless the time was over."""
    started = time.monotonic()
    goals: dict[int, int] = {}
    said = -PROGRESS_S
    flush: asyncio.Task[None] | None = None
    try:
        while True:
            lags, problem = await view.lags()
            if flush is None:
                flush = asyncio.create_task(view.flush(timeout_s), name="drain")
            progress = look(goals, lags)
            progress.elapsed_s = time.monotonic() - started
            over = progress.elapsed_s >= timeout_s
            if progress.partitions_left and not progress.cause:
                progress.cause = problem
            progress.done = over or not progress.partitions_left
            if progress.done or progress.elapsed_s - said >= PROGRESS_S:
                said = progress.elapsed_s
                yield progress
            if progress.done:
                return
            await asyncio.sleep(LOOK_S)
    finally:
        if flush is not None:
            flush.cancel()
            await asyncio.wait([flush])


def look(goals: dict[int, int], lags: Mapping[int, pb.PartitionLag]) -> pb.DrainStoreProgress:
    """Takes up the goals of partitions that are seen for the first time, and says what is left.

    A partition without a primary that answers is left, whatever it has: nobody knows.
    """
    progress = pb.DrainStoreProgress()
    for number, lag in sorted(lags.items()):
        if lag.epoch:
            goals.setdefault(number, lag.committed)
        goal = goals.get(number, 0)
        reached = lag.epoch and lag.known and lag.cursor >= goal
        if not reached:
            progress.partitions_left += 1
            progress.records_left += max(0, goal - lag.cursor) if lag.epoch else 0
            progress.bytes_left += lag.bytes
            progress.cause = progress.cause or lag.problem
    return progress
