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
