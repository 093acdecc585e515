"""Units with disks: what was synced survives the end of a process, what was not may be gone.

    python -m tests.simulation --disks --schedules N --seed S

runs the seeds' plans with a disk in every unit. Every crash is survivable then, also that of all
units at once ("blackout"), and no partition may stay LOST.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tupelo_grid.core.disk import Batch, Disk
from tupelo_grid.core.disk_format import Drop, decode_items, encode_items
from tupelo_grid.core.disk_replay import Replay
from tupelo_grid.core.durable import DurableUnit
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.rejoin import Place, named, rejoin
from tupelo_grid.core.statestore import Snapshot, TxnResult
from tupelo_grid.core.view import ViewReader

from tests.simulation.commands import SPACES, Application
from tests.simulation.plan import Plan, draw

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

REJOIN_S = 0.1


def with_disks(plan: Plan) -> Plan:
    return replace(plan, disk=True, faults=plan.faults | {"blackout"})


def disks_of(seed: int) -> Plan:
    return with_disks(draw(seed, random.Random(seed)))


def held_by(process: Process, number: int) -> Partition | None:
    """A unit's replica, also one from its disk that it does not know yet to have its place."""
    unit = process.unit
    held = unit.replicas.get(number)
    if held is None and isinstance(unit, DurableUnit):
        held = unit.recovered.get(number)
    return held


class SimDisk:
    """One unit's. `blocks`: payloads in order; what is being written may be there or not, from
    the front, when the process ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.blocks: list[bytes] = []
        self.writing: list[bytes] = []
        self.earlier: tuple[str, ...] = ()
        self._process: Process | None = None
        self._disk: Disk | None = None
        self._busy = False
        self._retried = 0.0
        self._asking = False

    def start(self, process: Process) -> DurableUnit:
        """A process begins: reads the disk and the table."""
        self._busy = False
        replay = Replay()
        for payload in self.blocks:
            for item in decode_items(memoryview(payload)):
                replay.take(item)
        view = ViewReader().read(self._world.store.read())
        members = {member for part in view.parts.values() for member in part.config.in_sync}
        me = process.incarnation
        place = Place(me, tuple(one for one in self.earlier if one in members))
        kept = {
            number: held
            for number, held in replay.partitions.items()
            if number in view.parts and named(view.parts[number].config, place)
        }
        gone = [Drop(number) for number in replay.partitions if number not in kept]
        self.blocks.append(encode_items(list(gone)))
        self.earlier = (*place.earlier, me)
        unit = DurableUnit(place, kept, process.clock, process.limits, Application(), SPACES)
        self._process, self._disk = process, unit.disk
        self._asking = False
        return unit

    def crash(self) -> None:
        """Blocks are written in order; nobody was told of those that were not synced."""
        there = self._world.rng.randint(0, len(self.writing))
        self.blocks += self.writing[:there]
        self.writing = []

    # -- writing

    def kick(self) -> None:
        process, disk = self._process, self._disk
        assert process is not None
        assert disk is not None
        if self._busy:
            return
        rng = self._world.rng
        due = [number for number in process.unit.replicas if rng.random() < 0.02]
        batch = disk.collect(due)
        if batch is None:
            return
        if rng.random() < 0.1:
            batch.leave_out_spare()
        self._busy = True
        self.writing = [payload for _, payload in batch.payloads()]
        slow = rng.random()
        delay_s = 0.3 + rng.random() if slow < 0.01 else 0.001 + 0.02 * rng.random()
        self._world.loop.after(delay_s, self._synced, process.incarnation, batch)

    def _synced(self, incarnation: str, batch: Batch) -> None:
        """The disk goes on while its process is paused; the process hears of it later."""
        process = self._process
        if process is None or not process.alive or process.incarnation != incarnation:
            return
        self.blocks += self.writing
        self.writing = []
        process.deliver(incarnation, self._tell, batch)

    def _tell(self, batch: Batch) -> None:
        process, disk = self._process, self._disk
        assert process is not None
        assert disk is not None
        self._busy = False
        unit = process.unit
        assert isinstance(unit, DurableUnit)
        unit.synced(disk.done(batch))

    def hold(self, answer: Callable[[], None]) -> None:
        assert self._disk is not None
        self._disk.hold(answer)

    # -- places

    def tick(self, now: float) -> None:
        process = self._process
        assert process is not None
        unit = process.unit
        assert isinstance(unit, DurableUnit)
        if unit.recovered and not self._asking and now - self._retried > REJOIN_S:
            self._retried = now
            self._asking = True
            here = process._here()
            process.calls.call(
                self._world.store.read, partial(self._rejoin, unit), self._asked, here
            )

    def _asked(self, _: object = None) -> None:
        self._asking = False

    def _rejoin(self, unit: DurableUnit, snapshot: Snapshot) -> None:
        process, store = self._process, self._world.store
        assert process is not None
        txn = rejoin(ViewReader().read(snapshot), unit.place, unit.ends())
        if txn is None:
            self._asking = False
            return
        self._world.moment(process, "REJOIN")

        def request() -> TxnResult:
            return store.txn(unit.me, txn.conditions, dict(txn.puts), (), "REJOIN")

        process.calls.call(request, self._asked, self._asked, process._here())
