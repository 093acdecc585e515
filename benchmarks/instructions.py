"""Instructions that the core takes for an operation, counted by callgrind: the same in every run.

    python -m benchmarks.instructions                 counts, and compares with the stored baseline
    python -m benchmarks.instructions --store         makes what is counted the baseline

A run without frames is taken off each shape's run: it is the interpreter's start, and filling the
grid. What is left is making FRAMES frames and carrying them out. Four runs take two minutes, most
of which is start, so it is a command and no part of `make test`. The baseline is of one interpreter
build, so it is kept by Python version; where there is none for this one, nothing is compared and
that is said. Ends with 1 when a shape takes more than TOLERANCE more than its baseline. valgrind is
Debian's package.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.micro.core_loop import SHAPES
from benchmarks.sdk import ROOT

BASELINE: Final = ROOT / "benchmarks" / "micro" / "instructions.json"
FRAMES: Final = 16
TOLERANCE: Final = 0.02
"""Runs differ by less than 0.1 %: addresses decide where objects lie in sets and pools."""
LIMIT_S: Final = 300.0
COLLECTED: Final = re.compile(r"Collected\s*:\s*(\d+)")


class NoCallgrind(Exception):
    """It is not here, or did not count; the text says what to do."""


def instructions(shape: str, frames: int) -> int:
    """Of a whole process that runs so many frames. Raises NoCallgrind."""
    valgrind = shutil.which("valgrind")
    if not valgrind:
        raise NoCallgrind("valgrind is not on the PATH: apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="tupelo-callgrind-") as folder:
        command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += [sys.executable, "-m", "benchmarks.micro.core_loop", shape, str(frames)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    found = COLLECTED.search(done.stderr)
    if done.returncode or not found:
        raise NoCallgrind(f"callgrind did not count:\n{done.stderr[-2000:]}")
    return int(found[1])


def count() -> dict[str, float]:
    """Of one operation, by shape."""
    start = instructions("get", 0)
    return {
        shape: round((instructions(shape, FRAMES) - start) / (FRAMES * operations), 1)
        for shape, (_, operations) in SHAPES.items()
    }


def interpreter() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"


def compare(counted: dict[str, float], baseline: dict[str, float]) -> list[str]:
    """One line for each shape that takes too much."""
    return [
        f"{shape}: {value:,.0f} instructions an operation, {value / baseline[shape] - 1:+.1%} "
        f"of {baseline[shape]:,.0f}; {TOLERANCE:.0%} is allowed"
        for shape, value in counted.items()
        if shape in baseline and value > baseline[shape] * (1 + TOLERANCE)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--store", action="store_true", help="keep the counts as the baseline")
    parser.add_argument("--json", action="store_true", help="print the counts as the last line")
    options = parser.parse_args()
    try:
        counted = count()
    except NoCallgrind as error:
        print(error, file=sys.stderr)
        return 2
    kept = _kept(BASELINE)
    baseline = kept.get(interpreter(), {})
    for shape, value in counted.items():
        change = f"{value / baseline[shape] - 1:+.2%}" if shape in baseline else "no baseline"
        print(f"{shape:>9} {value:>9,.0f} instructions an operation  {change}", file=sys.stderr)
    if options.store:
        kept[interpreter()] = counted
        BASELINE.write_text(json.dumps(kept, indent=1) + "\n")
    elif not baseline:
        print(f"no baseline of {interpreter()}: --store makes one", file=sys.stderr)
    if options.json:
        print(json.dumps({"instructions": counted, "baseline": baseline}))
    problems = [] if options.store else compare(counted, baseline)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _kept(path: Path) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    kept: dict[str, dict[str, float]] = json.loads(path.read_text())
    return kept


if __name__ == "__main__":
    sys.exit(main())
