"""Units whose journals spill: small bounds, a store that is away for long, disks that fill.

    python -m tests.simulation --spill --schedules N --seed S

runs the seeds' plans with spaces that spill. Files take their time, may take nothing for a while,
and end with their process. What is in them is checked beside everything else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tupelo_grid.core.spill import Read, Write
from tupelo_grid.core.spilling_unit import SpillingUnit
from tupelo_grid.core.tail import decode_records, encode_records

from tests.simulation.checks import Violation
from tests.simulation.commands import SPACE, SPACES, Application
from tests.simulation.plan import Plan, draw

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

# Constants of the core that are made small here beside those of plan.SMALL.
SMALL = {
    "tupelo_grid.core.spill.EXTENT_BYTES": (300, 1000, 3000),
    "tupelo_grid.core.spill.EXTENTS_AT_A_TIME": (1, 4),
    "tupelo_grid.core.spill.INCOMING_BYTES_MAX": (500, 1 << 20),
    "tupelo_grid.core.spill.READ_BYTES_MAX": (600, 4000, 1 << 20),
}
FULL_CHANCE = 0.03
FULL_S_MAX = 0.8
UNREADABLE_CHANCE = 0.02
SPILL_BYTES_MAX = (1500, 30_000, 1 << 30)
# Journals may exceed their bound by what comes between two ticks, and by what snapshots bring.
SLACK = 4


def with_spill(plan: Plan) -> Plan:
    rng = random.Random(plan.seed)
    small = {name: rng.choice(values) for name, values in SMALL.items()}
    return replace(
        plan,
        spill_bytes_max=rng.choice(SPILL_BYTES_MAX),
        faults=plan.faults | {"data_outage"},
        data_away_s=rng.choice((1.0, 2.5)),
        load_until_s=plan.load_until_s + 1.5,
        think_s=min(plan.think_s, 0.06),
        limits=replace(plan.limits, journal_bytes_max=rng.choice((3_000, 8_000))),
        small={**plan.small, **small},
    )


def spilling_of(seed: int) -> Plan:
    return with_spill(draw(seed, random.Random(seed)))


class SimSpill:
    """One unit's files, and the one thread that works on them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.files: dict[int, bytes] = {}
        self.most = 0
        self._process: Process | None = None
        self._life = ""
        self._due = self._writing = False
        self._busy_until = self._full_until = 0.0
        self._last = 0

    def start(self, process: Process) -> SpillingUnit:
        self.files.clear()
        self._process, self._life = process, process.incarnation
        self._due = self._writing = False
        unit = SpillingUnit(
            process.incarnation,
            process.clock,
            process.limits,
            Application(),
            SPACES,
            self._world.plan.spill_bytes_max,
        )
        unit.spill.spaces = frozenset({SPACE})
        unit.spill.wake = self._wake
        return unit

    @property
    def _unit(self) -> SpillingUnit:
        assert self._process is not None
        unit = self._process.unit
        assert isinstance(unit, SpillingUnit)
        return unit

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            assert self._process is not None
            self._world.loop.after(0.0, self._process.deliver, self._life, self._turn)

    def _turn(self) -> None:
        self._due = False
        spill = self._unit.spill
        for read in spill.take_reads():
            self._run(partial(self._read, read, read.extent.payload))
        if not self._writing and self._world.loop.now >= self._full_until:
            writes = spill.collect()
            if writes:
                self._writing = True
                payloads = [write.extent.payload for write in writes]
                self._run(partial(self._write, writes, payloads))
        files = spill.take_deletes()
        if files:
            self._run(partial(self._remove, files))

    def _run(self, work: Callable[[], Callable[[], None]]) -> None:
        """In order; the process hears of it when it runs."""
        rng, loop = self._world.rng, self._world.loop
        slow = rng.random()
        took_s = 0.2 + rng.random() if slow < 0.01 else 0.001 + 0.02 * rng.random()
        self._busy_until = max(self._busy_until, loop.now) + took_s
        loop.after(self._busy_until - loop.now, self._ended, self._life, work)

    def _ended(self, life: str, work: Callable[[], Callable[[], None]]) -> None:
        process = self._process
        if process is not None and process.alive and process.incarnation == life:
            process.deliver(life, work())

    def _write(self, writes: list[Write], payloads: list[bytes | None]) -> Callable[[], None]:
        rng = self._world.rng
        room = len(writes)
        if rng.random() < FULL_CHANCE:
            room = rng.randint(0, len(writes) - 1)
            self._full_until = self._world.loop.now + FULL_S_MAX * rng.random()
        files = []
        for write, payload in zip(writes[:room], payloads, strict=False):
            self._last += 1
            data = encode_records(write.records) if payload is None else payload
            if payload is not None:
                self._world.spilled["arrived"] = self._world.spilled.get("arrived", 0) + 1
            self.files[self._last] = data
            files.append((self._last, len(data)))
        return partial(self._was_written, writes, files)

    def _was_written(self, writes: list[Write], files: list[tuple[int, int]]) -> None:
        self._writing = False
        spill = self._unit.spill
        for write, (file, size) in zip(writes, files, strict=False):
            spill.written(write, file, size)
        if len(files) < len(writes):
            spill.not_written(writes[len(files) :], "no room")
        self._wake()

    def _read(self, read: Read, payload: bytes | None) -> Callable[[], None]:
        spill = self._unit.spill
        if self._world.rng.random() < UNREADABLE_CHANCE:
            return partial(spill.not_read, read, "it cannot be read now")
        found = self.files[read.extent.file] if payload is None else payload
        if read.ready is not None:
            return partial(spill.fetched, read, found)
        return partial(spill.decoded, read, decode_records(found))

    def _remove(self, files: list[int]) -> Callable[[], None]:
        for file in files:
            del self.files[file]
        return lambda: None

    # -- what must hold

    def check(self) -> None:
        """After each tick."""
        unit, counts = self._unit, self._world.spilled
        bound = self._world.plan.limits.journal_bytes_max
        mine = others = 0
        for number, held in unit.replicas.items():
            held.validate()
            tail: Any = held.spilled
            for extent in tail.extents if tail is not None else ():
                if extent.file and extent.file not in self.files:
                    raise Violation(f"{unit.me} lacks {extent} of {number}")
            if number in unit.primaries:
                mine += held.journal.bytes
            else:
                others += held.journal.bytes
        counts["bytes"] = max(counts.get("bytes", 0), unit.spill.bytes)
        counts["memory"] = max(counts.get("memory", 0), mine, others)
        counts["extents"] = max(counts.get("extents", 0), self._last)
        if unit.spill.trouble:
            others = 0  # bounded by what its primaries take in, each for itself
        if max(mine, others) > SLACK * bound:
            raise Violation(f"the journals of {unit.me} take {mine} and {others} of {bound}")


def left_over(world: World) -> str:
    """Files that nobody needs once everything is stored; "" when there are none."""
    for process in world.processes:
        if process.alive and process.spill.files:
            return f"{process.incarnation} has {len(process.spill.files)} spill files"
    return ""
