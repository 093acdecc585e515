"""python -m tests.simulation --schedules N --seed S [--json] [--jobs J] [--transcript]
python -m tests.simulation --mutations [--only NAME,...] [--seed S] [--json] [--jobs J]

Runs N simulated schedules, of seeds S, S+1, ... A seed replays its run exactly. With --mutations,
shows that each deliberate protocol bug is caught within its stated number of schedules.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from time import perf_counter

from tests.simulation.catching import Catch
from tests.simulation.disk_mutations import DISK_MUTATIONS, catch_disk
from tests.simulation.disks import disks_of
from tests.simulation.mutations import MUTATIONS, catch
from tests.simulation.plan import Plan
from tests.simulation.run import Result, run, shrink
from tests.simulation.spill_mutations import SPILL_MUTATIONS, catch_spill
from tests.simulation.spilling import spilling_of


def schedules(first: int, count: int, jobs: int, kind: str = "") -> list[Result]:
    one = RUNS[kind]
    if jobs <= 1:
        return [one(seed) for seed in range(first, first + count)]
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(one, range(first, first + count), chunksize=8))


def run_with_disks(seed: int, transcript: list[str] | None = None) -> Result:
    return run(seed, transcript, disks_of(seed))


def run_with_spill(seed: int, transcript: list[str] | None = None) -> Result:
    return run(seed, transcript, spilling_of(seed))


RUNS = {"": run, "disks": run_with_disks, "spill": run_with_spill}
PLANS: dict[str, Callable[[int], Plan | None]] = {
    "": lambda seed: None,
    "disks": disks_of,
    "spill": spilling_of,
}


def report(results: list[Result], elapsed_s: float) -> dict[str, object]:
    bad = [result for result in results if result.violation]
    faults: dict[str, int] = {}
    for result in results:
        for name, count in result.faults.items():
            faults[name] = faults.get(name, 0) + count
    return {
        "schedules": len(results),
        "violations": len(bad),
        "seeds": [result.seed for result in bad],
        "events": sum(result.events for result in results),
        "events_per_s": round(sum(r.events for r in results) / sum(r.seconds for r in results)),
        "operations": sum(result.operations for result in results),
        "acknowledged_writes": sum(result.acknowledged for result in results),
        "committed_records": sum(result.records for result in results),
        "lost_partitions": sum(result.lost_partitions for result in results),
        "undecided_keys": sum(result.undecided for result in results),
        "heal_s_max": round(max(result.healed_s for result in results), 2),
        "faults": dict(sorted(faults.items())),
        "cpu_s": round(sum(result.seconds for result in results), 1),
        "elapsed_s": round(elapsed_s, 1),
    }


def mutations(names: list[str], first: int, jobs: int, kind: str = "") -> list[Catch]:
    known, catcher = {
        "": (MUTATIONS, catch),
        "disks": (DISK_MUTATIONS, catch_disk),
        "spill": (SPILL_MUTATIONS, catch_spill),
    }[kind]
    wanted = [one.name for one in known if not names or one.name in names]
    if jobs <= 1:
        return [_told(catcher(name, first)) for name in wanted]
    with ProcessPoolExecutor(jobs) as pool:
        return [_told(one) for one in pool.map(catcher, wanted, [first] * len(wanted))]


def _told(one: Catch) -> Catch:
    print(f"{one.name}: {one.schedules or 'NOT CAUGHT'}: {one.how}", file=sys.stderr, flush=True)
    return one


def report_mutations(caught: list[Catch]) -> dict[str, object]:
    return {
        "mutations": len(caught),
        "caught": sum(one.schedules > 0 for one in caught),
        "not_caught": [one.name for one in caught if not one.schedules],
        "schedules_needed": {one.name: one.schedules for one in caught},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--transcript", action="store_true", help="of the run of --seed alone")
    parser.add_argument("--disks", action="store_true", help="a disk in every unit; see disks.py")
    parser.add_argument("--spill", action="store_true", help="journals spill; see spilling.py")
    parser.add_argument("--mutations", action="store_true")
    parser.add_argument("--only", default="", help="names of mutations, with commas between")
    options = parser.parse_args(arguments)
    kind = "disks" if options.disks else "spill" if options.spill else ""
    if options.transcript:
        lines: list[str] = []
        result = RUNS[kind](options.seed, lines)
        print("\n".join(lines))
        print(json.dumps(asdict(result), indent=1))
        return 1 if result.violation else 0
    started = perf_counter()
    if options.mutations:
        names = [name for name in options.only.split(",") if name]
        caught = mutations(names, options.seed, options.jobs, kind)
        outcome = report_mutations(caught) | {"elapsed_s": round(perf_counter() - started, 1)}
        print(json.dumps(outcome) if options.json else json.dumps(outcome, indent=1))
        return 1 if outcome["not_caught"] else 0
    results = schedules(options.seed, options.schedules, options.jobs, kind)
    summary = report(results, perf_counter() - started)
    for result in results:
        if result.violation:
            print(
                f"seed {result.seed} at {result.at_s:.4f} s: {result.violation}\n"
                f"  {shrink(result.seed, PLANS[kind](result.seed))}\n"
                f"  replay: python -m tests.simulation {f'--{kind} ' if kind else ''}--seed "
                f"{result.seed} --transcript",
                file=sys.stderr,
            )
    print(json.dumps(summary) if options.json else json.dumps(summary, indent=1))
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
