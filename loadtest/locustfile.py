"""Customers of the airline, for locust.

    locust -f loadtest/locustfile.py --host 127.0.0.1:7400                      with the web UI
    locust -f loadtest/locustfile.py --host 127.0.0.1:7400 --headless \
        --users 100 --spawn-rate 100 --run-time 30s --processes 2

The grid must have the flights (`python -m loadtest.load_flights --host ...`); until it has them,
users wait and locust shows why. A run without any request says why, and exits with 1. All users of
a locust process share one connection to the grid, as the requests of an application server do.
`--think-time SECONDS` is how long a customer waits between two things, 0 by default.
"""

# ruff: noqa: E402  locust patches the standard library first, gevent has to reach grpc before any
# channel is made, and the packages of this folder need the path.

from __future__ import annotations

import random
import sys
import uuid
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from locust import User, events, task

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

import gevent
import tupelo
from gevent.lock import BoundedSemaphore
from grpc.experimental import gevent as grpc_gevent

# Without this one blocking call stops all users of the process: they run one after the other, and
# the response times even look better for it.
grpc_gevent.init_gevent()

import tupelo.sync
from tupelo.errors import TupeloError

from loadtest.airline_package import schedule
from loadtest.airline_package import unit as airline
from loadtest.customers import Customer, Popularity
from loadtest.nothing_done import NothingDone
from loadtest.reported import REQUEST_TYPE, ReportedCalls

FAILURE_PAUSE_S = 0.1
CONNECT_PAUSE_S = 1.0
TIMEOUT_S = 10.0
DEFAULT_HOST = "127.0.0.1:7400"

popularity = Popularity(schedule.load_flights())
# Importing all this takes a while, in which gevent's clock stands still; what locust schedules
# next, the end of --run-time, would come so much too early.
gevent.get_hub().loop.update_now()


class NoFlightsLoaded(Exception):
    """There is nothing to sell. `str` says how to change that."""


class SharedGrid:
    """The connection of this process. Opened by its first user and not at import, since
    `--processes` forks after that; closed by its last."""

    def __init__(self) -> None:
        self._lock = BoundedSemaphore()
        self._users = 0
        self._grid: tupelo.sync.Grid | None = None

    def enter(self, host: str) -> tupelo.sync.Grid:
        """Raises TupeloError, NoFlightsLoaded."""
        with self._lock:
            if self._grid is None:
                self._grid = self._open(host)
            self._users += 1
            return self._grid

    @staticmethod
    def _open(host: str) -> tupelo.sync.Grid:
        grid = tupelo.sync.connect(host, timeout_s=TIMEOUT_S)
        try:
            if not grid.space(airline.flights).count():
                raise NoFlightsLoaded(
                    f"the grid has no flights: python -m loadtest.load_flights --host {host}"
                )
        except BaseException:
            grid.close()
            raise
        return grid

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._grid is not None:
                grid, self._grid = self._grid, None
                grid.close()


shared = SharedGrid()
nothing_done = NothingDone(DEFAULT_HOST)
events.test_start.add_listener(nothing_done.on_start)
events.quitting.add_listener(nothing_done.on_quitting)


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--think-time",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="a customer's pause between two things (default: 0)",
    )


class AirlineCustomer(User):
    """Looks three times as often as they mean to buy."""

    host = DEFAULT_HOST

    def on_start(self) -> None:
        self._entered = False
        grid = self._connect()
        self._entered = True
        self._calls = ReportedCalls(grid, self.environment.events.request.fire)
        chance = random.Random()
        name = f"customer-{uuid.uuid4().hex[:12]}"
        self._customer = Customer(name, popularity, self._calls, chance)

    def on_stop(self) -> None:
        if self._entered:
            self._entered = False
            shared.leave()

    def wait_time(self) -> float:
        return float(self.environment.parsed_options.think_time)

    @task(3)
    def look(self) -> None:
        self._checked(self._customer.look)

    @task(2)
    def visit(self) -> None:
        self._checked(self._customer.visit)

    def _checked(self, step: Any) -> None:
        """A grid that refuses at once must not make users spin."""
        before = self._calls.failures
        step()
        if self._calls.failures > before:
            gevent.sleep(FAILURE_PAUSE_S)

    def _connect(self) -> tupelo.sync.Grid:
        """Every attempt that fails is reported; goes on until locust stops the user."""
        while True:
            try:
                return shared.enter(self.host)
            except (TupeloError, NoFlightsLoaded) as error:
                self.environment.events.request.fire(
                    request_type=REQUEST_TYPE,
                    name="connect",
                    response_time=0,
                    response_length=0,
                    exception=error,
                    context={},
                )
                gevent.sleep(CONNECT_PAUSE_S)
