"""A seat-sale rush on two systems: a service on a database, and the grid with that database behind.

    python -m loadtest.impact --json --plot [--quick] [--part database --part grid --part crash]

    database   grpc.aio workers and asyncpg on PostgreSQL (loadtest/database)
    grid       units with one backup (processing-units/rush), written behind to PostgreSQL
    crash      both again at one and the same load, in the middle of which a part is killed

Customers arrive in an open loop, made by locust: each looks at a flight's seats, four of ten hold
one and most of those buy it. More and more of them arrive until the system breaks (--p99-ms,
--errors): so far it held. In the end, what customers were told is compared with the database: no
seat may be sold twice and no purchase may be missing.

Both systems run on all CPUs but one, PostgreSQL included; locust and its drivers have that one.
Results go to --out (default: results/): impact-PART.json, impact.png, impact-crash.png, and
locust's own reports. --part crash needs the figures of --part database, or --rate. The last line
with --json has everything; the exit code is 1 where a seat was oversold or lost.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from tupelo.errors import TupeloError

from loadtest import plots
from loadtest.check import CheckError
from loadtest.cores import Placement, placement
from loadtest.cpu import CpuSampler, tree
from loadtest.grids import ROOT, GridError
from loadtest.locusts import LocustError, Locusts
from loadtest.plan import Plan, Result, Setup, Step
from loadtest.reports import Bound, StepFigures, hurt_s
from loadtest.systems import SYSTEMS, System, read_purchases
from loadtest.verdict import Verdict, judge

PARTS: Final = ("database", "grid", "crash")
FIRST_RATE: Final = 200.0
GROWTH: Final = 1.35
STEPS_MAX: Final = 18
IN_FLIGHT: Final = 512
QUICK_S: Final = 1.0
CRASH_SHARE: Final = 0.5
"""Of the highest load that the database-centric form held."""
CRASH_AT_S: Final = 9.0
"""After locust was started, which takes some seconds of it."""


class Ladder(msgspec.Struct):
    """One system under more and more load.

    Attributes:
        held: customers a second of the last step before it broke; 0.0: none.
        broke_at: of the step that broke it; 0.0: none did.
        why: what was exceeded then.
        steps: StepFigures, with CPU seconds by part of the system ("cpu") beside.
    """

    system: str
    held: float = 0.0
    held_ops_s: float = 0.0
    broke_at: float = 0.0
    why: str = ""
    steps: list[dict[str, Any]] = []
    verdict: Verdict = msgspec.field(default_factory=Verdict)


class Crash(msgspec.Struct):
    """One crash under load.

    Attributes:
        hurt_s: until p99, errors and throughput were as they should be, for good.
        failed: calls and arrivals that failed in that time.
        p99_us: at worst, over half a second.
        moments: [seconds after the crash, answered a second, failed a second, p99_us].
    """

    system: str
    what: str
    rate: float
    hurt_s: float = 0.0
    failed: int = 0
    p99_us: float = 0.0
    moments: list[tuple[float, float, float, float]] = []
    verdict: Verdict = msgspec.field(default_factory=Verdict)


class Study:
    """Runs parts with what they share."""

    def __init__(self, options: argparse.Namespace, placed: Placement) -> None:
        self._options = options
        self._placed = placed
        self._locusts = Locusts(options.out / "locust", placed.load, options.workers)
        self.bound = Bound(options.p99_ms, options.errors)
        self.seconds = QUICK_S if options.quick else options.seconds

    def ladder(self, kind: str) -> Ladder:
        rates = self._options.rates or [FIRST_RATE * GROWTH**n for n in range(STEPS_MAX)]
        steps = tuple(
            Step(f"{rate:,.0f} customers/s", self.seconds, rate=round(rate)) for rate in rates
        )
        found = Ladder(kind)
        with SYSTEMS[kind](self._placed.system) as system, purchases_folder() as folder:
            load_pids: list[int] = []

            def during(pids: list[int]) -> None:
                load_pids[:] = pids

            groups = system.groups()
            groups["load"] = lambda: [one for pid in load_pids for one in tree(pid)]
            with CpuSampler(groups) as cpu:
                plan = self._plan(system, steps, folder)
                result = self._locusts.run(f"impact-{kind}", plan, during)
            self._fill(found, result.steps, cpu)
            found.verdict = verdict_of(system, folder)
        say_ladder(found)
        return found

    def _plan(self, system: System, steps: Sequence[Step], folder: Path) -> Plan:
        setup = Setup(
            system.kind,
            system.addresses,
            "rush",
            users=IN_FLIGHT,
            purchases=str(folder / "purchases"),
            cores=self._placed.load,
        )
        # One locust user for each: at most some hundred of them.
        per_user = max(10.0, max(step.rate for step in steps) / 1000)
        return Plan(setup, tuple(steps), rate_per_user=per_user, result="", stop=self.bound)

    def _fill(self, found: Ladder, steps: Sequence[StepFigures], cpu: CpuSampler) -> None:
        for step in steps:
            used = cpu.between(step.began, step.ended)
            found.steps.append({**msgspec.to_builtins(step), "cpu": used})
            why = self.bound.broken_by(step)
            if why and not found.broke_at:
                found.broke_at, found.why = step.offered_s, why
            if not found.broke_at:
                found.held, found.held_ops_s = step.offered_s, step.ops_s

    def crashes(self, rate: float) -> list[Crash]:
        """Of both systems, one after another."""
        found = []
        for kind, start in SYSTEMS.items():
            with start(self._placed.system) as system:
                for what in system.crashes:
                    found.append(self._crash(kind, system, what, rate))
        return found

    def _crash(self, kind: str, system: System, what: str, rate: float) -> Crash:
        found = Crash(kind, what, rate)
        began, crashed = time.monotonic(), 0.0

        def during(_: list[int]) -> None:
            nonlocal crashed
            if not crashed and time.monotonic() - began > CRASH_AT_S:
                system.crashes[what]()
                crashed = time.time()

        with purchases_folder() as folder:
            steps = [Step(f"{rate:,.0f} customers/s", self._options.crash_seconds, rate=rate)]
            plan = msgspec.structs.replace(self._plan(system, steps, folder), stop=None)
            name = f"impact-{kind}-crash-of-{what.replace(' ', '-')}"
            result = self._locusts.run(name, plan, during)
            if not crashed:
                raise LocustError("locust ended before anything was killed")
            fill_crash(found, result, self.bound, crashed)
            found.verdict = verdict_of(system, folder, all_sales=False)
        say(
            f"{kind}: {what} killed at {rate:,.0f} customers/s: not well for {found.hurt_s:.1f} s, "
            f"{found.failed} calls failed, p99 up to {found.p99_us / 1000:,.0f} ms; "
            f"oversold {found.verdict.oversold}, lost {found.verdict.lost}"
        )
        return found


def fill_crash(found: Crash, result: Result, bound: Bound, crashed: float) -> None:
    step = result.steps[0]
    # The last one is cut off by the end, and those before the step had settled are not its own.
    moments = [one for one in result.moments if step.began < one.at <= step.ended]
    width = moments[1].at - moments[0].at
    calls_s = sum(one.answered for one in moments if one.at <= crashed)
    calls_s /= max(width, sum(width for one in moments if one.at <= crashed))
    found.hurt_s = round(hurt_s(moments, bound, crashed, calls_s), 2)
    after = [one for one in moments if one.at > crashed]
    found.failed = sum(one.failed for one in after)
    found.p99_us = max((one.p99_us for one in after), default=0.0)
    found.moments = [
        (round(one.at - crashed, 2), one.answered / width, one.failed / width, one.p99_us)
        for one in moments
    ]


def verdict_of(system: System, folder: Path, all_sales: bool = True) -> Verdict:
    """`all_sales`: nothing had been sold before."""
    system.settle()
    purchases = read_purchases(sorted(folder.iterdir()))
    sales = system.sales()
    found = judge(purchases, sales, system.mismatches())
    if not all_sales:
        found.unconfirmed = 0
    return found


@contextmanager
def purchases_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tupelo-impact-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say_ladder(found: Ladder) -> None:
    for step in found.steps:
        used, seconds = step["cpu"], step["seconds"] or 1.0
        shares = ", ".join(f"{name} {cpu / seconds:.2f}" for name, cpu in used.items())
        say(
            f"{found.system:>8} {step['offered_s']:>8,.0f} customers/s: {step['ops_s']:>8,.0f} "
            f"calls/s, p50 {step['p50_us'] / 1000:8.2f} ms, p99 {step['p99_us'] / 1000:9.2f} ms, "
            f"errors {step['error_share']:6.2%}; cores: {shares}"
        )
    verdict = found.verdict
    say(
        f"{found.system}: held {found.held:,.0f} customers/s ({found.held_ops_s:,.0f} calls/s), "
        f"broke at {found.broke_at:,.0f} ({found.why or 'not yet'}); {verdict.acknowledged:,} "
        f"seats sold, {verdict.in_database:,} in the database, oversold {verdict.oversold}, "
        f"lost {verdict.lost}, grid against database: {verdict.mismatches} mismatches"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="loadtest.impact",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a step, when it has settled")
    parser.add_argument("--crash-seconds", type=float, default=16.0, help="of a crash's load")
    parser.add_argument(
        "--rates",
        type=lambda text: [float(part) for part in text.split(",")],
        help="customers a second, step by step (default: from 200, 1.35 times more each)",
    )
    parser.add_argument("--rate", type=float, default=0.0, help="of --part crash")
    parser.add_argument("--p99-ms", type=float, default=250.0, help="a system beyond it is broken")
    parser.add_argument("--errors", type=float, default=0.01, help="share; likewise")
    parser.add_argument("--workers", type=int, default=0, help="of locust; 0: one process")
    parser.add_argument("--unpinned", action="store_true", help="let everything run on any CPU")
    parser.add_argument("--quick", action="store_true", help="short steps: to see that it works")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--plot", action="store_true", help="PNG files beside the figures")
    parser.add_argument("--json", action="store_true", help="everything as the last line")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = arguments_of(arguments)
    placed = placement(not options.unpinned)
    if placed.load:
        os.sched_setaffinity(0, placed.load)
    study = Study(options, placed)
    say(f"{os.cpu_count()} CPUs: {placed.as_text()}; broken: {study.bound.as_text()}")
    try:
        for part in options.part or PARTS:
            if part == "crash":
                figures: Any = study.crashes(crash_rate(options))
            else:
                figures = study.ladder(part)
            found = {part: msgspec.to_builtins(figures), "placement": placed.as_text()}
            found |= {"bound": study.bound.as_text(), "cpus": os.cpu_count()}
            path = options.out / f"impact-{part}.json"
            path.write_text(json.dumps(found, indent=1) + "\n")
    except (GridError, LocustError, CheckError, TupeloError) as error:
        say(f"the study failed: {error}")
        return 1
    everything = read_all(options.out)
    if options.plot:
        plots.impact(everything, options.out)
    if options.json:
        print(json.dumps(everything))
    return 0 if all(good(everything)) else 1


def crash_rate(options: argparse.Namespace) -> float:
    """Raises LocustError when nobody has said how much."""
    if options.rate:
        return float(options.rate)
    path = options.out / "impact-database.json"
    if not path.is_file():
        raise LocustError("--part crash needs --rate, or the figures of --part database")
    return float(round(json.loads(path.read_text())["database"]["held"] * CRASH_SHARE))


def read_all(out: Path) -> dict[str, Any]:
    """What there is of all parts, this run's and earlier ones'."""
    found: dict[str, Any] = {}
    for part in PARTS:
        path = out / f"impact-{part}.json"
        if path.is_file():
            found |= json.loads(path.read_text())
    return found


def good(everything: dict[str, Any]) -> Iterator[bool]:
    parts = [everything[part] for part in ("database", "grid") if part in everything]
    for one in [*parts, *everything.get("crash", [])]:
        verdict = one["verdict"]
        yield verdict["oversold"] == verdict["lost"] == verdict["mismatches"] == 0


if __name__ == "__main__":
    sys.exit(main())
