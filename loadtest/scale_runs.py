"""The measurements of loadtest.scale: one grid each, loaded, and driven through steps by locust."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import tupelo.sync

from loadtest.cores import Placement
from loadtest.cpu import ELSEWHERE, CpuSampler, Pids, tree
from loadtest.grids import OwnGrid, own_grid
from loadtest.locusts import Locusts
from loadtest.mixes import SPACE, VALUE, key_of
from loadtest.plan import Plan, Result, Setup, Step

Mix = Literal["airline", "ycsb-a", "ycsb-b"]

LOAD_CHUNK: Final = 20_000
SETTLE_MEMORY_S: Final = 2.0
"""What loading leaves behind in queues and journals is gone after so long."""
DECODED: Final = 200_000
"""Decoded entries that a unit keeps: above all of the airline's seats, for the grid of one unit."""
OFFERED: Final[dict[Mix, float]] = {"airline": 20_000.0, "ycsb-a": 200_000.0, "ycsb-b": 200_000.0}
"""Arrivals a second of the first step: more than one core can serve."""
USERS: Final = 100
"""locust's, in the first step."""
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Case(msgspec.Struct, frozen=True):
    """One grid and its load.

    Attributes:
        in_flight: requests at most; so many for each unit, so that a unit's share stays the same.
        entries: of the YCSB mixes.
        persist: whether the store is written behind (SQLite).
        overloads: steps in which more is offered than the grid can take, each a point of the fit.
        seconds: of all of them together.
        shares: further steps, as parts of what those took.
    """

    mix: Mix
    units: int
    backups: int = 1
    in_flight: int = 64
    entries: int = 100_000
    persist: bool = True
    overloads: int = 3
    seconds: float = 6.0
    shares: tuple[float, ...] = (0.25, 0.5, 0.75)

    @property
    def name(self) -> str:
        return f"{self.mix}-{self.units}units-{self.backups}backups-{self.entries}"

    @property
    def copies(self) -> int:
        return 1 + min(self.backups, self.units - 1)


class Measured(msgspec.Struct):
    """What a case showed.

    Attributes:
        at: when it was measured.
        ops_s: calls a second when more than that was offered.
        unit_us: CPU time of all units for one call then, in us; likewise messaging and control
            (`other_us`) and the load's own processes (`load_us`).
        elsewhere: cores that other work on the machine had meanwhile; it makes calls dearer.
        balance: mean CPU time of the units by that of the busiest; 1.0 is even.
        points: of the fit: what so many units would do with a core each, per window; see `model`.
        bytes_per_entry: of one copy: what the units grew by when they were loaded. 0: not measured.
        steps: all of them as StepFigures, with "unit_us" beside.
    """

    case: Case
    at: str = ""
    ops_s: float = 0.0
    unit_us: float = 0.0
    other_us: float = 0.0
    load_us: float = 0.0
    elsewhere: float = 0.0
    balance: float = 0.0
    primaries: dict[str, int] = {}
    points: list[float] = []
    load_s: float = 0.0
    bytes_per_entry: float = 0.0
    steps: list[dict[str, Any]] = []
    errors: int = 0


def model(units: int, balance: float, unit_us: float) -> float:
    """Calls a second of `units` with a core each, as the busiest one allows: computed, not seen."""
    return units * balance / (unit_us / 1e6)


def measure(
    case: Case, locusts: Locusts, placed: Placement, say: Callable[[str], None]
) -> Measured:
    """Raises GridError, LocustError or TupeloError."""
    settings = {"backups": case.backups, "decoded_entries_max": DECODED}
    found = Measured(case, at=time.strftime("%Y-%m-%d %H:%M"))
    airline = case.mix == "airline"
    with own_grid(
        case.units, unit="airline" if airline else "", cores=placed.system, settings=settings
    ) as grid:
        before = resident(grid.unit_pids())
        found.load_s = load(grid, case)
        grid.until_drained()
        time.sleep(SETTLE_MEMORY_S)
        if not airline:
            grown = resident(grid.unit_pids()) - before
            found.bytes_per_entry = round(grown / (case.entries * case.copies), 1)
        plan = plan_of(case, grid.address, placed)
        names = sorted(name for name in grid.pids() if name.startswith("unit-"))
        groups: dict[str, Pids] = {name: partial(grid.pids_of, name) for name in names}
        load_pids: list[int] = []
        groups["other"] = grid.other_pids
        groups["load"] = lambda: [one for pid in load_pids for one in tree(pid)]

        def during(pids: list[int]) -> None:
            load_pids[:] = pids

        with CpuSampler(groups) as cpu:
            result = locusts.run(case.name, plan, during)
        status = grid.status()
        found.primaries = {unit["id"]: unit["primaries"] for unit in status["units"]}
        fill(found, result, cpu, names)
    say(describe(found))
    return found


def plan_of(case: Case, address: str, placed: Placement) -> Plan:
    setup = Setup(
        "grid",
        (address,),
        case.mix,
        users=case.in_flight * case.units,
        entries=case.entries,
        cores=placed.load,
    )
    offered = OFFERED[case.mix]
    each = case.seconds / case.overloads
    steps = [Step("all it takes", each, rate=offered, overload=True) for _ in range(case.overloads)]
    steps += [Step(f"{share:.0%}", each, share=share) for share in case.shares]
    return Plan(setup, tuple(steps), rate_per_user=offered / USERS, result="")


def fill(found: Measured, result: Result, cpu: CpuSampler, units: Sequence[str]) -> None:
    found.errors = sum(step.errors for step in result.steps)
    names = ("calls", "seconds", "other", "load", ELSEWHERE, *units)
    taken = dict.fromkeys(names, 0.0)
    for index, step in enumerate(result.steps):
        used = cpu.between(step.began, step.ended)
        calls = step.ops_s * step.seconds
        unit_us = sum(used[name] for name in units) / max(1.0, calls) * 1e6
        found.steps.append({**msgspec.to_builtins(step), "unit_us": round(unit_us, 2)})
        if index < found.case.overloads and unit_us:
            found.points.append(round(model(found.case.units, balance(used, units), unit_us), 1))
            for name, value in {**used, "calls": calls, "seconds": step.seconds}.items():
                taken[name] += value
    if taken["calls"]:
        found.ops_s = round(taken["calls"] / taken["seconds"], 1)
        found.unit_us = round(sum(taken[name] for name in units) / taken["calls"] * 1e6, 2)
        found.other_us = round(taken["other"] / taken["calls"] * 1e6, 2)
        found.load_us = round(taken["load"] / taken["calls"] * 1e6, 2)
        found.elsewhere = round(taken[ELSEWHERE] / taken["seconds"], 2)
        found.balance = round(balance(taken, units), 4)


def balance(used: Mapping[str, float], units: Sequence[str]) -> float:
    """Mean by the busiest; 1.0 where nothing was used."""
    each = [used[name] for name in units]
    return sum(each) / len(each) / max(each) if max(each) else 1.0


def describe(found: Measured) -> str:
    case = found.case
    halfway = next((step for step in found.steps if step["label"] == "50%"), {})
    return (
        f"{case.mix:>8} {case.units} units, {found.case.copies} copies, {case.entries:>9,} entries:"
        f" {found.ops_s:>8,.0f} calls/s; CPU a call: units {found.unit_us:6.1f} us, others"
        f" {found.other_us:5.1f}, load {found.load_us:5.1f}; balance {found.balance:.2f};"
        f" other work {found.elsewhere:.2f} cores;"
        f" at {halfway.get('label', '-')}: p50 {halfway.get('p50_us', 0) / 1000:.2f} ms,"
        f" p99 {halfway.get('p99_us', 0) / 1000:.2f} ms; {found.errors} errors"
    )


def load(grid: OwnGrid, case: Case) -> float:
    """Puts the mix's entries in; seconds taken, by the loader's own clock."""
    if case.mix == "airline":
        return float(grid.module("loadtest.load_flights", "--host", grid.address)["seconds"])
    with tupelo.sync.connect(grid.address, timeout_s=60.0) as client:
        began = time.perf_counter()
        space = client.create_space(SPACE, persist=case.persist)
        for start in range(0, case.entries, LOAD_CHUNK):
            numbers = range(start, min(start + LOAD_CHUNK, case.entries))
            space.put_many(dict.fromkeys(map(key_of, numbers), VALUE))
        return round(time.perf_counter() - began, 2)


def resident(pids: Sequence[int]) -> int:
    """Bytes of all together."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in pids)
