"""python -m tests.fuzz [--inputs N] [--seed S] [--targets A,B] [--json]
python -m tests.fuzz --again SEED/TARGET/NUMBER

Feeds N random inputs to all decoders and servicers, the same number to each. The last line is JSON:
inputs, crashes and slow inputs by target, and how much memory has grown in the second half. The
exit code is 1 after a crash: an exception that is not documented, an error of ours that was logged,
or an answer that is none. Every crash names the input that shows it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from typing import Any

from tests.fuzz.harness import (
    Complaints,
    Growth,
    Report,
    attempt,
    fuzz,
    memory_bytes,
)
from tests.fuzz.targets import TARGETS, targets_of

SHOWN_MAX = 5
GROWTH_BYTES_MAX = 32 << 20


async def all_of(kinds: Any, inputs: int, seed: int) -> tuple[list[Report], Growth]:
    """The first half warms up caches; the second shows whether anything piles up."""
    complaints = Complaints()
    root, runner = logging.getLogger(), logging.getLogger("tupelo_grid.units.runner")
    levels = root.level, runner.level
    root.addHandler(complaints)
    root.setLevel(logging.ERROR)
    runner.setLevel(logging.CRITICAL)
    try:
        first = await fuzz(kinds, inputs // 2, seed, complaints)
        before = memory_bytes()
        second = await fuzz(kinds, inputs - inputs // 2, seed + 1, complaints)
        growth = Growth(before, memory_bytes())
    finally:
        root.removeHandler(complaints)
        root.setLevel(levels[0])
        runner.setLevel(levels[1])
    return [joined(one, two) for one, two in zip(first, second, strict=True)], growth


def joined(one: Report, two: Report) -> Report:
    return Report(
        one.name,
        one.inputs + two.inputs,
        one.taken + two.taken,
        one.crashes + two.crashes,
        one.slow + two.slow,
        one.elapsed_s + two.elapsed_s,
    )


async def again(seed: str) -> Report:
    """One input, by what a crash was reported with."""
    kind = TARGETS[seed.split("/")[1]]
    report, complaints = Report(kind.name), Complaints()
    logging.getLogger().addHandler(complaints)
    target = kind()
    await attempt(target, seed, complaints, report)
    target.close()
    return report


def facts_of(reports: list[Report], growth: Growth) -> dict[str, Any]:
    return {
        "inputs": sum(report.inputs for report in reports),
        "crashes": sum(len(report.crashes) for report in reports),
        "slow": sum(len(report.slow) for report in reports),
        "memory_growth_bytes": growth.grown,
        "memory_bytes": growth.after,
        "targets": {
            report.name: {
                "inputs": report.inputs,
                "taken": report.taken,
                "crashes": len(report.crashes),
                "inputs_per_s": round(report.inputs / max(report.elapsed_s, 1e-6)),
            }
            for report in reports
        },
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", default="", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--json", action="store_true", help="nothing but JSON on stdout")
    parser.add_argument("--again", default="", help="one input, as a crash names it")
    options = parser.parse_args(arguments)
    if options.again:
        report = asyncio.run(again(options.again))
        print(report.crashes[0][1] if report.crashes else "it does not crash")
        return 1 if report.crashes else 0
    try:
        kinds = targets_of(options.targets)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    reports, growth = asyncio.run(all_of(kinds, options.inputs, options.seed))
    for report in reports:
        for seed, text in report.crashes[:SHOWN_MAX]:
            print(f"CRASH {seed}\n{text}", file=sys.stderr)
        for seed in report.slow[:SHOWN_MAX]:
            print(f"SLOW {seed}", file=sys.stderr)
    facts = facts_of(reports, growth)
    print(json.dumps(facts) if options.json else json.dumps(facts, indent=1))
    too_much = growth.grown > GROWTH_BYTES_MAX
    return 1 if facts["crashes"] or too_much else 0


if __name__ == "__main__":
    sys.exit(main())
