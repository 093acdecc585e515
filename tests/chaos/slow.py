"""Delays of packets, where the kernel has no netem: a wire of our own in between.

The unit's end leaves the bridge; a pair of links takes its place, and what arrives at either end is
carried to the other: at once, or after the delay where it goes between the unit and one of the
addresses that are meant. Checksums and segments travel as the kernel left them (PACKET_VNET_HDR).
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections import deque
from typing import Final

ETH_P_ALL: Final = 3
SOL_PACKET: Final = 263
PACKET_VNET_HDR: Final = 15
PACKET_OUTGOING: Final = 4
HEADER: Final = 10
FRAME_BYTES_MAX: Final = 80_000
FRAMES_MAX: Final = 20_000
READS_MAX: Final = 64
RECEIVE_BYTES: Final = 8 * 1024 * 1024
COMMAND_S: Final = 20.0


class Slowed:
    """`link`: the end of the unit's pair of links that lies in the bridge, which has `mark`."""

    def __init__(self, link: str, mark: str, others: frozenset[str], seconds: float) -> None:
        self._link = link
        self._bridge = mark
        self._own = link.replace(f"{mark}v", f"{mark}s")
        self._others = {socket.inet_aton(address) for address in others}
        self._seconds = seconds
        self._sockets: list[socket.socket] = []
        self._held: deque[tuple[float, socket.socket, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        await asyncio.to_thread(self._rewire)
        unit, rest = self._sockets = [_raw(self._link), _raw(self._own)]
        loop = asyncio.get_running_loop()
        loop.add_reader(unit.fileno(), self._carry, unit, rest)
        loop.add_reader(rest.fileno(), self._carry, rest, unit)

    def _rewire(self) -> None:
        pair = (self._own, "type", "veth", "peer", "name", f"{self._own}b")
        _ip("link", "add", *pair)
        _ip("link", "set", f"{self._own}b", "master", self._bridge, "up")
        _ip("link", "set", self._own, "up")
        _ip("link", "set", self._link, "nomaster")

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(READS_MAX):
            try:
                frame, address = source.recvfrom(FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            if address[2] == PACKET_OUTGOING:
                continue  # our own, on its way out
            ethernet = frame[HEADER:]
            if ethernet[12:14] == b"\x08\x00" and (
                ethernet[26:30] in self._others or ethernet[30:34] in self._others
            ):
                if len(self._held) < FRAMES_MAX:
                    self._held.append((loop.time() + self._seconds, target, frame))
                if self._timer is None:
                    self._timer = loop.call_later(self._seconds, self._deliver)
            else:
                _send(target, frame)

    def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._held and self._held[0][0] <= loop.time() + 0.0005:
            _, target, frame = self._held.popleft()
            _send(target, frame)
        if self._held:
            self._timer = loop.call_at(self._held[0][0], self._deliver)

    def close(self) -> None:
        """Back into the bridge; what is still held arrives now."""
        if self._timer is not None:
            self._timer.cancel()
        for _, target, frame in self._held:
            _send(target, frame)
        self._held.clear()
        _ip("link", "set", self._link, "master", self._bridge)
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            loop.remove_reader(one.fileno())
            one.close()
        self._sockets.clear()
        _ip("link", "del", self._own)


def _raw(link: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    one.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    one.setblocking(False)
    one.bind((link, 0))
    return one


def _send(target: socket.socket, frame: bytes) -> None:
    try:
        target.send(frame)
    except OSError:
        return  # a packet that is lost: TCP sends it again


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True, timeout=COMMAND_S)
