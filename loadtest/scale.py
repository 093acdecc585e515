"""How a grid scales: with units, with data, with backups. locust makes the load.

    python -m loadtest.scale --units 1,2,4,8 --json --plot [--quick]

Three parts (`--part`, default all of them):

    units     the airline's customers and YCSB's workload B on grids of N units, one backup
    data      YCSB B on 3 units with more and more entries (`--entries`), not written behind
    backups   YCSB A on 3 units with 0, 1 and 2 backups

Each case is a grid of its own on all CPUs but one; locust and its drivers have that one. First more
is offered than it can take, then 25, 50 and 75 % of what it took, in an open loop: latencies count
from when a call was meant to start. **On one machine throughput ends at its cores, however many
units share them.** So what is measured is CPU time for each call, and how evenly units share it;
what N units would do with a core each is modelled from those (Universal Scalability Law, fitted to
2 units and more: one unit has no backup), and marked as such.

Results go to --out (default: results/): scale-PART.json, scale-PART.png, and for each case locust's
own report and log. A case replaces the same one of an earlier run there; others stay, so that a
long measurement can be made in pieces. The last line with --json: {"units", "data", "backups",
"model", "placement", "cpus"}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from tupelo.errors import TupeloError

from loadtest import plots
from loadtest.cores import Placement, placement
from loadtest.grids import ROOT, GridError
from loadtest.locusts import LocustError, Locusts
from loadtest.scale_runs import Case, Measured, Mix, measure
from loadtest.usl import Usl, fit

PARTS: Final = ("units", "data", "backups")
MIXES: Final[tuple[Mix, ...]] = ("airline", "ycsb-b")
MODELLED: Final = (1, 2, 4, 8, 16, 32, 64)
DATA_UNITS: Final = 3
QUICK_S: Final = 1.0


def cases_of(part: str, options: argparse.Namespace) -> list[Case]:
    seconds = QUICK_S if options.quick else options.seconds
    overloads = 1 if options.quick else 3
    shares = (0.5,) if options.quick else (0.25, 0.5, 0.75)
    steps: dict[str, Any] = {"seconds": seconds, "overloads": overloads, "shares": shares}
    steps["in_flight"] = options.in_flight
    if part == "units":
        return [Case(mix, units, **steps) for mix in options.mixes for units in options.units]
    if part == "data":
        return [
            Case("ycsb-b", DATA_UNITS, entries=n, persist=False, **{**steps, "shares": (0.5,)})
            for n in options.entries
        ]
    return [Case("ycsb-a", DATA_UNITS, backups=n, **steps) for n in (0, 1, 2)]


def law_of(measured: Sequence[Measured]) -> Usl | None:
    """Fitted to grids in which every entry has its backup; None: too few of those."""
    points = [
        (float(one.case.units), ops_s)
        for one in measured
        if one.case.copies == 2
        for ops_s in one.points
    ]
    return fit(points) if len({units for units, _ in points}) >= 2 else None


def models_of(measured: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """By mix: the law and what it says for more units."""
    found: dict[str, dict[str, Any]] = {}
    for mix in dict.fromkeys(one.case.mix for one in measured):
        law = law_of([one for one in measured if one.case.mix == mix])
        if law is not None:
            found[mix] = {
                **msgspec.to_builtins(law),
                "modelled_ops_s": {str(n): round(law.throughput(n)) for n in MODELLED},
            }
    return found


def show_models(models: dict[str, dict[str, Any]]) -> None:
    for mix, model in models.items():
        said = ", ".join(f"{n}: {ops_s:,}" for n, ops_s in model["modelled_ops_s"].items())
        say(
            f"MODELLED, not measured: {mix} with a core for each unit, calls/s by units: {said}"
            f" (USL: contention {model['contention']:.4f}, coherency {model['coherency']:.5f})"
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(float(part)) for part in text.split(","))


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="loadtest.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--units", type=numbers, default=(1, 2, 4, 8))
    parser.add_argument("--mixes", type=lambda text: text.split(","), default=MIXES)
    parser.add_argument("--entries", type=numbers, default=(10_000, 100_000, 1_000_000))
    parser.add_argument("--seconds", type=float, default=6.0, help="of too much load")
    parser.add_argument("--in-flight", type=int, default=64, help="calls, for each unit")
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
    say(f"{os.cpu_count()} CPUs: {placed.as_text()}")
    with_load(placed)
    locusts = Locusts(options.out / "locust", placed.load, options.workers)
    everything: dict[str, Any] = {}
    try:
        for part in options.part or PARTS:
            measured = [measure(one, locusts, placed, say) for one in cases_of(part, options)]
            path = options.out / f"scale-{part}.json"
            rows = with_earlier(measured, path)
            found = {part: msgspec.to_builtins(rows), "placement": placed.as_text()}
            found["cpus"] = os.cpu_count()
            if part == "units":
                found["model"] = models_of(rows)
                show_models(found["model"])
            path.write_text(json.dumps(found, indent=1) + "\n")
            if options.plot:
                plots.scale(part, found, path.with_suffix(".png"))
            everything |= found
    except (GridError, LocustError, TupeloError) as error:
        say(f"the measurement failed: {error}")
        return 1
    if options.json:
        print(json.dumps(everything))
    return 0


def with_load(placed: Placement) -> None:
    """This process loads the grid and watches: beside the load, not the system."""
    if placed.load:
        os.sched_setaffinity(0, placed.load)


def order(case: Case) -> tuple[str, int, int, int]:
    return case.mix, case.units, case.backups, case.entries


def with_earlier(measured: Sequence[Measured], path: Path) -> list[Measured]:
    """Also the cases of an earlier run that were not measured again."""
    now = {one.case.name: one for one in measured}
    earlier: dict[str, Measured] = {}
    if path.is_file():
        part = path.stem.removeprefix("scale-")
        rows = msgspec.convert(json.loads(path.read_text())[part], list[Measured])
        earlier = {one.case.name: one for one in rows}
    found = [*(earlier | now).values()]
    return sorted(found, key=lambda one: order(one.case))


if __name__ == "__main__":
    sys.exit(main())
