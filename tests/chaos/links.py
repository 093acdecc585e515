"""The network between processes, as a proxy of TCP that can hold back, delay and break.

Every unit reaches every other, and control, by a port of ours (the grid's setting `via`). What one
process sends to another passes a gate of that direction, whoever opened the connection:

    links.gate("unit-1", "unit-2").close()      # held back from now on, delivered when opened again
    links.gate("unit-1", "control").delay_s = 0.1
    links.refuse("unit-1", "unit-2")            # connections are reset, new ones as well

Bytes that are held back come late, in order, or never when their connection ends: just what TCP
makes of a network that is cut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tests.chaos.network import AddressOf, Pair, Wiring

HELD_BYTES_MAX: Final = 64 * 1024 * 1024


class Gate:
    """One direction between two processes."""

    def __init__(self) -> None:
        self.is_open = True
        self.refuses = False
        self.delay_s = 0.0
        self.pipes: set[Pipe] = set()

    def close(self) -> None:
        self.is_open = False

    def open(self) -> None:
        self.is_open, self.refuses, self.delay_s = True, False, 0.0
        for pipe in list(self.pipes):
            pipe.flush()

    def reset(self) -> None:
        """Breaks what is there and refuses what comes, until opened."""
        self.refuses = True
        for pipe in list(self.pipes):
            pipe.abort()


class Pipe:
    """What one end of a connection sends to the other."""

    def __init__(self, gate: Gate, abort: Callable[[], None]) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._ended = False
        self.abort = abort
        self.target: asyncio.Transport | None = None
        gate.pipes.add(self)

    def push(self, data: bytes) -> None:
        gate = self._gate
        if self.target is not None and gate.is_open and not gate.delay_s and not self._held:
            self._write(data)
            return
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX:
            self.abort()
            return
        self._held.append((self._loop.time() + gate.delay_s, data))
        if gate.is_open:
            self._loop.call_later(gate.delay_s, self.flush)

    def end(self) -> None:
        """The sender is gone; the receiver hears of it after what was sent before."""
        self._ended = True
        self.flush()

    def flush(self) -> None:
        """Delivers what is due."""
        if not self._gate.is_open or self.target is None:
            return
        now = self._loop.time()
        while self._held and self._held[0][0] <= now + 0.001:
            _, data = self._held.popleft()
            self._held_bytes -= len(data)
            self._write(data)
        if self._held:
            self._loop.call_later(self._held[0][0] - now, self.flush)
        elif self._ended:
            self.target.close()

    def _write(self, data: bytes) -> None:
        if self.target is not None and not self.target.is_closing():
            self.target.write(data)

    def forget(self) -> None:
        self._gate.pipes.discard(self)


class End(asyncio.Protocol):
    """One end of a proxied connection: what it hears goes into `pipe`."""

    def __init__(self, pipe: Pipe, lost: Callable[[], None]) -> None:
        self._pipe = pipe
        self._lost = lost

    def data_received(self, data: bytes) -> None:
        self._pipe.push(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._pipe.end()
        self._lost()


class Proxied:
    """One connection, opened by `pair[0]` to `pair[1]`."""

    def __init__(self, links: Links, pair: Pair) -> None:
        self._links = links
        self._pair = pair
        self._transports: list[asyncio.Transport] = []
        sender, receiver = pair
        self._there = Pipe(links.gate(sender, receiver), self.abort)
        self._back = Pipe(links.gate(receiver, sender), self.abort)
        self._open_ends = 1

    def accepted(self) -> asyncio.Protocol:
        return _Accepted(self._there, self._lost, self)

    def made(self, transport: asyncio.Transport) -> None:
        self._transports.append(transport)
        self._back.target = transport
        if self._links.gate(*self._pair).refuses:
            self.abort()
            return
        self._links.tasks.add(task := asyncio.create_task(self._connect()))
        task.add_done_callback(self._links.tasks.discard)

    async def _connect(self) -> None:
        host, _, port = self._links.address_of(self._pair[1]).rpartition(":")
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: End(self._back, self._lost), host, int(port or 0)
            )
        except (OSError, ValueError):
            self.abort()
            return
        self._open_ends += 1
        self._transports.append(transport)
        self._there.target = transport
        self._there.flush()

    def abort(self) -> None:
        for transport in self._transports:
            transport.abort()

    def _lost(self) -> None:
        self._open_ends -= 1
        if not self._open_ends:
            self._there.forget()
            self._back.forget()


class _Accepted(End):
    def __init__(self, pipe: Pipe, lost: Callable[[], None], proxied: Proxied) -> None:
        super().__init__(pipe, lost)
        self._proxied = proxied

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._proxied.made(transport)  # type: ignore[arg-type]


class Links:
    """All of a grid's. `address_of(name)`: where a process listens now, "" for nowhere."""

    def __init__(self, address_of: Callable[[str], str]) -> None:
        self.address_of = address_of
        self.via: dict[str, str] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._gates: dict[Pair, Gate] = {}
        self._servers: list[asyncio.Server] = []

    def gate(self, sender: str, receiver: str) -> Gate:
        return self._gates.setdefault((sender, receiver), Gate())

    async def listen(self, units: Iterable[str]) -> None:
        """A port for every unit on its way to each other unit and to control."""
        names = list(units)
        loop = asyncio.get_running_loop()
        for sender in names:
            for receiver in (*names, "control"):
                if sender != receiver:
                    pair = (sender, receiver)
                    server = await loop.create_server(
                        lambda pair=pair: Proxied(self, pair).accepted(), "127.0.0.1", 0
                    )
                    self._servers.append(server)
                    port = server.sockets[0].getsockname()[1]
                    self.via[f"{sender}>{receiver}"] = f"127.0.0.1:{port}"

    def heal(self) -> None:
        for gate in self._gates.values():
            gate.open()

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for gate in self._gates.values():
            for pipe in list(gate.pipes):
                pipe.abort()
        for task in list(self.tasks):
            task.cancel()


class Proxy:
    """A grid's network made of `Links`."""

    kind = "proxy"

    def __init__(self) -> None:
        self._links = Links(lambda name: "")

    async def open(self, units: Sequence[str], address_of: AddressOf) -> Wiring:
        self._links.address_of = address_of
        await self._links.listen(units)
        return Wiring(via=dict(self._links.via))

    async def close(self) -> None:
        await self._links.close()

    async def cut(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self._links.gate(*pair).close()

    async def reset(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self._links.gate(*pair).reset()

    async def delay(self, pairs: Iterable[Pair], seconds: float) -> None:
        for pair in pairs:
            self._links.gate(*pair).delay_s = seconds

    async def heal(self) -> None:
        self._links.heal()
