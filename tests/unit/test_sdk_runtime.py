"""What the two clients do differently below."""

from __future__ import annotations

import asyncio

import pytest
from tupelo._async import runtime
from tupelo._sync import runtime as sync_runtime
from tupelo.errors import ConnectionLost, RequestError


async def test_a_call_whose_channel_is_closed_does_not_cancel_who_waits_for_it() -> None:
    call: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(runtime.answered(call))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(ConnectionLost, match="the connection was closed"):
        await waiting


def test_a_client_belongs_to_the_loop_that_it_was_opened_on() -> None:
    async def home() -> runtime.Home:
        runtime.check_home(runtime.home())
        return runtime.home()

    async def check(loop: runtime.Home) -> None:
        runtime.check_home(None)  # not opened yet
        with pytest.raises(RequestError, match=r"use tupelo\.sync\.connect"):
            runtime.check_home(loop)

    asyncio.run(check(asyncio.run(home())))
    sync_runtime.check_home(sync_runtime.home())


async def test_who_is_cancelled_stays_so() -> None:
    call: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(runtime.answered(call))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


async def test_an_answer_is_handed_on() -> None:
    call: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    call.set_result(7)
    assert await runtime.answered(call) == 7
    assert sync_runtime.answered(7) == 7


async def test_large_calls_take_turns_in_their_order() -> None:
    turns, made, sent = runtime.Turns(10), [], []

    async def call(name: str, items: int) -> None:
        await turns.take(items)
        made.append(name)
        # What the call has woken runs before the calls of the next turn are made.
        asyncio.get_running_loop().call_soon(lambda: sent.append(list(made)))

    calls = [("a", 4), ("b", 6), ("c", 1), ("d", 50), ("e", 2), ("f", 0)]
    await asyncio.gather(*(call(*one) for one in calls))
    assert made == ["a", "b", "c", "d", "e", "f"]
    assert [len(one) for one in sent] == [2, 2, 3, 4, 6, 6], "ten at a time, or one that has more"


async def test_a_call_that_is_given_up_does_not_hold_up_the_others() -> None:
    turns = runtime.Turns(10)
    calls = [asyncio.create_task(turns.take(10)) for _ in range(4)]
    await asyncio.sleep(0)
    assert [call.done() for call in calls] == [True, False, False, False]
    calls[1].cancel()
    async with asyncio.timeout(5.0):
        await asyncio.wait(calls)
        await turns.take(10)
    assert [call.cancelled() for call in calls] == [False, True, False, False]


def test_threads_take_no_turns() -> None:
    turns = sync_runtime.Turns(1)
    turns.take(5)
    turns.take(5)
