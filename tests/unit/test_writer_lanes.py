"""Which frames are written side by side: never two of one partition, and each in its turn."""

from __future__ import annotations

import asyncio
import random

import pytest
from tupelo_grid.core.pump_frames import PartitionBatch, PumpFrame
from tupelo_grid.messaging.writer_lanes import Job, Lanes


def job(*partitions: int, changes: int = 1, claim: bool = False) -> Job:
    change = ("docs", b"k", b"v", 1, 0)
    batches = [PartitionBatch(p, 1, 0, 1, [change] * changes) for p in partitions]
    claims = [(p, 1) for p in partitions]
    frame = PumpFrame(1, claims if claim else [], [] if claim else batches)
    return Job(frame, asyncio.get_running_loop().create_future())


async def put(lanes: Lanes, *jobs: Job) -> None:
    for one in jobs:
        await lanes.put(one)


async def test_a_partition_is_in_one_lane_and_its_frames_in_order() -> None:
    lanes = Lanes(100, 1000, 3)
    first, other, second, third = job(1, 2), job(3), job(2), job(2, 3)
    await put(lanes, first, other, second, third)
    a = await lanes.take()
    assert a == [first]
    b = await lanes.take()
    assert b == [other]
    waiting = asyncio.ensure_future(lanes.take())
    lanes.release(b)
    await asyncio.sleep(0)
    assert not waiting.done(), "the third comes after the second, which waits for the first"
    lanes.release(a)
    assert await waiting == [second]
    assert len(lanes) == 1
    lanes.release([second])
    assert await lanes.take() == [third]


async def test_a_claim_never_overtakes_the_batch_before_it() -> None:
    lanes = Lanes(100, 1000, 2)
    batch, claim = job(7), job(7, claim=True)
    await put(lanes, batch, claim)
    assert await lanes.take() == [batch]
    assert not asyncio.ensure_future(lanes.take()).done()


async def test_what_waits_is_shared_by_the_lanes_that_are_idle() -> None:
    lanes = Lanes(100, 1000, 4)
    jobs = [job(n, changes=10) for n in range(8)]
    await put(lanes, *jobs)
    assert [len(await lanes.take()) for _ in range(4)] == [2, 2, 2, 2]


async def test_a_transaction_is_joined_up_to_its_limit() -> None:
    lanes = Lanes(100, 25, 1)
    await put(lanes, *(job(n, changes=10) for n in range(8)))
    assert len(await lanes.take()) == 3


async def test_only_so_many_wait() -> None:
    lanes = Lanes(2, 10, 1)
    await put(lanes, job(1), job(2, changes=20))
    third = asyncio.ensure_future(lanes.put(job(3)))
    await asyncio.sleep(0)
    assert not third.done()
    await lanes.take()
    await third


async def test_a_frame_whose_stream_went_away_is_left_out() -> None:
    lanes = Lanes(2, 10, 1)
    gone, there = job(1), job(1)
    await put(lanes, gone, there)
    gone.done.cancel()
    assert await lanes.take() == [there]
    await put(lanes, job(4), job(5))


@pytest.mark.parametrize("seed", range(20))
async def test_any_schedule_keeps_each_partition_in_order(seed: int) -> None:
    chance = random.Random(seed)
    lanes = Lanes(1000, 5, 4)
    jobs = [job(*chance.sample(range(6), chance.randint(1, 3))) for _ in range(60)]
    order = {id(one): place for place, one in enumerate(jobs)}
    await put(lanes, *jobs)
    last: dict[int, int] = {}
    running: list[list[Job]] = []
    while len(lanes) or running:
        if len(lanes) and len(running) < 4:
            taking = asyncio.ensure_future(lanes.take())
            await asyncio.sleep(0)
            if taking.done():
                taken = taking.result()
                busy = [p for group in running for one in group for p in one.partitions]
                mine = [p for one in taken for p in one.partitions]
                assert len(set(mine)) == len(mine)
                assert not set(mine) & set(busy)
                for one in taken:
                    for partition in one.partitions:
                        assert last.get(partition, -1) < order[id(one)]
                        last[partition] = order[id(one)]
                running.append(taken)
                continue
            taking.cancel()
        lanes.release(running.pop(chance.randrange(len(running))))
