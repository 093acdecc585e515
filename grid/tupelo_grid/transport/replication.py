"""Replication streams: protobuf frames behind a length of 4 bytes, acknowledgements back.

Not gRPC: a message costs 7 us here and 50-60 us there, and replication has nothing to negotiate. A
unit opens one connection to each unit that holds backups of its partitions, by TCP or, on the same
machine, by a Unix socket; frames go out on it, acknowledgements come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from google.protobuf.message import DecodeError

from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.transport import local_socket
from tupelo_grid.transport.replication_codec import (
    AckReader,
    AckWriter,
    BadFrame,
    FrameReader,
    FrameWriter,
)

log = logging.getLogger(__name__)

LENGTH_BYTES: Final = 4
WRITE_BUFFER_BYTES_MAX: Final = 8 * 1024 * 1024
CONNECT_TIMEOUT_S: Final = 1.0
RECONNECT_S_MIN: Final = 0.05
RECONNECT_S_MAX: Final = 0.5

Way = tuple[str, str]
"""The name of a peer's local socket, "" for none, and its address ("host:port")."""
Receive = Callable[[Frame, Callable[[Ack], None]], None]
"""Takes a frame in, and calls what it was given with the acknowledgement, if there is one."""


class FrameProtocol(asyncio.Protocol):
    """Cuts a byte stream into frames.

    `frame_bytes_max` bounds what a peer can make us hold. `received` is called with each frame's
    body; it raises BadFrame or DecodeError to have the connection closed.
    """

    def __init__(self, frame_bytes_max: int, received: Callable[[bytes], None]) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._received = received
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the class.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start, held = 0, len(buffer)
        try:
            while held - start >= LENGTH_BYTES:
                length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
                if length > self._frame_bytes_max:
                    raise BadFrame(f"a frame of {length} bytes; at most {self._frame_bytes_max}")
                end = start + LENGTH_BYTES + length
                if end > held:
                    break
                self._received(bytes(memoryview(buffer)[start + LENGTH_BYTES : end]))
                start = end
        except (BadFrame, DecodeError) as error:
            log.warning("a replication connection is closed for a bad frame: %s", error)
            self.close()
            return
        del buffer[:start]

    def send(self, body: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class ReceiverProtocol(FrameProtocol):
    """The backup's side: hands frames to `receive`, with the way to answer them."""

    def __init__(
        self,
        grid_id: bytes,
        receive: Receive,
        frame_bytes_max: int,
        connections: set[ReceiverProtocol],
    ) -> None:
        super().__init__(frame_bytes_max, self._frame)
        self._frames = FrameReader(grid_id)
        self._acks = AckWriter(grid_id)
        self._receive = receive
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)

    def _frame(self, body: bytes) -> None:
        self._receive(self._frames.read(body), self._answer)

    def _answer(self, ack: Ack) -> None:
        self.send(self._acks.write(ack))


class SenderProtocol(FrameProtocol):
    """The primary's side of one connection."""

    def __init__(self, owner: PeerConnection, frame_bytes_max: int) -> None:
        super().__init__(frame_bytes_max, self._frame)
        self._frames = FrameWriter(owner.grid_id)
        self._acks = AckReader(owner.grid_id)
        self._owner = owner

    def send_frame(self, frame: Frame) -> None:
        self.send(self._frames.write(frame))

    def _frame(self, body: bytes) -> None:
        self._owner.acknowledged(self._acks.read(body))

    def pause_writing(self) -> None:
        self._owner.blocked(True)

    def resume_writing(self) -> None:
        self._owner.blocked(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.lost.set()


class PeerConnection:
    """Keeps a connection to one peer, opening it again whenever it breaks, until closed."""

    def __init__(
        self, peer: str, way: Callable[[], Way], grid_id: bytes, events: PeerEvents
    ) -> None:
        self.peer = peer
        self.grid_id = grid_id
        self.lost = asyncio.Event()
        self._way = way
        self._events = events
        self._protocol: SenderProtocol | None = None
        self._task = asyncio.create_task(self._run(), name=f"replication to {peer}")

    def send(self, frame: Frame) -> None:
        if self._protocol is not None:
            self._protocol.send_frame(frame)

    def acknowledged(self, ack: Ack) -> None:
        self._events.acknowledged(ack)

    def blocked(self, blocked: bool) -> None:
        self._events.blocked(self.peer, blocked)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause_s = RECONNECT_S_MIN
        while True:
            self.lost.clear()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    protocol = await self._connect()
            except (OSError, ValueError) as error:
                log.debug("no replication connection to %s: %s", self.peer, error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RECONNECT_S_MAX)
                continue
            pause_s = RECONNECT_S_MIN
            self._protocol = protocol
            self._events.up(self.peer)
            try:
                await self.lost.wait()
            finally:
                self._protocol = None
                protocol.close()
                self._events.down(self.peer)

    async def _connect(self) -> SenderProtocol:
        loop = asyncio.get_running_loop()
        name, address = self._way()
        local = local_socket.connect(name) if name else None
        if local is not None:
            return (await loop.create_unix_connection(self._protocol_of, sock=local))[1]
        host, _, port = address.rpartition(":")
        return (await loop.create_connection(self._protocol_of, host, int(port or 0)))[1]

    def _protocol_of(self) -> SenderProtocol:
        return SenderProtocol(self, self._events.frame_bytes_max)


class PeerEvents:
    """What connections tell their unit."""

    def __init__(
        self,
        up: Callable[[str], None],
        down: Callable[[str], None],
        blocked: Callable[[str, bool], None],
        acknowledged: Callable[[Ack], None],
        frame_bytes_max: int,
    ) -> None:
        self.up = up
        self.down = down
        self.blocked = blocked
        self.acknowledged = acknowledged
        self.frame_bytes_max = frame_bytes_max


class PeerConnections:
    """The connections a unit wants at the moment."""

    def __init__(self, grid_id: bytes, ways: Callable[[str], Way], events: PeerEvents) -> None:
        self._grid_id = grid_id
        self._ways = ways
        self._events = events
        self._open: dict[str, PeerConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def want(self, peers: set[str]) -> None:
        """Opens connections to new peers and closes those to others."""
        for peer in sorted(peers - self._open.keys()):
            way = partial(self._ways, peer)
            self._open[peer] = PeerConnection(peer, way, self._grid_id, self._events)
        for peer in [peer for peer in self._open if peer not in peers]:
            task = asyncio.create_task(self._open.pop(peer).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def send(self, frame: Frame) -> None:
        connection = self._open.get(frame.receiver)
        if connection is not None:
            connection.send(frame)

    async def close(self) -> None:
        self.want(set())
        while self._closing:
            await asyncio.wait(self._closing)


Made = Callable[[], ReceiverProtocol]


async def serve_replication(host: str, made: Made) -> asyncio.Server:
    """Listens on a port the system picks. `made`: the protocol of each connection."""
    return await asyncio.get_running_loop().create_server(made, host, 0)


async def serve_local_replication(name: str, made: Made) -> asyncio.AbstractServer | None:
    """Listens for processes of this machine; None where that cannot be."""
    local = local_socket.listen(name)
    if local is None:
        return None
    return await asyncio.get_running_loop().create_unix_server(made, sock=local)
