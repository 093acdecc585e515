"""Replication between units of one machine: without TCP where that can be, with it elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial

import pytest
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.transport import local_socket
from tupelo_grid.transport.local_socket import name_of
from tupelo_grid.transport.replication import (
    PeerConnections,
    PeerEvents,
    ReceiverProtocol,
    serve_local_replication,
    serve_replication,
)

GRID = b"grid of sockets!"
PEER = "b#1"
# A frame of bulk writes, larger than any buffer of a socket.
LARGE = b"x" * (6 * 1024 * 1024)
FRAME_BYTES_MAX = 16 * 1024 * 1024


class Pair:
    """A sender's connections, and a receiver that acknowledges what it gets."""

    def __init__(self) -> None:
        self.address = "127.0.0.1:1"
        self.servers: list[asyncio.AbstractServer] = []
        self.incoming: set[ReceiverProtocol] = set()
        self.received: asyncio.Queue[Frame] = asyncio.Queue()
        self.acks: asyncio.Queue[Ack] = asyncio.Queue()
        self.ups: asyncio.Queue[str] = asyncio.Queue()
        self.made = partial(ReceiverProtocol, GRID, self.receive, FRAME_BYTES_MAX, self.incoming)
        events = PeerEvents(
            up=self.ups.put_nowait,
            down=lambda peer: None,
            blocked=lambda peer, blocked: None,
            acknowledged=self.acks.put_nowait,
            frame_bytes_max=FRAME_BYTES_MAX,
        )
        self.peers = PeerConnections(GRID, lambda peer: (name_of(GRID, peer), self.address), events)

    async def listen_here(self) -> None:
        server = await serve_local_replication(name_of(GRID, PEER), self.made)
        assert server is not None
        self.servers.append(server)

    async def listen_by_tcp(self) -> None:
        server = await serve_replication("127.0.0.1", self.made)
        self.servers.append(server)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def receive(self, frame: Frame, answer: Callable[[Ack], None]) -> None:
        self.received.put_nowait(frame)
        answer(Ack(frame.receiver, frame.sender, frame.stream_id, frame.position))

    def families(self) -> set[int]:
        transports = [one.transport for one in self.incoming if one.transport is not None]
        return {one.get_extra_info("socket").family for one in transports}

    async def exchange(self, value: bytes = b"v") -> None:
        """Connects if need be, and has a few frames acknowledged."""
        self.peers.want({PEER})
        async with asyncio.timeout(10.0):
            await self.ups.get()
            for position in (1, 2, 3):
                record = (1, 7, position, 0, None, "s", b"k", value, 0)
                sent = Frame("a#1", PEER, 1, position, [0], [1], [position], [record])
                self.peers.send(sent)
                assert await self.received.get() == sent
                assert (await self.acks.get()).position == position


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    yield made
    for server in made.servers:
        server.close()
    await made.peers.close()


async def test_units_of_one_machine_meet_without_tcp(pair: Pair) -> None:
    await pair.listen_here()
    await pair.exchange(LARGE)
    assert pair.families() == {socket.AF_UNIX}


async def test_where_nobody_listens_they_meet_by_tcp(pair: Pair) -> None:
    await pair.listen_by_tcp()
    await pair.exchange()
    assert pair.families() == {socket.AF_INET}


async def test_a_connection_that_broke_is_made_again_the_way_there_is(pair: Pair) -> None:
    await pair.listen_here()
    await pair.exchange()
    await pair.listen_by_tcp()
    pair.servers[0].close()
    for one in list(pair.incoming):
        one.close()
    await pair.exchange()
    assert socket.AF_INET in pair.families()


async def test_a_name_is_taken_once_and_freed_with_its_listener() -> None:
    name = name_of(GRID, "c#1")
    first = local_socket.listen(name)
    assert first is not None
    with closing(first):
        assert local_socket.listen(name) is None
        reached = local_socket.connect(name)
        assert reached is not None
        reached.close()
    assert local_socket.connect(name) is None
    assert local_socket.listen("\0" + "x" * 200) is None, "too long for the system"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_socket, "_SUPPORTED", False)


@pytest.mark.usefixtures("elsewhere")
async def test_other_systems_have_tcp_alone() -> None:
    name = name_of(GRID, PEER)
    assert local_socket.connect(name) is None
    assert await serve_local_replication(name, Pair().made) is None
