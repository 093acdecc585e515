"""python -m tests.persistence.power_loss --rounds 3 --json

Starts a real grid of three units with their journals on disk and fsync = "always", and a load of
puts, deletes and commands. Then it kills every process at once by SIGKILL, control and messaging
included, starts the grid again, and compares: what was acknowledged must be there, once, and what
was deleted must not. Calls under way at that moment are repeated by the client under their old
numbers, so the tables of what clients have done are tested too. Nothing is read from the store.

With `--fsync interval` what the system was handed is there too, since only processes die.

The last line is JSON. The exit code is 0 when nothing was lost, done twice or resurrected, and the
store ends with what the grid has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from tests.e2e.grids import Grid
from tests.pause import pause
from tests.persistence.compare import Verdict, entries_of, judge, match, rows_of
from tests.persistence.ledger import Ledger
from tests.persistence.outage import SPACES, UNIT
from tests.persistence.stores import running_store


@dataclass(frozen=True, slots=True)
class Settings:
    rounds: int = 3
    writes: int = 3000
    tasks: int = 32
    fsync: str = "always"
    timeout_s: float = 60.0
    drain_s: float = 60.0


async def run(settings: Settings, folder: Path) -> dict[str, Any]:
    """The report."""
    with running_store("sqlite", folder / "grid") as store:
        grid = await asyncio.to_thread(
            Grid.start,
            folder,
            *("--space", "carts", "--unit", str(UNIT)),
            *("--set", "durability=disk", "--set", f"fsync={settings.fsync}", *store.options),
        )
        verdict = Verdict()
        report: dict[str, Any] = {"fsync": settings.fsync, "rounds": settings.rounds}
        try:
            async with Ledger(grid.address, settings.tasks, 0.0, settings.timeout_s) as ledger:
                report |= await _rounds(settings, grid, ledger, verdict)
                found = {space: await entries_of(ledger.grid, space) for space in SPACES}
            reader = store.reader()
            try:
                for space, entries in found.items():
                    match(verdict, space, entries, await rows_of(reader, space))
            finally:
                await reader.close()
        finally:
            await asyncio.to_thread(grid.stop)
    known = ledger.known
    report |= {
        "writes": known.writes,
        "acknowledged": known.acknowledged,
        "unknown": known.unknown,
        "refused": known.refused,
        "entries": {space: len(entries) for space, entries in found.items()},
        **asdict(verdict),
    }
    wrong = ("lost", "duplicates", "resurrected", "store_mismatches")
    report["ok"] = bool(report["drained"]) and not any(report[name] for name in wrong)
    return report


async def _rounds(
    settings: Settings, grid: Grid, ledger: Ledger, verdict: Verdict
) -> dict[str, Any]:
    killed, up_s, healthy_s = [], [], []
    for number in range(settings.rounds):
        if number:
            ledger.begin()
        await ledger.reach(ledger.known.acknowledged + settings.writes)
        # No task begins another call; those under way end after the restart.
        ledger.stop()
        killed.append(_kill_all(grid))
        while grid.processes():
            await pause(0.01)
        started = time.monotonic()
        again = await asyncio.to_thread(grid.up)
        if again.returncode:
            raise AssertionError(f"{again.stderr}\n{grid.logs()}")
        up_s.append(round(grid.up_s, 2))
        await asyncio.to_thread(grid.until_healthy)
        healthy_s.append(round(time.monotonic() - started, 2))
        await ledger.finish()
        carts = await entries_of(ledger.grid, "carts")
        judge(verdict, ledger.known, carts, await entries_of(ledger.grid, "accounts"))
    arguments = ("drain", "--json", "--timeout", settings.drain_s)
    drained = json.loads((await asyncio.to_thread(grid.cli, *arguments)).stdout.splitlines()[-1])
    return {
        "processes_killed": killed,
        "up_s": up_s,
        "healthy_s": healthy_s,
        "drained": drained["drained"],
    }


def _kill_all(grid: Grid) -> int:
    """All at once, so that nobody sees another die: first stopped, then killed."""
    runs = list(grid.processes().values())
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for run in runs:
            os.kill(run.pid, number)
    return len(runs)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.persistence.power_loss",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is killed")
    parser.add_argument("--writes", type=int, default=3000, help="acknowledged before each")
    parser.add_argument("--tasks", type=int, default=32, help="that write at the same time")
    parser.add_argument("--fsync", choices=["always", "interval"], default="always")
    parser.add_argument("--json", action="store_true", help="nothing but JSON on stdout")
    options = parser.parse_args(arguments)
    settings = Settings(options.rounds, options.writes, options.tasks, options.fsync)
    with tempfile.TemporaryDirectory(prefix="tupelo-power-") as folder:
        report = uvloop.run(run(settings, Path(folder)))
    if not options.json:
        for name, value in report.items():
            sys.stdout.write(f"{name:28} {value}\n")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
