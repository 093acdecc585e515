"""The two systems of the impact study, each with its PostgreSQL, ready for the same load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, Protocol

import tupelo.sync
from tupelo_grid.config import GridConfig

from engines.postgres import PostgresServer, running_postgres
from loadtest.airline_package import schedule
from loadtest.cores import started_on
from loadtest.cpu import tree
from loadtest.database import sql
from loadtest.grids import ROOT, OwnGrid, own_grid
from loadtest.rush_package import unit as rush

WORKERS: Final = 2
"""Of the database-centric service."""
UNITS: Final = 3
READY_S: Final = 30.0
RESTART_S: Final = 0.1
"""Pause before a worker that died is started again, as the grid's own supervisor makes."""
POSTGRES: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB", "random_page_cost": "1.1"}
"""Beside its own settings, so fsync and synchronous_commit are on: memory for all of the tables,
and no checkpoint in the middle."""

Kind = Literal["database", "grid"]
Sales = dict[tuple[str, int], str]
"""Who has which seat (flight, number)."""


class System(Protocol):
    """One that runs and has all seats for sale.

    Attributes:
        kind: as a driver's Setup names it.
        addresses: where drivers go.
        crashes: what can be killed, by name.
    """

    kind: Kind
    addresses: tuple[str, ...]
    crashes: dict[str, Callable[[], None]]

    def groups(self) -> dict[str, Callable[[], list[int]]]:
        """Processes by what they are, for CpuSampler."""

    def settle(self) -> None:
        """Returns when the database has everything that was acknowledged."""

    def sales(self) -> Sales:
        """As the database has them."""

    def mismatches(self) -> int:
        """Entries of the grid that differ from their rows; 0 where there is no grid."""


def crash_of_postgres(server: PostgresServer) -> Callable[[], None]:
    """Kills a session's process: PostgreSQL then cuts all sessions and recovers from its log."""

    def crash() -> None:
        rows = server.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() LIMIT 1"
        )
        os.kill(rows[0]["pid"], signal.SIGKILL)

    return crash


@contextmanager
def postgres(cores: Sequence[int]) -> Iterator[PostgresServer]:
    with started_on(cores), running_postgres(durable=True, settings=POSTGRES) as server:
        yield server


class Workers:
    """Service workers that are started again when they die."""

    def __init__(self, url: str, count: int, cores: Sequence[int]) -> None:
        self._url = url
        self._cores = tuple(cores)
        self._ports = [_free_port() for _ in range(count)]
        self._ended = threading.Event()
        self._processes = [self._start(port) for port in self._ports]
        for process in self._processes:
            self._until_ready(process)
        self._keepers = [
            threading.Thread(target=self._keep, args=(index,), daemon=True)
            for index in range(count)
        ]
        for keeper in self._keepers:
            keeper.start()

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"127.0.0.1:{port}" for port in self._ports)

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def kill_one(self) -> None:
        self._processes[0].kill()

    def end(self) -> None:
        self._ended.set()
        for process in self._processes:
            process.terminate()
        for keeper in self._keepers:
            keeper.join(READY_S)

    def _keep(self, index: int) -> None:
        while True:
            self._processes[index].wait()
            if self._ended.wait(RESTART_S):
                return
            self._processes[index] = self._start(self._ports[index])

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "loadtest.database.server"]
        command += ["--port", str(port), "--url", self._url]
        with started_on(self._cores):
            return subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # As the grid's processes: grpc takes less CPU so.
                env={"GRPC_EXPERIMENTS": GridConfig().grpc_experiments, **os.environ},
            )

    def _until_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"a service worker ended with exit code {process.wait(READY_S)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DatabaseSystem:
    """grpc.aio workers, asyncpg, PostgreSQL."""

    kind: Kind = "database"

    def __init__(self, server: PostgresServer, workers: Workers) -> None:
        self._server = server
        self._workers = workers
        self.addresses = workers.addresses
        self.crashes: dict[str, Callable[[], None]] = {
            "service worker": workers.kill_one,
            "PostgreSQL session": crash_of_postgres(server),
        }

    def groups(self) -> dict[str, Callable[[], list[int]]]:
        return {"service": self._workers.pids, "database": lambda: tree(self._server.pid)}

    def settle(self) -> None:
        """What was acknowledged is committed."""

    def sales(self) -> Sales:
        return {(flight, number): who for flight, number, who in self._server.execute(sql.SOLD)}

    def mismatches(self) -> int:
        return 0


class GridSystem:
    """Units with one backup, and the same PostgreSQL behind them."""

    kind: Kind = "grid"

    def __init__(self, server: PostgresServer, grid: OwnGrid) -> None:
        self._server = server
        self._grid = grid
        self.addresses: tuple[str, ...] = (grid.address,)
        self.crashes: dict[str, Callable[[], None]] = {
            "processing unit": lambda: grid.kill("unit-1"),
            "PostgreSQL session": crash_of_postgres(server),
        }

    def groups(self) -> dict[str, Callable[[], list[int]]]:
        return {
            "service": self._grid.unit_pids,
            "messaging": self._grid.other_pids,
            "database": lambda: tree(self._server.pid),
        }

    def settle(self) -> None:
        self._grid.until_drained()

    def sales(self) -> Sales:
        rows = self._server.execute("SELECT flight, number, customer FROM sold")
        return {(flight, number): who for flight, number, who in rows}

    def mismatches(self) -> int:
        place = ("--host", self._grid.address, "--store-url", self._server.url)
        return int(self._grid.module("loadtest.check", *place)["mismatches"])


@contextmanager
def database_system(cores: Sequence[int], workers: int = WORKERS) -> Iterator[System]:
    with postgres(cores) as server:
        url = server.url.replace("+asyncpg", "")
        asyncio.run(sql.load(url))
        service = Workers(url, workers, cores)
        try:
            yield DatabaseSystem(server, service)
        finally:
            service.end()


@contextmanager
def grid_system(cores: Sequence[int], units: int = UNITS) -> Iterator[System]:
    with postgres(cores) as server:
        settings = {"store_url": server.url, "store_create": "auto"}
        with own_grid(units, unit="rush", cores=cores, settings=settings) as grid:
            load_boards(grid.address)
            system = GridSystem(server, grid)
            system.settle()
            yield system


def load_boards(address: str) -> None:
    boards = [
        rush.Board(flight.flight, flight.fare, flight.seats, tuple(range(1, flight.seats + 1)))
        for flight in schedule.load_flights()
        if flight.seats
    ]
    with tupelo.sync.connect(address) as grid:
        grid.space(rush.boards).put_many(boards)


SYSTEMS: Final = {"database": database_system, "grid": grid_system}


def read_purchases(paths: Sequence[Path]) -> list[tuple[str, int, str]]:
    """As drivers wrote them: (flight, number, customer)."""
    found: list[tuple[str, int, str]] = []
    for path in paths:
        with suppress(FileNotFoundError):  # a driver that sold nothing may have written nothing
            found += [tuple(json.loads(line)) for line in path.read_text().splitlines()]
    return found
