"""What an arrival does, for the asyncio drivers. Its first call counts from its intended start."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar

import grpc.aio
from tupelo import Space
from tupelo.errors import TupeloError

from loadtest.customers import BUY_SHARE, RELEASE_SHARE, SEATS_WANTED, Popularity
from loadtest.recorder import Recorder
from loadtest.sale import TAKEN, Sale

R = TypeVar("R")

VISIT_SHARE: Final = 0.4
"""Of the customers; the others only look. As the weights of locustfile.py's tasks."""
UPDATE_SHARES: Final = {"ycsb-a": 0.5, "ycsb-b": 0.05}
"""Of YCSB's workloads; the rest are reads."""
ZIPF: Final = 0.99
SPACE: Final = "ycsb"
VALUE: Final = "x" * 100
FAILURES: Final = (TupeloError, grpc.aio.AioRpcError, TimeoutError)


class Mix(Protocol):
    async def arrive(self, due_s: float) -> None:
        """One arrival, meant to start at `due_s` of perf_counter. Records its calls, never
        raises what a call may fail with."""


class Customers:
    """The airline's: all look at a seat map; VISIT_SHARE mean to buy, as in customers.py.

    `purchases` are those that were acknowledged: (flight, number, customer).
    """

    def __init__(
        self, sale: Sale, popularity: Popularity, recorder: Recorder, name: str, seed: int
    ) -> None:
        """`name` must not be another driver's."""
        self._sale = sale
        self._popularity = popularity
        self._recorder = recorder
        self._name = name
        self._chance = random.Random(seed)
        self._arrived = 0
        self.purchases: list[tuple[str, int, str]] = []

    async def arrive(self, due_s: float) -> None:
        chance, sale = self._chance, self._sale
        self._arrived += 1
        customer = f"{self._name}-{self._arrived}"
        flight = self._popularity.draw(chance)
        seen = await self._call("seat_map", due_s, sale.seat_map(flight))
        if chance.random() >= VISIT_SHARE or seen is None or not seen.free:
            return
        number = chance.choice(seen.free[:SEATS_WANTED])
        place = (flight, number, customer)
        if await self._call("hold", perf_counter(), sale.hold(*place)) is None:
            return
        mood = chance.random()
        if mood < BUY_SHARE:
            if await self._call("buy", perf_counter(), sale.buy(*place)) is not None:
                self.purchases.append(place)
        elif mood < BUY_SHARE + RELEASE_SHARE:
            await self._call("release", perf_counter(), sale.release(*place))

    async def _call(self, name: str, since_s: float, call: Awaitable[R]) -> R | None:
        try:
            result = await call
        except TAKEN:
            self._recorder.add(f"{name} (taken)", since_s)
            return None
        except FAILURES as error:
            self._recorder.add_failed(name, since_s, describe(error))
            return None
        self._recorder.add(name, since_s)
        return result


class Ycsb:
    """YCSB's reads and updates of whole values; keys by a scrambled Zipf."""

    def __init__(
        self, space: Space[Any], entries: int, update_share: float, recorder: Recorder, seed: int
    ) -> None:
        self._space = space
        self._update_share = update_share
        self._draw = Zipf(entries, ZIPF).draw
        self._entries = entries
        self._recorder = recorder
        self._chance = random.Random(seed)

    async def arrive(self, due_s: float) -> None:
        chance = self._chance.random
        key = key_of(scrambled(self._draw(chance()), self._entries))
        name = "update" if chance() < self._update_share else "read"
        try:
            if name == "update":
                await self._space.put(key, VALUE)
            else:
                await self._space.get(key)
        except FAILURES as error:
            self._recorder.add_failed(name, due_s, describe(error))
        else:
            self._recorder.add(name, due_s)


class Zipf:
    """Ranks from 0, by YCSB's generator (Gray et al., "Quickly generating billion-record synthetic
    databases", 1994): constant time each, and one sum over all ranks at the beginning."""

    def __init__(self, ranks: int, theta: float) -> None:
        if ranks < 2 or not 0 < theta < 1:
            raise ValueError("a Zipf needs two ranks or more, and a theta between 0 and 1")
        self._ranks = ranks
        zeta = sum(1 / rank**theta for rank in range(1, ranks + 1))
        self._alpha = 1 / (1 - theta)
        self._eta = (1 - (2 / ranks) ** (1 - theta)) / (1 - (1 + 0.5**theta) / zeta)
        self._first = 1 / zeta
        self._second = (1 + 0.5**theta) / zeta

    def draw(self, chance: float) -> int:
        """`chance`: from 0 to below 1."""
        if chance < self._first:
            return 0
        if chance < self._second:
            return 1
        rank = int(self._ranks * (self._eta * chance - self._eta + 1) ** self._alpha)
        return min(rank, self._ranks - 1)


def scrambled(rank: int, entries: int) -> int:
    """Spreads popular ranks over the keys, one to one (a prime step around the ring of keys)."""
    return rank * 2_654_435_761 % entries


def key_of(number: int) -> str:
    return f"user{number:010d}"


def describe(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name
    return type(error).__name__
