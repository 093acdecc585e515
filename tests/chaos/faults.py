"""Carries faults out, one at a time, and puts right what does not heal by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tupelo_grid.runtime.runfiles import RunFile, is_alive
from tupelo_grid.store.factory import STORE_FILE

from tests.chaos.cluster import UNITS, UNITS_MAX, Cluster
from tests.chaos.network import CONTROL, Pair, both, into, out_of
from tests.chaos.plan import Fault
from tests.pause import pause

GONE_S: Final = 45.0
"""A unit told to stop hands over and drains; then it must be gone."""


@dataclass
class Hit:
    """What a fault touched.

    Attributes:
        primaries: partitions whose primary was hit; all of them when no unit was.
        backups: those that it held otherwise.
        gone: incarnations that died.
        away_s: how long after the fault control was started again; 0.0 when it was not.
    """

    primaries: set[int] = field(default_factory=set)
    backups: set[int] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    away_s: float = 0.0


class Injector:
    """Of one cluster. `strike(fault)` returns when the fault is over, not when the grid is well.

    `begins` is called at the moment a fault strikes.
    """

    def __init__(self, cluster: Cluster, begins: Callable[[], None]) -> None:
        self._cluster = cluster
        self._begins = begins
        self._all = set(range(cluster.config.partitions))

    async def strike(self, fault: Fault) -> Hit:
        return await _WAYS[fault.kind](self, fault)

    # -- processes

    def _process(self, name: str) -> RunFile:
        return self._cluster.processes()[name]

    def _hit(self, run: RunFile, *, dies: bool = False) -> Hit:
        if run.role != "unit":
            return Hit(primaries=set(self._all))
        primaries, backups = self._cluster.partitions_of(run.incarnation)
        return Hit(primaries, backups, {run.incarnation} if dies else set())

    def _signal(self, run: RunFile, number: signal.Signals) -> None:
        self._begins()
        self._cluster.send(run, number)

    async def unit_kill(self, fault: Fault) -> Hit:
        run = self._process(fault.victim)
        hit = self._hit(run, dies=True)
        self._signal(run, signal.SIGKILL)
        return hit

    async def unit_term(self, fault: Fault) -> Hit:
        run = self._process(fault.victim)
        hit = self._hit(run, dies=True)
        self._signal(run, signal.SIGTERM)
        await gone(run, GONE_S)
        return hit

    async def unit_pause(self, fault: Fault) -> Hit:
        run = self._process(fault.victim)
        hit = self._hit(run)
        await self._stopped(run, fault.hold_s)
        return hit

    async def _stopped(self, run: RunFile, seconds: float) -> None:
        self._signal(run, signal.SIGSTOP)
        try:
            await pause(seconds)
        finally:
            self._cluster.send(run, signal.SIGCONT)

    async def control_kill(self, fault: Fault) -> Hit:
        run = self._process("control")
        self._signal(run, signal.SIGKILL)
        await gone(run, 5.0)
        await pause(fault.hold_s)
        await self._cluster.up()
        return self._hit(run)

    async def control_and_unit_kill(self, fault: Fault) -> Hit:
        """Nobody sees the unit die but the control process that comes next."""
        control, unit = self._process("control"), self._process(fault.victim)
        hit = self._hit(unit, dies=True)
        self._signal(control, signal.SIGKILL)
        self._cluster.send(unit, signal.SIGKILL)
        began_s = time.perf_counter()
        await gone(control, 5.0)
        await pause(fault.hold_s)
        hit.away_s = time.perf_counter() - began_s
        await self._cluster.up()
        return hit

    async def control_pause(self, fault: Fault) -> Hit:
        run = self._process("control")
        await self._stopped(run, fault.hold_s)
        return self._hit(run)

    async def messaging_kill(self, fault: Fault) -> Hit:
        run = self._process("messaging")
        self._signal(run, signal.SIGKILL)
        return self._hit(run)

    async def messaging_pause(self, fault: Fault) -> Hit:
        run = self._process("messaging")
        await self._stopped(run, fault.hold_s)
        return self._hit(run)

    async def store_away(self, fault: Fault) -> Hit:
        """Somebody else holds the store's lock: no transaction of the data writer gets through."""
        path = Path(self._cluster.grid.data_dir) / STORE_FILE
        async with locked(path):
            self._begins()
            await pause(fault.hold_s)
        return Hit(primaries=set(self._all))

    # -- the network

    def _others(self, unit: str) -> list[str]:
        names = (f"unit-{number}" for number in range(1, UNITS_MAX + 1))
        return [name for name in names if name != unit]

    def _everyone(self, unit: str) -> list[str]:
        return [*self._others(unit), CONTROL]

    async def _lasts(self, fault: Fault, doing: Coroutine[Any, Any, None]) -> Hit:
        """Has the network do something to the victim, for as long as the fault is to last."""
        hit = self._hit(self._process(fault.victim))
        self._begins()
        try:
            await doing
            await pause(fault.hold_s)
        finally:
            await self._cluster.network.heal()
        return hit

    async def _cut(self, fault: Fault, pairs: Sequence[Pair]) -> Hit:
        return await self._lasts(fault, self._cluster.network.cut(pairs))

    async def cut_unit(self, fault: Fault) -> Hit:
        """From peers and control; its clients still reach it."""
        return await self._cut(fault, both(fault.victim, self._everyone(fault.victim)))

    async def cut_unit_from_peers(self, fault: Fault) -> Hit:
        return await self._cut(fault, both(fault.victim, self._others(fault.victim)))

    async def cut_unit_from_one(self, fault: Fault) -> Hit:
        """Two units lose each other; everybody else hears both."""
        return await self._cut(fault, both(fault.victim, self._others(fault.victim)[:1]))

    async def cut_unit_from_control(self, fault: Fault) -> Hit:
        return await self._cut(fault, both(fault.victim, [CONTROL]))

    async def cut_unit_mute(self, fault: Fault) -> Hit:
        """It hears, and nobody hears it."""
        return await self._cut(fault, out_of(fault.victim, self._everyone(fault.victim)))

    async def cut_unit_deaf(self, fault: Fault) -> Hit:
        """It is heard, and hears nobody: answers of the state store are lost."""
        return await self._cut(fault, into(fault.victim, self._everyone(fault.victim)))

    async def reset_unit(self, fault: Fault) -> Hit:
        pairs = both(fault.victim, self._everyone(fault.victim))
        return await self._lasts(fault, self._cluster.network.reset(pairs))

    async def delay_unit(self, fault: Fault) -> Hit:
        pairs = both(fault.victim, self._everyone(fault.victim))
        return await self._lasts(fault, self._cluster.network.delay(pairs, fault.delay_s))

    # -- scale

    async def scale(self, fault: Fault) -> Hit:
        self._begins()
        await self._cluster.scale(UNITS + 1)
        await self._cluster.healthy((), GONE_S)
        surplus = self._process(f"unit-{UNITS + 1}").incarnation
        await self._cluster.scale(UNITS)
        return Hit(primaries=set(self._all), gone={surplus})

    async def scale_and_kill(self, fault: Fault) -> Hit:
        """A unit dies while partitions move to the one that has just come."""
        await self._cluster.scale(UNITS + 1)
        await pause(fault.hold_s)
        hit = await self.unit_kill(fault)
        await self._cluster.healthy(hit.gone, GONE_S)
        surplus = self._process(f"unit-{UNITS + 1}").incarnation
        await self._cluster.scale(UNITS)
        return Hit(hit.primaries, hit.backups, hit.gone | {surplus})


Way = Callable[[Injector, Fault], Coroutine[Any, Any, Hit]]

_WAYS: Final[dict[str, Way]] = {
    "unit_kill": Injector.unit_kill,
    "unit_term": Injector.unit_term,
    "unit_pause_t": Injector.unit_pause,
    "unit_pause_d": Injector.unit_pause,
    "unit_pause_deposed": Injector.unit_pause,
    "unit_pause_long": Injector.unit_pause,
    "control_kill": Injector.control_kill,
    "control_pause": Injector.control_pause,
    "control_and_unit_kill": Injector.control_and_unit_kill,
    "messaging_kill": Injector.messaging_kill,
    "messaging_pause": Injector.messaging_pause,
    "store_away": Injector.store_away,
    "cut_unit": Injector.cut_unit,
    "cut_unit_from_peers": Injector.cut_unit_from_peers,
    "cut_unit_from_one": Injector.cut_unit_from_one,
    "cut_unit_from_control": Injector.cut_unit_from_control,
    "cut_unit_mute": Injector.cut_unit_mute,
    "cut_unit_deaf": Injector.cut_unit_deaf,
    "reset_unit": Injector.reset_unit,
    "delay_unit": Injector.delay_unit,
    "scale": Injector.scale,
    "scale_and_kill": Injector.scale_and_kill,
}


async def gone(run: RunFile, timeout_s: float) -> None:
    """Until the process has ended. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while is_alive(run):
            await pause(0.02)


@contextlib.asynccontextmanager
async def locked(path: Path, timeout_s: float = 5.0) -> AsyncIterator[None]:
    """Holds the exclusive lock of a SQLite file."""
    connection = await asyncio.to_thread(_lock, path, timeout_s)
    try:
        yield
    finally:
        connection.close()


def _lock(path: Path, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            # A writer that asks again at once may be faster many times over.
            if time.monotonic() > deadline:
                connection.close()
                raise
        else:
            return connection
