"""Replication over real connections goes on after one broke, however much was written meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tupelo_grid.core import batch as kinds
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.table import Lease, PartitionConfig, Versioned
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.clock import MachineClock
from tupelo_grid.transport.replication import (
    PeerConnections,
    PeerEvents,
    ReceiverProtocol,
    serve_replication,
)

from tests.pause import pause
from tests.unit.test_core_unit import SPACES, CountingCommands, one

GRID = b"g" * 16
VALUE = b"x" * (4 * 1024 * 1024)
PARTITIONS = 6
FRAME_BYTES_MAX = 10 * 1024 * 1024


class Node:
    """As much of a processing unit as replication needs."""

    def __init__(self, name: str) -> None:
        limits = Limits(silent_backup_s=1.0, heartbeat_s=0.05)
        self.unit = Unit(name, MachineClock(), limits, CountingCommands(), SPACES)
        self.addresses: dict[str, str] = {}
        self.incoming: set[ReceiverProtocol] = set()
        self.ups = 0

    async def start(self) -> str:
        made = partial(ReceiverProtocol, GRID, self.receive, FRAME_BYTES_MAX, self.incoming)
        self.server = await serve_replication("127.0.0.1", made)
        events = PeerEvents(self.up, self.down, self.blocked, self.acknowledged, FRAME_BYTES_MAX)
        self.peers = PeerConnections(GRID, lambda peer: ("", self.addresses[peer]), events)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self.server.close()
        await self.peers.close()

    def flush(self) -> None:
        for frame in self.unit.flush():
            self.peers.send(frame)

    def receive(self, frame: Frame, answer: Callable[[Ack], None]) -> None:
        ack = self.unit.receive(frame)
        if ack is not None:
            answer(ack)
        self.flush()

    def acknowledged(self, ack: Ack) -> None:
        self.unit.acknowledged(ack)
        self.flush()

    def up(self, peer: str) -> None:
        self.ups += 1
        self.unit.link_up(peer)
        self.flush()

    def down(self, peer: str) -> None:
        self.unit.link_down(peer)
        self.flush()

    def blocked(self, peer: str, blocked: bool) -> None:
        self.unit.links[peer].blocked = blocked

    def tick(self) -> None:
        self.unit.renewed(time.monotonic() + 3)
        self.unit.tick()
        self.peers.want(self.unit.peers_wanted)
        self.flush()


async def until(nodes: list[Node], condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end and not condition():
        for node in nodes:
            node.tick()
        await pause(0.01)
    return condition()


async def test_more_than_one_frame_holds_is_sent_in_several() -> None:
    a, b = nodes = [Node("a#1"), Node("b#2")]
    b.addresses["a#1"], a.addresses["b#2"] = await a.start(), await b.start()
    config = PartitionConfig(1, "a#1", ("a#1", "b#2"))
    for node in nodes:
        node.unit.renewed(time.monotonic() + 3)
        node.unit.set_leases({n: Lease(n[0], "", "", "n") for n in ("a#1", "b#2")})
        node.unit.set_table({number: Versioned(config, 1) for number in range(PARTITIONS)})
    try:
        assert await until(nodes, lambda: len(a.unit.serving) == PARTITIONS)
        before = a.ups
        for connection in list(b.incoming):
            connection.close()
        waiting = [
            a.unit.submit(one(kinds.PUT, number, value=VALUE, op=1)) for number in range(PARTITIONS)
        ]
        assert await until(nodes, lambda: all(pending.done for pending in waiting))
        assert a.ups == before + 1, "no frame was too large for the other side"
    finally:
        for node in nodes:
            await node.close()
