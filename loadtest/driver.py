"""A process that makes load in asyncio, for a locust worker: an open loop of arrivals.

    python -m loadtest.driver       spoken to in JSON lines; see Setup and Order in plan.py

A few hundred virtual users take arrivals as they come due and run them one after another each; an
arrival that no user is free for waits, and its latency counts from when it was meant to start. So
many requests at most are in flight. Reports go out a few times a second as JSON lines.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, Final

import msgspec
import tupelo
import uvloop

from loadtest.airline_package import schedule as airline_schedule
from loadtest.customers import Popularity
from loadtest.database.client import DatabaseSale
from loadtest.mixes import SPACE, UPDATE_SHARES, Customers, Mix, Ycsb
from loadtest.plan import IDLE, Order, Setup
from loadtest.recorder import Recorder
from loadtest.reports import UNSERVED
from loadtest.sale import GridSale
from loadtest.schedule import Schedule
from loadtest.ticks import ticking

TICK_S: Final = 0.001
REPORT_S: Final = 0.25
UNSERVED_S: Final = 0.1
"""What has waited for less when a step ends is cut off by its end, like calls on their way."""


class Driver:
    def __init__(self, mix: Mix, recorder: Recorder, users: int, seed: int, out: BinaryIO) -> None:
        self._mix = mix
        self._recorder = recorder
        self._users = users
        self._out = out
        self._chance = random.Random(seed)
        self._rate = 0.0
        self._schedule = Schedule(0.0, perf_counter())
        self._idle: deque[asyncio.Future[float]] = deque()
        self._step = IDLE
        self._overload = False
        self._settled_at = 0.0
        self._began = time.time()

    async def run(self, orders: asyncio.StreamReader) -> None:
        decoder = msgspec.json.Decoder(Order)
        users = [asyncio.create_task(self._user()) for _ in range(self._users)]
        users.append(asyncio.create_task(self._reports()))
        # Whole ticks of the clock, so that every schedule of this driver can begin on one.
        with ticking(TICK_S, self._tick_after(perf_counter()), self._tick):
            while line := await orders.readline():
                self._obey(decoder.decode(line))
        self._report()
        for task in users:
            task.cancel()
        for ended in await asyncio.gather(*users, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def _obey(self, order: Order) -> None:
        """A new rate is a new schedule; what waits by the old one has failed."""
        now = perf_counter()
        if not self._overload and self._step != IDLE and time.time() >= self._settled_at:
            for due in self._schedule.rest(now - UNSERVED_S):
                self._recorder.add_failed(UNSERVED, due, UNSERVED)
        if order.step is not None:
            self._report()
            self._step, self._overload = order.step, order.overload
            self._settled_at = time.time() + order.settle_s
        self._rate = self._rate if order.rate is None else order.rate
        self._schedule = Schedule(self._rate, self._tick_after(now), self._chance, TICK_S)

    @staticmethod
    def _tick_after(now: float) -> float:
        return (int(now / TICK_S) + 1) * TICK_S

    def _tick(self, missed: int) -> None:
        """Gives what is due to users who have nothing to do."""
        now = perf_counter()
        late = int((missed * TICK_S + now % TICK_S) * 1e6)
        self._recorder.late_us = max(self._recorder.late_us, late)
        idle, schedule = self._idle, self._schedule
        while idle and (due := schedule.take(now)) is not None:
            idle.popleft().set_result(due)

    async def _user(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = self._schedule.take(perf_counter())
            if due is None:
                waiting: asyncio.Future[float] = loop.create_future()
                self._idle.append(waiting)
                due = await waiting
            await self._mix.arrive(due)

    async def _reports(self) -> None:
        while True:
            now = time.time()
            pause = REPORT_S
            if now < self._settled_at:
                pause = min(pause, self._settled_at - now)
            await asyncio.sleep(pause)
            self._report()

    def _report(self) -> None:
        ended = time.time()
        measured = self._began >= self._settled_at and self._step != IDLE
        report = self._recorder.take(self._step, measured, self._began, ended)
        self._began = ended
        self._out.write(msgspec.json.encode(report) + b"\n")
        self._out.flush()


@asynccontextmanager
async def mixing(setup: Setup, recorder: Recorder) -> AsyncIterator[Mix]:
    """The mix, connected to its system."""
    if setup.system == "database":
        async with DatabaseSale(setup.addresses, setup.timeout_s) as sale:
            yield customers(setup, sale, recorder)
        return
    async with tupelo.connect(*setup.addresses, timeout_s=setup.timeout_s) as grid:
        if setup.mix == "airline" or setup.mix == "rush":
            yield customers(setup, GridSale(grid, setup.mix), recorder)
        else:
            share = UPDATE_SHARES[setup.mix]
            yield Ycsb(grid.space(SPACE), setup.entries, share, recorder, setup.seed)


def customers(setup: Setup, sale: Any, recorder: Recorder) -> Customers:
    popularity = Popularity(airline_schedule.load_flights())
    return Customers(sale, popularity, recorder, setup.name, setup.seed)


async def drive(out: BinaryIO) -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    setup = msgspec.json.decode(await orders.readline(), type=Setup)
    if setup.cores:
        os.sched_setaffinity(0, setup.cores)
    recorder = Recorder()
    async with mixing(setup, recorder) as mix:
        driver = Driver(mix, recorder, setup.users, setup.seed, out)
        out.write(b'{"ready":true}\n')
        out.flush()
        await driver.run(orders)
        if setup.purchases and isinstance(mix, Customers):
            write_purchases(Path(setup.purchases), mix)


def write_purchases(path: Path, mix: Customers) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in mix.purchases))


def main() -> None:
    uvloop.run(drive(sys.stdout.buffer))


if __name__ == "__main__":
    main()
