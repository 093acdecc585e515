"""What the async client does when units, streams and tables fail it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import tupelo
from tupelo import ClientConfig, Grid
from tupelo.errors import (
    ConnectionLost,
    DeadlineExceeded,
    OutcomeUnknown,
    ResultCode,
    TupeloError,
    Unavailable,
)

from tests.fake_grid import FakeGrid, grids
from tests.faults import QUICK, key_of, set_fault, times
from tests.pause import pause


@pytest.fixture
async def fake() -> AsyncIterator[FakeGrid]:
    async for grid in grids():
        yield grid


@pytest.fixture
async def grid(fake: FakeGrid) -> AsyncIterator[Grid]:
    async with tupelo.connect(fake.seed, config=QUICK) as connected:
        yield connected


async def test_concurrent_calls_become_few_frames_without_a_timer(
    fake: FakeGrid, grid: Grid
) -> None:
    space = grid.space("default")
    for unit in fake.units:
        unit.gate.clear()
    waiting = [asyncio.create_task(space.put(f"first-{number}", 0)) for number in range(12)]
    for unit in fake.units:
        await unit.arrived(1)
    waiting += [asyncio.create_task(space.put(f"key-{number}", number)) for number in range(256)]
    await asyncio.sleep(0)
    for unit in fake.units:
        unit.gate.set()
    await asyncio.gather(*waiting)
    assert sum(unit.frames for unit in fake.units) == 6
    assert len(fake.entries()) == 268


async def test_a_single_call_does_not_wait_for_others(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    await space.put("a", 1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(50):
        await space.get("a")
    assert (loop.time() - started) / 50 < 0.05


@pytest.mark.parametrize("fault", ["drop", "lose", "garble", ResultCode.OUTCOME_UNKNOWN])
async def test_a_retry_keeps_its_token_and_takes_effect_once(
    fake: FakeGrid, grid: Grid, fault: int | str
) -> None:
    space = grid.space("default")
    set_fault(fake, 2, fault)
    written = await asyncio.gather(*(space.put(f"key-{n}", n) for n in range(100)))
    assert len(fake.entries()) == 100
    assert fake.most_applications() == 1
    places = {(result.token.partition, result.version) for result in written}
    assert len(places) == 100, "every put was applied at a place of its own"
    assert sum(part.sequence for part in fake.parts) == 100
    sessions = {batch.session for unit in fake.units for batch in unit.batches}
    assert len(sessions) == 1


@pytest.mark.parametrize("fault", ["drop", "lose", "garble", ResultCode.OUTCOME_UNKNOWN])
async def test_bulk_groups_are_retried_with_their_tokens(
    fake: FakeGrid, grid: Grid, fault: int | str
) -> None:
    space = grid.space("default")
    set_fault(fake, 2, fault)
    rows = {f"key-{number}": number for number in range(500)}
    written = await space.put_many(rows)
    assert written.entries == 500
    assert fake.most_applications() == 1
    assert await space.get_many(rows) == rows


async def test_only_what_failed_is_sent_again(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    unlucky = fake.units[1]
    unlucky.fault = times(1, ResultCode.NOT_READY)
    await space.put_many({f"key-{number}": number for number in range(300)})
    assert [unit.frames for unit in fake.units] == [1, 2, 1]


async def test_acked_below_follows_the_answers(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    for number in range(5):
        await asyncio.gather(*(space.put(f"key-{n}", number) for n in range(40)))
    await space.put("last", 1)
    batches = [batch for unit in fake.units for batch in unit.batches]
    last = max(batches, key=lambda batch: max(batch.op_numbers))
    assert list(last.op_numbers) == [201]
    assert last.acked_below == 201


async def test_numbers_of_failed_and_cancelled_calls_do_not_hold_up_the_floor(
    fake: FakeGrid, grid: Grid
) -> None:
    space = grid.space("default")
    set_fault(fake, 1, ResultCode.VALUE_TOO_LARGE)
    failed = await asyncio.gather(
        *(space.put(f"key-{n}", n) for n in range(40)), return_exceptions=True
    )
    assert all(isinstance(error, TupeloError) for error in failed)
    for unit in fake.units:
        unit.gate.clear()
    waiting = [asyncio.create_task(space.put(f"key-{n}", n)) for n in range(40)]
    for unit in fake.units:
        await unit.arrived(2)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    set_fault(fake, 1, "drop")
    for unit in fake.units:
        unit.gate.set()
        await space.put(key_of(fake, unit), 1)
    await space.put("last", 1)
    assert fake.most_applications() == 1
    batches = [batch for unit in fake.units for batch in unit.batches]
    last = max(batches, key=lambda batch: max(batch.op_numbers, default=0))
    assert last.acked_below == max(last.op_numbers)


async def test_a_partition_that_moved_is_followed(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    rows = {f"key-{number}": number for number in range(200)}
    await space.put_many(rows)
    for partition in range(fake.partitions):
        fake.move(partition, fake.units[(partition + 1) % 3])
    asked = fake.route_requests
    results = await asyncio.gather(*(space.get(key) for key in rows))
    assert results == list(rows.values())
    assert fake.route_requests == asked, "the newer table came with the answer"
    assert await space.get_many(rows) == rows
    assert await space.count() == 200


async def test_a_unit_that_dies_is_replaced_without_an_error(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    dead = fake.units[2]
    stop, warm, later = asyncio.Event(), asyncio.Event(), asyncio.Event()
    written: dict[str, int] = {}
    moved = False

    async def write(worker: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await space.put(f"{worker}-{number % 50}", number)
            written[f"{worker}-{number % 50}"] = number
            if number > 20:
                warm.set()
            if moved and fake.owners_of(dead) == 0 and number > 60:
                later.set()

    workers = [asyncio.create_task(write(worker)) for worker in range(20)]
    await warm.wait()
    await dead.stop()
    asked = fake.route_requests
    await fake.asked_for_routes(asked + 1)
    fake.fail_over(dead)
    moved = True
    await later.wait()
    stop.set()
    await asyncio.gather(*workers)
    assert fake.most_applications() == 1
    assert await space.get_many(written) == written


async def test_a_partition_without_a_primary_is_waited_for(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    for partition in range(fake.partitions):
        fake.move(partition, None)
    with pytest.raises(Unavailable):
        await space.get("a", timeout_s=0.05)
    waiting = asyncio.gather(space.put("a", 1), space.put_many({"b": 2}))
    await fake.asked_for_routes(fake.route_requests + 2)
    for partition in range(fake.partitions):
        fake.move(partition, fake.units[0])
    await waiting
    assert await space.get_many(["a", "b"]) == {"a": 1, "b": 2}


async def test_a_deadline_leaves_a_sent_write_unknown_and_a_read_not_done(
    fake: FakeGrid, grid: Grid
) -> None:
    space = grid.space("default")
    await space.put("a", 1)
    for unit in fake.units:
        unit.gate.clear()
    loop = asyncio.get_running_loop()
    started = loop.time()
    results = await asyncio.gather(
        space.put("a", 2, timeout_s=0.1),
        space.get("a", timeout_s=0.1),
        space.put_many({"b": 1, "c": 2}, timeout_s=0.1),
        space.get_many(["b", "c"], timeout_s=0.1),
        return_exceptions=True,
    )
    assert 0.09 < loop.time() - started < 2.0
    assert [type(result) for result in results] == [
        OutcomeUnknown,
        DeadlineExceeded,
        OutcomeUnknown,
        DeadlineExceeded,
    ]
    # Behind the frame that hangs, what was never sent was certainly not carried out.
    unit = fake.owner_of("a")
    frames = unit.frames
    first = asyncio.create_task(space.put("a", 3, timeout_s=5))
    await unit.arrived(frames + 1)
    with pytest.raises(DeadlineExceeded, match="before it could be sent"):
        await space.put("a", 4, timeout_s=0.05)
    for unit in fake.units:
        unit.gate.set()
    await first
    assert fake.most_applications() == 1


async def test_a_silent_unit_is_left_for_the_one_its_partitions_moved_to(fake: FakeGrid) -> None:
    config = ClientConfig(stall_s=0.05, sweep_s=0.01, backoff_base_s=0.001)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        silent = fake.units[1]
        silent.gate.clear()
        writes = [
            asyncio.create_task(space.put(key_of(fake, silent), 1)),
            asyncio.create_task(space.put_many({key_of(fake, silent): 2}, timeout_s=1.0)),
        ]
        await silent.arrived(1)
        fake.fail_over(silent)
        async with asyncio.timeout(5):
            await asyncio.gather(*writes)
        assert len(fake.entries()) == 1


async def test_a_late_call_follows_a_newer_table_at_once(
    fake: FakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at its next look at the table, which here would be 5 s later."""
    monkeypatch.setattr("tupelo._async.connection.ASK_AGAIN", 100)
    config = ClientConfig(stall_s=0.05, sweep_s=0.01, backoff_base_s=0.001)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        silent = fake.units[1]
        silent.gate.clear()
        write = asyncio.create_task(space.put(key_of(fake, silent), 1))
        await silent.arrived(1)
        await pause(0.15)  # it is late by now, and has asked for the table in vain
        fake.fail_over(silent)
        await grid._routes.refresh()
        async with asyncio.timeout(2):
            await write
    assert fake.most_applications() == 1


async def test_a_pause_ends_when_the_partition_has_moved(
    fake: FakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tupelo._async.runtime.chance", lambda: 0.999)
    config = ClientConfig(backoff_base_s=8.0, backoff_max_s=8.0, timeout_s=20.0)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        moves = fake.units[1]
        moves.fault = lambda _: int(ResultCode.NOT_READY)
        write = asyncio.create_task(space.put(key_of(fake, moves), 1))
        await moves.arrived(1)
        await pause(0.3)  # by now it has asked for the table in vain, and rests
        fake.fail_over(moves)
        async with asyncio.timeout(4):
            while not write.done():
                await grid._routes.refresh()
            await write
    assert fake.most_applications() == 1


async def test_router_mode_asks_the_seed_for_everything(fake: FakeGrid) -> None:
    fake.anyone_answers = True
    async with tupelo.connect(fake.seed, routing="router") as grid:
        space = grid.space("default")
        await asyncio.gather(*(space.put(f"key-{n}", n) for n in range(100)))
        await space.put_many({f"bulk-{n}": n for n in range(100)})
        assert await space.count() == 200
    assert fake.units[0].operations > 0
    assert [unit.operations for unit in fake.units[1:]] == [0, 0]


async def test_closing_ends_what_is_pending_with_a_clear_error(fake: FakeGrid) -> None:
    grid = await tupelo.connect(fake.seed)
    space = grid.space("default")
    for unit in fake.units:
        unit.gate.clear()
    sent = asyncio.create_task(space.put("a", 1))
    await fake.owner_of("a").arrived(1)
    waiting = asyncio.create_task(space.put("a", 2))
    reading = asyncio.create_task(space.get("a"))
    await asyncio.sleep(0)
    await grid.close()
    results = await asyncio.gather(sent, waiting, reading, return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknown, ConnectionLost, ConnectionLost]
    assert "closed" in str(results[1])


async def test_several_frames_in_flight(fake: FakeGrid) -> None:
    async with tupelo.connect(fake.seed, frames_in_flight=3) as grid:
        space = grid.space("default")
        unit = fake.units[0]
        unit.gate.clear()
        key = key_of(fake, unit)
        tasks = []
        for expected in (1, 2, 3):
            tasks.append(asyncio.create_task(space.put(key, expected)))
            await unit.arrived(expected)
        tasks.append(asyncio.create_task(space.put(key, 4)))
        await space.get(key_of(fake, fake.units[1]))
        assert unit.frames == 3
        unit.gate.set()
        await asyncio.gather(*tasks)
        assert unit.streams == 3
