"""What every system under measurement looks like to the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


class NotInstalled(Exception):
    """The system cannot be measured here; the text says why, and is what the report shows."""


@dataclass(frozen=True)
class About:
    """What the numbers of a system are numbers of; shown beside them.

    Attributes:
        version: of server and client.
        replication: how many copies a write is in before it is answered.
        durability: what reaches a disk, and when.
        client: how the client is used.
    """

    version: str
    replication: str
    durability: str
    client: str


class System(Protocol):
    """One server, or cluster of them, with one client in this process.

    The methods for data are coroutines, and any number of tasks calls them at the same time. Keys
    and values are text; what a read gives back is in the client's cheapest form and not looked at,
    but `put` and `put_many` return only when the write is replicated as `about` says.
    """

    about: About

    async def open(self) -> None:
        """Starts the servers on free loopback ports and connects. Raises NotInstalled."""

    async def close(self) -> None:
        """Ends what `open` started, also after it failed half-way."""

    def pids(self) -> list[int]:
        """All server processes, those that only watch or persist as well."""

    def data_pids(self) -> list[int]:
        """Those that hold copies of the data, for the memory of an entry."""

    async def get(self, key: str) -> Any: ...

    async def put(self, key: str, value: str) -> Any: ...

    async def get_many(self, keys: list[str]) -> Any: ...

    async def put_many(self, entries: dict[str, str]) -> Any: ...


@runtime_checkable
class Settles(Protocol):
    """A system that has work left when a write has been answered, such as a store behind it."""

    async def settle(self) -> None:
        """Until nothing is left. Bounded."""


@runtime_checkable
class Blocking(Protocol):
    """A client without coroutines: a thread for each task calls these instead."""

    def blocking_get(self, key: str) -> Any: ...

    def blocking_put(self, key: str, value: str) -> Any: ...


@runtime_checkable
class Collocated(Protocol):
    """A system that can be asked to read ten entries and write them back, in several ways."""

    def ways(self) -> list[str]:
        """Names of the ways, the first being the system's best."""

    async def seed(self, groups: int, each: int) -> None:
        """Puts `groups` groups of `each` accounts there."""

    async def shift(self, way: str, group: int, amount: int) -> Any:
        """Reads all accounts of a group, and writes each back with `amount` more on it."""

    async def total(self, groups: int, each: int) -> int:
        """The sum of all balances, by which lost updates are seen."""
