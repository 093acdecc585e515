"""The grid under test: real processes, their network in our hands, and a view of its table."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Self

import grpc
import grpc.aio
from tupelo.v1 import admin_pb2, admin_pb2_grpc
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.core.table import unit_of
from tupelo_grid.core.view import number_of
from tupelo_grid.runtime.runfiles import RunFile, is_alive

from tests.chaos.network import Network
from tests.e2e.grids import Grid, free_port
from tests.pause import pause

UNIT: Final = Path(__file__).with_name("unit")
UNITS: Final = 3
UNITS_MAX: Final = 4
POLL_S: Final = 0.1
STATUS_S: Final = 3.0


class NotRecovered(Exception):
    """The grid did not become whole again in time; says what was missing."""


class Cluster:
    """Three units, control and messaging in a folder of their own.

    Attributes:
        units: how many units there should be.
        network: between units, and between units and control.
    """

    def __init__(self, folder: Path, config: GridConfig, network: Network) -> None:
        self.folder = folder
        self.config = config
        self.units = UNITS
        self.network = network
        self._stack = AsyncExitStack()
        self.grid: Grid
        self.keeper: TableKeeper
        self._admin: Any

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        names = [f"unit-{number}" for number in range(1, UNITS_MAX + 1)]
        self._stack.push_async_callback(self.network.close)
        wiring = await self.network.open(names, self._address_of)
        port = free_port()
        self.config = GridConfig(
            port=port,
            hosts=wiring.hosts,
            **{name: getattr(self.config, name) for name in SETTINGS},
        )
        await self._follow()
        settings = self.folder / "grid.toml"
        settings.write_text(wiring.toml(), "utf-8")
        arguments = ("--units", str(UNITS), "--unit", str(UNIT), "--config", str(settings))
        spaces = ("--space", "registers", "--space", "pulses")
        options = [f"--set={name}={getattr(self.config, name)}" for name in SETTINGS]
        data_dir = self.folder / "grid"
        starting = asyncio.create_task(
            asyncio.to_thread(Grid, data_dir, port, (*arguments, *spaces, *options))
        )
        try:
            self.grid = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self.grid = await starting  # what runs by then is stopped like any other
            raise
        if self.grid.started.returncode:
            said = f"{self.grid.started.stdout}{self.grid.started.stderr}"
            raise NotRecovered(f"the grid does not start: {said}\n{self.grid.logs()}")

    async def _follow(self) -> None:
        """The table, and the Admin service of control: both outlive control's restarts."""
        store = RemoteStateStore(self.config.control_address, self.config)
        await self._stack.enter_async_context(store)
        self.keeper = await self._stack.enter_async_context(TableKeeper(store, self.config))
        channel = grpc.aio.insecure_channel(
            self.config.control_address, options=[("grpc.max_reconnect_backoff_ms", 500)]
        )
        self._stack.push_async_callback(channel.close)
        self._admin = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]

    async def __aexit__(self, *_: object) -> None:
        if hasattr(self, "grid"):
            await self.network.heal()
            for run in self.processes().values():
                self.send(run, signal.SIGCONT)
            await asyncio.to_thread(self.grid.stop)
        await self._stack.aclose()

    @property
    def address(self) -> str:
        return self.config.messaging_address

    def processes(self) -> dict[str, RunFile]:
        return self.grid.processes()

    def send(self, run: RunFile, number: signal.Signals) -> None:
        """A signal to a process of this grid, if it still lives."""
        if is_alive(run):
            os.kill(run.pid, number)

    def _address_of(self, name: str) -> str:
        """Where a process listens now: control, or a unit's newest incarnation for replication."""
        if name == "control":
            return self.config.control_address
        leases = self.keeper.state.leases
        own = [incarnation for incarnation in leases if unit_of(incarnation) == name]
        return leases[max(own, key=number_of)].replication_address if own else ""

    def partitions_of(self, incarnation: str) -> tuple[set[int], set[int]]:
        """Those it is the primary of, and those it holds otherwise."""
        primary, backup = set(), set()
        for number, part in self.keeper.state.table.parts.items():
            if part.config.primary == incarnation:
                primary.add(number)
            elif incarnation in part.config.in_sync:
                backup.add(number)
        return primary, backup

    async def up(self) -> None:
        """Starts control again."""
        result = await asyncio.to_thread(self.grid.up)
        if result.returncode:
            said = f"{result.stdout}{result.stderr}"
            raise NotRecovered(f"`tupelo up` failed: {said}\n{self.grid.logs()}")

    async def scale(self, units: int) -> None:
        """Returns when new units are ready, or surplus ones gone. Raises NotRecovered."""
        self.units = units
        try:
            await self._admin.Scale(admin_pb2.ScaleRequest(units=units), timeout=90.0)
        except grpc.aio.AioRpcError as error:
            raise NotRecovered(f"scale to {units} failed: {error.details()}") from error

    async def healthy(self, gone: Collection[str], timeout_s: float) -> float:
        """Waits until every partition has all its copies and every unit runs; how long it took.

        `gone`: incarnations that died; nothing may name them any more. Raises NotRecovered.
        """
        started = perf_counter()
        good = 0
        missing = ""
        while good < 2:
            missing = await self._missing(gone)
            good = 0 if missing else good + 1
            if perf_counter() - started > timeout_s:
                raise NotRecovered(f"not whole after {timeout_s:g} s: {missing}")
            if good < 2:
                await pause(POLL_S)
        return perf_counter() - started

    async def _missing(self, gone: Collection[str]) -> str:
        """What the grid lacks; "" for nothing."""
        try:
            status = await self._admin.Status(admin_pb2.StatusRequest(), timeout=STATUS_S)
        except grpc.aio.AioRpcError as error:
            return f"control does not answer: {error.code().name}"
        parts = status.partitions
        running = [unit.incarnation for unit in status.units if unit.state == "running"]
        if not parts.total == parts.healthy > 0:
            return f"{parts.healthy} of {parts.total} partitions are healthy, {parts.lost} lost"
        if len(running) != self.units or set(running) & set(gone):
            return f"units {[(unit.incarnation, unit.state) for unit in status.units]}"
        if status.warnings:
            return "; ".join(status.warnings)
        configs = [part.config for part in self.keeper.state.table.parts.values()]
        named = {name for config in configs for name in (config.primary, *config.in_sync)}
        return f"the table names {named & set(gone)}" if named & set(gone) else ""


SETTINGS: Final = (
    "partitions",
    "lease_s",
    "silent_backup_s",
    "drain_s",
    "restarts_per_minute_max",
    "min_in_sync",
)
"""What of the configuration a run may choose."""
