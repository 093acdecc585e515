"""Writes that share a wait for the replica."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.peers.systems.fence import Fence


class Replica:
    """Passes that begin when asked and end when told."""

    def __init__(self) -> None:
        self.passes: list[asyncio.Future[None]] = []
        self.begun = asyncio.Event()

    async def once(self) -> None:
        self.passes.append(asyncio.get_running_loop().create_future())
        self.begun.set()
        await self.passes[-1]

    async def next(self) -> asyncio.Future[None]:
        await self.begun.wait()
        self.begun.clear()
        return self.passes[-1]


async def test_who_comes_during_a_pass_waits_for_the_next_one() -> None:
    """The one under way may have been sent before the write, so it says nothing about it."""
    replica = Replica()
    fence = Fence(replica.once)
    first = asyncio.create_task(fence.passed())
    running = await replica.next()
    late = [asyncio.create_task(fence.passed()) for _ in range(3)]
    await asyncio.sleep(0)
    running.set_result(None)
    await first
    second = await replica.next()
    assert not any(task.done() for task in late)
    second.set_result(None)
    await asyncio.gather(*late)
    assert len(replica.passes) == 2


async def test_a_pass_that_fails_is_told_and_the_next_one_is_tried() -> None:
    replica = Replica()
    fence = Fence(replica.once)
    waiting = asyncio.create_task(fence.passed())
    (await replica.next()).set_exception(ConnectionError("no replica"))
    with pytest.raises(ConnectionError, match="no replica"):
        await waiting
    again = asyncio.create_task(fence.passed())
    (await replica.next()).set_result(None)
    await again
