"""The grid beside every peer that is to be had here, in one run, as JSON, a table and pictures.

    python -m benchmarks.peers --install                    clients and servers of the peers
    python -m benchmarks.peers --json --plot                everything; about half an hour
    python -m benchmarks.peers --quick --systems tupelo,redis-py --shapes plain,batch --json
    python -m benchmarks.peers --merge a.json b.json --json --plot

All systems run at the same time on loopback ports of their own, each client in a process of its
own; only one is asked at a time, in rounds. The last line with --json: {"rows": [...], "ratios":
{...}}. A ratio is the median over rounds of our operations a second by theirs; of get and put, or
of get_many and put_many, the worse. docs/BENCHMARKS.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.install import install
from benchmarks.peers.report import markdown
from benchmarks.peers.results import merged, ratios_of, rows_of
from benchmarks.peers.rounds import measure, placement, systems
from benchmarks.peers.shapes import GROUPS, shapes_of
from benchmarks.peers.systems import ADAPTERS, NOT_HERE
from benchmarks.sdk import ROOT

RESULTS: Final = ROOT / "results" / "peers"
QUICK_S: Final = 0.3
QUICK_ROUNDS: Final = 2


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    names = options.systems.split(",") if options.systems else list(ADAPTERS)
    unknown = [name for name in names if name not in ADAPTERS]
    if unknown:
        raise ValueError(f"no system {unknown[0]!r}; there are: {', '.join(ADAPTERS)}")
    shapes = shapes_of(options.shapes.split(",") if options.shapes else list(GROUPS))
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else 5)
    seconds = options.seconds or (QUICK_S if options.quick else 1.0)
    missing = dict(NOT_HERE)
    run_name = options.run or datetime.now(UTC).strftime("%H%M%S")
    rows = []
    began = time.monotonic()
    with systems(names, say, missing) as remotes:
        for where in map(placement, options.placement.split(",")):
            say(f"placement {where.name}: clients on {where.clients}, servers on {where.servers}")
            rows += rows_of(
                measure(remotes, shapes, where, rounds, seconds, say), run_name, where.name
            )
        about = {remote.name: remote.about for remote in remotes}
    say(f"took {time.monotonic() - began:.0f} s")
    result = {"machine": machine(), "about": about, "missing": missing}
    return {**result, "rows": rows, "ratios": ratios_of(rows)}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--install", action="store_true", help="fetch clients and servers, and end")
    found.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_S} s")
    found.add_argument("--systems", default="", help=f"of {','.join(ADAPTERS)}; default all")
    found.add_argument("--shapes", default="", help=f"groups ({','.join(GROUPS)}) or shapes")
    found.add_argument("--placement", default="pinned", help="pinned, free or pinned,free")
    found.add_argument("--rounds", type=int, default=0)
    found.add_argument("--seconds", type=float, default=0.0, help="of one slice")
    found.add_argument("--run", default="", help="name of the run in its rows; default the time")
    found.add_argument("--merge", nargs="+", default=[], type=Path, help="results to put together")
    found.add_argument("--out", type=Path, default=RESULTS, help="folder of all that is written")
    found.add_argument("--json", action="store_true", help="print the result as the last line")
    found.add_argument("--plot", action="store_true", help="write PNG files")
    return found


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.install:
        return 1 if install(say) else 0
    try:
        if options.merge:
            result = merged([json.loads(path.read_text()) for path in options.merge])
        else:
            result = run(options)
    except ValueError as error:
        say(str(error))
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "peers.json").write_text(json.dumps(result, indent=1))
    table = markdown(result)
    (options.out / "peers.md").write_text(table)
    say(table)
    if options.plot:
        from benchmarks.peers.plot import plot

        for path in plot(result, options.out):
            say(f"wrote {path}")
    if options.json:
        print(json.dumps(result))
    return 0
