"""What a router holds at the same time, and when it refuses more. Pure, no I/O.

Three bounds, each in frames and in bytes of their requests: in all, of each client, for each unit.
So a client that sends without end leaves room for the others, and so does a unit that does not
answer. A client is a gRPC connection: what a balancer or proxy puts together on one counts as one.
"""

from __future__ import annotations

from tupelo.errors import Overloaded

from tupelo_grid.config import GridConfig


class Held:
    """Frames, and their bytes, of one client, for one unit, or in all."""

    __slots__ = ("bytes", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0

    def add(self, size_bytes: int) -> None:
        self.frames += 1
        self.bytes += size_bytes

    def remove(self, size_bytes: int) -> None:
        self.frames -= 1
        self.bytes -= size_bytes

    def has_room(self, size_bytes: int, frames_max: int, bytes_max: int) -> bool:
        """What is larger than `bytes_max` by itself never fits."""
        return self.frames < frames_max and self.bytes + size_bytes <= bytes_max

    def __str__(self) -> str:
        return f"{self.frames} calls of {self.bytes} bytes"


class Admission:
    """Counts what is held, and raises Overloaded for what is not to be taken.

    Whoever holds nothing is forgotten, so that this is as large as what is held.
    """

    def __init__(self, config: GridConfig) -> None:
        self._config = config
        self.all = Held()
        self.clients: dict[str, Held] = {}
        self.units: dict[str, Held] = {}

    def enter(self, client: str, size_bytes: int) -> None:
        """A frame of a client. Raises Overloaded."""
        config = self._config
        if not self.all.has_room(size_bytes, config.router_frames_max, config.router_bytes_max):
            raise Overloaded(
                f"the router holds {self.all} for all its clients, and this one has {size_bytes}; "
                "send less at a time, or start more routers (router_frames_max, router_bytes_max)"
            )
        own = self.clients.get(client)
        if own is None:
            own = self.clients[client] = Held()
        frames_max, bytes_max = config.router_client_frames_max, config.router_client_bytes_max
        if not own.has_room(size_bytes, frames_max, bytes_max):
            self._forget(self.clients, client)
            raise Overloaded(
                f"the router holds {own} of this client, and this one has {size_bytes}; wait for "
                "answers, or send less at a time (router_client_frames_max, "
                "router_client_bytes_max)"
            )
        self.all.add(size_bytes)
        own.add(size_bytes)

    def leave(self, client: str, size_bytes: int) -> None:
        self.all.remove(size_bytes)
        self.clients[client].remove(size_bytes)
        self._forget(self.clients, client)

    def send(self, address: str, size_bytes: int) -> None:
        """A frame, or a part of one, to a unit. Raises Overloaded."""
        config = self._config
        held = self.units.get(address)
        if held is None:
            held = self.units[address] = Held()
        frames_max, bytes_max = config.router_unit_frames_max, config.router_unit_bytes_max
        if not held.has_room(size_bytes, frames_max, bytes_max):
            self._forget(self.units, address)
            raise Overloaded(
                f"{held} wait for the unit at {address}, which does not keep up; try again "
                "(router_unit_frames_max, router_unit_bytes_max). Other units are not affected"
            )
        held.add(size_bytes)

    def sent(self, address: str, size_bytes: int) -> None:
        """It was answered, or given up."""
        self.units[address].remove(size_bytes)
        self._forget(self.units, address)

    @staticmethod
    def _forget(held: dict[str, Held], name: str) -> None:
        if not held[name].frames:
            del held[name]
