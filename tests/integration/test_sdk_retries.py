"""Budgets, bounds and sessions of the async client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import tupelo
from tupelo import ClientConfig, Grid
from tupelo.errors import NotReady, OutcomeUnknown, Overloaded, ResultCode, SessionExpired
from tupelo.session import session_id

from tests.fake_grid import FakeGrid, grids
from tests.faults import QUICK, key_of, set_fault


@pytest.fixture
async def fake() -> AsyncIterator[FakeGrid]:
    async for grid in grids():
        yield grid


@pytest.fixture
async def grid(fake: FakeGrid) -> AsyncIterator[Grid]:
    async with tupelo.connect(fake.seed, config=QUICK) as connected:
        yield connected


async def test_a_code_that_stays_is_raised_at_the_deadline(
    fake: FakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts at 0, 0.4 and 0.92 s; the next would be too late. So none is under way at the
    deadline, whose outcome would rightly be unknown."""
    monkeypatch.setattr("tupelo._async.runtime.chance", lambda: 0.999)
    config = ClientConfig(backoff_base_s=0.4, backoff_max_s=10.0)
    set_fault(fake, 10**9, ResultCode.NOT_READY)
    async with tupelo.connect(fake.seed, config=config) as grid:
        with pytest.raises(NotReady, match="injected 17; the time of the call ran out after 3"):
            await grid.space("default").put("a", 1, timeout_s=1.5)


async def test_the_budget_bounds_the_retries(fake: FakeGrid) -> None:
    config = ClientConfig(
        backoff_base_s=0.001, backoff_max_s=0.002, retry_burst=50, retry_ratio=0.1, retry_per_s=1
    )
    set_fault(fake, 10**9, ResultCode.OVERLOADED)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        results = await asyncio.gather(
            *(space.put(f"key-{n}", n) for n in range(200)), return_exceptions=True
        )
    assert all(isinstance(error, Overloaded) for error in results)
    assert any("budget is spent" in str(error) for error in results)
    assert sum(unit.operations for unit in fake.units) <= 200 + 50 + 20 + 15


async def test_too_many_waiting_calls_are_overload(fake: FakeGrid) -> None:
    config = ClientConfig(queue_ops_max=10, frame_ops_max=10)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        results = await asyncio.gather(
            *(space.put("same key", n) for n in range(50)), return_exceptions=True
        )
    refused = [error for error in results if isinstance(error, Overloaded)]
    assert len(refused) == 40
    assert "queue_ops_max" in str(refused[0])


async def test_a_forgotten_session_is_followed_by_another(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    await space.put("a", 1)
    old = next(batch.session for unit in fake.units for batch in unit.batches)
    fake.sessions_above = old + 1_000_000_000_000
    await asyncio.gather(*(space.put(f"key-{n}", n) for n in range(50)))
    await space.put_many({f"bulk-{n}": n for n in range(50)})
    sessions = {batch.session for unit in fake.units for batch in unit.batches}
    assert len(sessions) == 2
    assert max(sessions) > fake.sessions_above
    assert len(fake.entries()) == 101


async def test_who_tells_no_table_does_not_hold_calls_beyond_their_time(fake: FakeGrid) -> None:
    """Nor those that wait for another's round of questions."""
    config = ClientConfig(route_timeout_s=3600.0)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        await space.put("a", 1)
        set_fault(fake, 1000, ResultCode.WRONG_OWNER)
        fake.route_gate.clear()
        async with asyncio.timeout(60.0):
            ended = await asyncio.gather(
                space.put("a", 2, timeout_s=0.2),
                space.put("b", 2, timeout_s=0.3),
                space.put_many({"c": 2}, timeout_s=0.2),
                return_exceptions=True,
            )
        assert all(isinstance(error, tupelo.errors.TupeloError) for error in ended), ended
        fake.route_gate.set()


def put_from_a_thread(seed: str) -> None:
    with tupelo.sync.connect(seed) as grid:
        grid.space("default").put("b", 2)


async def test_sessions_are_dated_by_the_grid(fake: FakeGrid) -> None:
    """A client whose clock is ahead would seem to come after what a grid was loaded with."""
    fake.time_ms = 1_000_000_000_000
    async with tupelo.connect(fake.seed) as grid:
        await grid.space("default").put("a", 1)
    await asyncio.to_thread(put_from_a_thread, fake.seed)
    sessions = {batch.session for unit in fake.units for batch in unit.batches}
    assert len(sessions) == 2
    for session in sessions:
        assert session_id(fake.time_ms, 0) <= session < session_id(fake.time_ms + 60_000, 0)


async def test_a_forgotten_session_leaves_an_uncertain_write_unknown(
    fake: FakeGrid, grid: Grid
) -> None:
    space = grid.space("default")

    def forget(request: Any) -> None:
        fake.sessions_above = request.batches[0].session

    def drop_then_forget(request: Any) -> str:
        for unit in fake.units:
            unit.fault = forget
        return "drop"

    for unit in fake.units:
        unit.fault = drop_then_forget
    with pytest.raises(OutcomeUnknown):
        await space.put("a", 1)
    assert fake.most_applications() == 1
    assert not issubclass(OutcomeUnknown, SessionExpired)


async def test_a_full_window_goes_on_under_another_session(fake: FakeGrid) -> None:
    config = ClientConfig(session_window=64, frame_ops_max=64)
    fake.session_window = 64
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        stuck_at = fake.units[1]
        stuck_at.gate.clear()
        stuck = asyncio.create_task(space.put(key_of(fake, stuck_at), "stuck"))
        await stuck_at.arrived(1)
        other = key_of(fake, fake.units[0])
        for number in range(200):
            await space.put(other, number)
        stuck_at.gate.set()
        await stuck
    assert len({batch.session for unit in fake.units for batch in unit.batches}) == 2
    assert fake.most_applications() == 1
