"""The deployment manager of one machine: messaging, routers, units and data writers as children.

    async with LocalDeployment(config, on_child_death) as deployment:
        await deployment.ready()            # FatalStartError in a child's own words
        announce({"address": ...})
        await stop.wait()
    # left: units drained to the store and stopped, then writers, routers and messaging

Children survive their parent. Left by an error after it was ready, the deployment leaves them
running, and the next control process on the same data directory adopts them by their run files.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType

from tupelo_grid.config import GridConfig, encode_config
from tupelo_grid.deployment.child import Child, start_child, stop_processes
from tupelo_grid.deployment.supervisor import Supervisor
from tupelo_grid.journal_files.folder import start_timeout_s
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.runfiles import RunFile, dead_processes, live_processes

log = logging.getLogger(__name__)

MESSAGING = "messaging"

OnChildDeath = Callable[[str], Awaitable[None]]
Drain = Callable[[str, float], Awaitable[int]]
"""(address of a unit, seconds it may take) -> changes that did not reach the store."""


def config_path(data_dir: str | Path) -> Path:
    """Where the configuration of the grid at `data_dir` is kept for its processes."""
    return Path(data_dir) / "config.json"


def unit_name(number: int) -> str:
    return f"unit-{number}"


def unit_number(name: str) -> int:
    """0 for a name that is not one of `unit_name`."""
    prefix, _, number = name.rpartition("-")
    return int(number) if prefix == "unit" and number.isdecimal() else 0


def writer_name(number: int) -> str:
    return f"writer-{number}"


def router_name(number: int) -> str:
    return f"router-{number}"


class LocalDeployment:
    """Starts, watches, scales and stops the processes of a grid on this machine.

    Args:
        on_child_death: awaited with the incarnation of every unit that is gone, at once, so that it
            need not be waited for until its lease is over.
        drain: brings what a unit holds to the store before it is stopped.
    """

    def __init__(
        self,
        config: GridConfig,
        on_child_death: OnChildDeath,
        drain: Drain | None = None,
        on_shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._on_child_death = on_child_death
        self._on_shutdown = on_shutdown
        self._drain = drain or functools.partial(_drain_by_rpc, config)
        self._config_path = config_path(config.data_dir)
        self._messaging: Supervisor | None = None
        self._units: dict[int, Supervisor] = {}
        self._others: dict[str, Supervisor] = {}
        """Data writers and routers: how many there are does not change."""
        self._adopted: set[str] = set()
        self._scaling = asyncio.Lock()
        self._was_ready = False
        self._shut_down = False

    async def __aenter__(self) -> LocalDeployment:
        """Adopts what lives, starts the rest; does not wait for it to be ready.

        Raises FatalStartError when processes of an other configuration live on the data directory.
        """
        leftovers = live_processes(self._config.data_dir)
        leftovers.pop("control", None)
        # Nobody saw these end, but they have: their leases need not be waited for.
        ended = dead_processes(self._config.data_dir)
        self._check_adoptable(leftovers)
        unready = [run for run in leftovers.values() if not run.address]
        await asyncio.to_thread(stop_processes, unready, self._config.stop_timeout_s)
        await asyncio.to_thread(self._config_path.write_bytes, encode_config(self._config))
        for run in ended.values():
            if run.incarnation:
                await self._on_child_death(run.incarnation)
        self._messaging = self._supervise("messaging", MESSAGING, leftovers.get(MESSAGING))
        others = {writer_name(number): "writer" for number in range(1, self._config.writers + 1)}
        others |= {router_name(number): "router" for number in range(1, self._config.routers + 1)}
        others |= {n: run.role for n, run in leftovers.items() if run.role in ("writer", "router")}
        for name, role in sorted(others.items()):
            self._others[name] = self._supervise(role, name, leftovers.get(name))
        numbers = set(range(1, self._config.units + 1))
        for name, run in leftovers.items():
            if run.role == "unit" and unit_number(name):
                numbers.add(unit_number(name))
        for number in sorted(numbers):
            name = unit_name(number)
            self._units[number] = self._supervise("unit", name, leftovers.get(name))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and self._was_ready and isinstance(error, Exception):
            log.error("control fails; units and messaging go on without it")
            await self._detach(self._supervisors())
            return
        if error is not None and not self._was_ready:
            await self._give_up_start()
            return
        await self.shutdown(self._config.drain_s if self._was_ready else 0.0)

    async def _give_up_start(self) -> None:
        """What was there before this process is not its to stop, and goes on. A unit that was
        started beside it may have been given partitions, and hands them over first."""
        before = [s for s in self._supervisors() if s.name in self._adopted]
        if before:
            log.info("these go on: %s", ", ".join(supervisor.name for supervisor in before))
            started = [n for n in self._units if unit_name(n) not in self._adopted]
            await self._stop_units(started)
            await self._detach(before)
        await self.shutdown(0.0)

    async def ready(self) -> None:
        """Until every child was ready once. Raises FatalStartError for the first that cannot."""
        tasks = [asyncio.ensure_future(s.ready()) for s in self._supervisors()]
        try:
            for done in asyncio.as_completed(tasks):
                await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._was_ready = True

    @property
    def units(self) -> int:
        """How many units there should be."""
        return len(self._units)

    def processes(self) -> list[RunFile]:
        """Those that run now: messaging, routers and writers, then units by number."""
        return [s.child.run for s in self._supervisors() if s.child is not None and s.running]

    def problems(self) -> list[str]:
        """What does not run although it should, in words for a person."""
        return [s.problem for s in self._supervisors() if s.problem]

    @property
    def shutting_down(self) -> bool:
        return self._shut_down

    async def scale(self, units: int) -> int:
        """Starts units up to `units`, or drains and stops those with the highest numbers.

        Returns when the new ones are ready, or the old ones gone: then the number of units. Raises
        ValueError for a number outside 1..units_max, FatalStartError when a unit cannot start.
        """
        if not 1 <= units <= self._config.units_max:
            raise ValueError(f"units must be 1 to {self._config.units_max}, not {units}")
        async with self._scaling:
            if self._shut_down:
                raise ValueError("the grid is shutting down")
            surplus = sorted(self._units)[units:]
            await self._stop_units(surplus)
            await self._add_units(units - len(self._units))
            return len(self._units)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[list[str]]:
        """The units' names, in order; meanwhile nothing is scaled. Raises ValueError.

        A shutdown does not wait for it, but stops it: `restart` raises ValueError from then on.
        """
        if self._scaling.locked() or self._shut_down:
            raise ValueError("the grid is being scaled, restarted or shut down already")
        async with self._scaling:
            yield [unit_name(number) for number in sorted(self._units)]

    async def restart(self, name: str, stopped: Callable[[], None] = lambda: None) -> None:
        """Has a unit hand its partitions over, end and start again; until it is ready.

        `stopped` is called in between. To be called within `exclusive`. Raises ValueError when the
        grid is shut down, FatalStartError when the unit does not start.
        """
        if self._shut_down:
            raise ValueError("the grid is shutting down")
        # It may wait for its partitions to be taken over, and then for the store.
        timeout_s = 2 * self._config.drain_s + self._config.stop_timeout_s
        await self._units[unit_number(name)].restart(timeout_s, stopped)

    async def shutdown(self, timeout_s: float) -> int:
        """Drains all units to the store, stops them, then everything else.

        Returns how many changes did not reach the store in `timeout_s`; 0 kills without draining,
        for a grid that never served. The second call does nothing.
        """
        if self._shut_down:
            return 0
        self._shut_down = True
        self._on_shutdown()
        async with self._scaling:
            stop_s = self._config.stop_timeout_s if timeout_s > 0 else 0.0
            unpersisted = await self._drain_all(timeout_s) if timeout_s > 0 else 0
            # A unit drains once more for what came since. Where that has just failed, the store is
            # away and would be waited for in vain.
            unit_stop_s = stop_s if unpersisted else stop_s + timeout_s
            await asyncio.gather(*(unit.stop(unit_stop_s) for unit in self._units.values()))
            rest = [] if self._messaging is None else [self._messaging]
            await asyncio.gather(*(one.stop(stop_s) for one in [*self._others.values(), *rest]))
            return unpersisted

    def _supervisors(self) -> list[Supervisor]:
        units = [self._units[number] for number in sorted(self._units)]
        others = [*self._others.values(), *units]
        return others if self._messaging is None else [self._messaging, *others]

    async def _detach(self, supervisors: list[Supervisor]) -> None:
        for supervisor in supervisors:
            await supervisor.detach()

    def _check_adoptable(self, leftovers: dict[str, RunFile]) -> None:
        port = self._config.control_port
        foreign = [run for run in leftovers.values() if run.control_port != port]
        if foreign:
            pids = ", ".join(f"{run.name} (pid {run.pid})" for run in foreign)
            raise FatalStartError(
                f"processes of a grid on port {foreign[0].control_port - 1} still use "
                f"{self._config.data_dir}: {pids}",
                f"start it with --port {foreign[0].control_port - 1} to take them over, or stop "
                f"them with `tupelo down --data-dir {self._config.data_dir}`",
            )

    def _supervise(self, role: str, name: str, leftover: RunFile | None) -> Supervisor:
        config = self._config

        async def start() -> Child:
            return await start_child(
                role,
                name,
                self._config_path,
                config.data_dir,
                config.control_port,
                start_timeout_s(config),
                config.launchers.get(name, ""),
            )

        adopted = None
        if leftover is not None and leftover.address:
            log.info("adopting %s, pid %d", name, leftover.pid)
            adopted = Child(leftover)
            self._adopted.add(name)
        return Supervisor(config, name, start, self._on_death, adopted)

    async def _on_death(self, child: Child) -> None:
        if child.run.incarnation:
            await self._on_child_death(child.run.incarnation)

    async def _stop_units(self, numbers: list[int]) -> None:
        stopping = [self._units.pop(number) for number in numbers]
        timeout_s = 2 * self._config.drain_s + self._config.stop_timeout_s
        await asyncio.gather(*(unit.stop(timeout_s) for unit in stopping))

    async def _add_units(self, count: int) -> None:
        free = (n for n in range(1, self._config.units_max + 1) if n not in self._units)
        started = {}
        for _ in range(count):
            number = next(free)
            started[number] = self._supervise("unit", unit_name(number), None)
            self._units[number] = started[number]
        try:
            await asyncio.gather(*(unit.ready() for unit in started.values()))
        except FatalStartError:
            for number, unit in started.items():
                del self._units[number]
                await unit.stop(self._config.stop_timeout_s)
            raise

    async def _drain_all(self, timeout_s: float) -> int:
        runs = [run for run in self.processes() if run.role == "unit" and run.address]
        drains = (self._drain_one(run, timeout_s) for run in runs)
        return sum(await asyncio.gather(*drains))

    async def _drain_one(self, run: RunFile, timeout_s: float) -> int:
        try:
            left = await self._drain(run.address, timeout_s)
        except Exception:
            # Whatever keeps one unit from draining, the others and the shutdown go on.
            log.exception("%s could not be drained", run.name)
            return 1
        if left:
            log.warning("%s: %d changes did not reach the store", run.name, left)
        return left


async def _drain_by_rpc(config: GridConfig, address: str, timeout_s: float) -> int:
    from tupelo.v1 import admin_pb2, admin_pb2_grpc

    from tupelo_grid.runtime.servers import open_channel

    async with open_channel(config, address) as channel:
        request = admin_pb2.DrainRequest(timeout_ms=round(timeout_s * 1000))
        stub = admin_pb2_grpc.UnitStub(channel)  # type: ignore[no-untyped-call]
        answer: admin_pb2.DrainResponse = await stub.Drain(
            request, timeout=timeout_s + config.rpc_timeout_s
        )
        return answer.unpersisted_records
