"""The streams of a client's near caches, and their end."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tupelo._async import links
from tupelo.config import ClientConfig
from tupelo.following import Follower


class EndingStream:
    """Ends in the moment in which its task is cancelled, and says only that; but once a task, so
    that the test can end too."""

    hidden: ClassVar[set[object]] = set()

    async def write(self, request: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task in self.hidden:
                raise
            self.hidden.add(task)
            raise asyncio.InvalidStateError("the RPC has ended") from None

    def cancel(self) -> None:
        """It has ended."""


async def test_a_stream_that_hides_its_cancellation_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "space_stub", lambda channel: SimpleNamespace(Near=EndingStream))
    routes: Any = SimpleNamespace(
        channel=lambda address: None, table=SimpleNamespace(grid_id=b""), chance=lambda: 0.5
    )
    streams = links.Links(routes, ClientConfig(), Follower(1), nullcontext())
    streams.follow(["a:1", "b:2"])
    await asyncio.sleep(0)
    async with asyncio.timeout(5.0):
        await streams.close()
    assert len(EndingStream.hidden) == 2
