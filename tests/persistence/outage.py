"""python -m tests.persistence.outage --store postgres --transport nats --seconds 60 --json

Starts a real grid of three units with a load of puts, deletes and commands, takes the store away
for N seconds, kills a unit by SIGKILL half way through, gives the store back, and drains. Then the
grid must have exactly what was acknowledged, and the store exactly what the grid has.

With --spill the journals may hold little in memory and the rest in files. The killed unit comes
back during the outage and is sent copies with all that the store lacks; then another unit is
killed, so that these copies become primaries, which bring it to the store from their own files.

The last line is JSON. The exit code is 0 when nothing was lost, done twice, resurrected, different.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tupelo
import uvloop

from tests.e2e.grids import Grid
from tests.pause import pause
from tests.persistence.compare import Verdict, entries_of, judge, match, rows_of
from tests.persistence.ledger import Ledger
from tests.persistence.stores import TestStore, running_store, running_transport

UNIT = Path(__file__).parent / "unit"
WARM_WRITES = 300
AFTER_WRITES = 300
KILLED = "unit-2"
KILLED_THEN = "unit-1"
# With --spill, of a unit's memory: a second of load or so.
JOURNAL_BYTES_MAX = 200_000
SPACES = ("carts", "accounts", "audited")


@dataclass(frozen=True, slots=True)
class Settings:
    store: str = "sqlite"
    transport: str = "grpc"
    seconds: float = 60.0
    tasks: int = 32
    pause_s: float = 0.005
    drain_s: float = 120.0
    timeout_s: float = 60.0
    spill: bool = False


async def run(settings: Settings, folder: Path) -> dict[str, Any]:
    """The report. Raises when the grid does not do what it must for the test to mean anything."""
    with (
        running_store(settings.store, folder / "grid") as store,
        running_transport(settings.transport, folder) as options,
    ):
        if settings.spill:
            os.environ["LEDGER_SPILL"] = "1"
            options = (*options, "--set", f"journal_bytes_max={JOURNAL_BYTES_MAX}")
        else:
            options = (*options, "--space", "carts")
        grid = await asyncio.to_thread(
            Grid.start,
            folder,
            *("--unit", str(UNIT)),
            *("--set", "store_retry_s_max=5", *store.options, *options),
        )
        try:
            if settings.spill:
                async with await tupelo.connect(grid.address) as client:
                    await client.create_space("carts", spill=True)
            return await _attend(settings, grid, store)
        finally:
            os.environ.pop("LEDGER_SPILL", None)
            await asyncio.to_thread(store.give_back)
            await asyncio.to_thread(grid.stop)


async def _attend(settings: Settings, grid: Grid, store: TestStore) -> dict[str, Any]:
    async with Ledger(grid.address, settings.tasks, settings.pause_s, settings.timeout_s) as ledger:
        await ledger.reach(WARM_WRITES)
        before = ledger.known.acknowledged
        outage = _spilled_outage if settings.spill else _outage
        behind = await outage(settings, grid, store)
        during = ledger.known.acknowledged - before
        await ledger.reach(ledger.known.acknowledged + AFTER_WRITES)
        await ledger.finish()
        await asyncio.to_thread(grid.until_healthy)
        drained = await _drain(grid, settings.drain_s)
        verdict = Verdict()
        found = {space: await entries_of(ledger.grid, space) for space in SPACES}
    judge(verdict, ledger.known, found["carts"], found["accounts"])
    reader = store.reader()
    try:
        for space, entries in found.items():
            match(verdict, space, entries, await rows_of(reader, space))
        letters = await reader.dead_letter_count()
    finally:
        await reader.close()
    known = ledger.known
    report = {
        "store": settings.store,
        "transport": settings.transport,
        "seconds": settings.seconds,
        "writes": known.writes,
        "acknowledged": known.acknowledged,
        "acknowledged_during_outage": during,
        "unknown": known.unknown,
        "refused": known.refused,
        "slowest_write_s": round(known.slowest_s, 3),
        "killed": KILLED,
        **({"spill": behind["spill"]} if settings.spill else {}),
        "lag_records_max": behind["lag_records"],
        "lag_s_max": behind["lag_s"],
        "store_error": behind["error"],
        "entries": {space: len(entries) for space, entries in found.items()},
        "drained": drained["drained"],
        "drain_s": drained["elapsed_s"],
        "dead_letters": letters,
        **asdict(verdict),
    }
    report["ok"] = is_ok(report)
    return report


async def _outage(settings: Settings, grid: Grid, store: TestStore) -> dict[str, Any]:
    """What the status said at its end."""
    await asyncio.to_thread(store.take_away)
    started = time.monotonic()
    try:
        await pause(settings.seconds / 2)
        # One unit may be lost where every partition has its copies; a slow machine may take one
        # out of sync for a moment, and then it is the last that is killed.
        await asyncio.to_thread(grid.until_healthy)
        await asyncio.to_thread(grid.kill, KILLED)
        left_s = settings.seconds - (time.monotonic() - started)
        await pause(max(0.0, left_s))
        status = await asyncio.to_thread(grid.status)
    finally:
        await asyncio.to_thread(store.give_back)
    pump: dict[str, Any] = status["pump"]
    return pump


async def _spilled_outage(settings: Settings, grid: Grid, store: TestStore) -> dict[str, Any]:
    """Likewise; twice a unit dies, and each time all copies are back while the store is away."""
    await asyncio.to_thread(store.take_away)
    started = time.monotonic()
    try:
        await asyncio.to_thread(grid.until, _has_spilled)
        await pause(settings.seconds / 4)
        await asyncio.to_thread(grid.until_healthy)
        before = await asyncio.to_thread(grid.status)
        await asyncio.to_thread(grid.kill, KILLED)
        await asyncio.to_thread(grid.until, _is_whole_without(before, KILLED), 90.0)
        sent = await asyncio.to_thread(grid.status)
        await asyncio.to_thread(grid.kill, KILLED_THEN)
        await asyncio.to_thread(grid.until, _is_whole_without(sent, KILLED_THEN), 90.0)
        await pause(max(0.0, settings.seconds - (time.monotonic() - started)))
        status = await asyncio.to_thread(grid.status)
    finally:
        await asyncio.to_thread(store.give_back)
    pump: dict[str, Any] = status["pump"]
    spill = {
        name: {unit["id"]: unit["counters"][f"spill_{name}"] for unit in status["units"]}
        for name in ("records", "bytes", "full", "unreadable")
    }
    spill["sent"] = {unit["id"]: unit["counters"]["spill_records"] for unit in sent["units"]}
    spill["journal_bytes"] = {unit["id"]: unit["journal_bytes"] for unit in status["units"]}
    return {**pump, "spill": spill}


def _has_spilled(status: dict[str, Any]) -> bool:
    return all(unit["counters"].get("spill_records", 0) > 0 for unit in status["units"])


def _is_whole_without(before: dict[str, Any], killed: str) -> Callable[[dict[str, Any]], bool]:
    """Every partition has its copies again, and the killed unit's successor takes part."""
    old = {unit["id"]: unit["incarnation"] for unit in before["units"]}[killed]

    def whole(status: dict[str, Any]) -> bool:
        parts = status["partitions"]
        new = [unit for unit in status["units"] if unit["id"] == killed]
        back = bool(new) and new[0]["incarnation"] != old and new[0]["state"] == "running"
        return back and new[0]["backups"] > 0 and parts["healthy"] == parts["total"]

    return whole


async def _drain(grid: Grid, timeout_s: float) -> dict[str, Any]:
    done = await asyncio.to_thread(grid.cli, "drain", "--json", "--timeout", timeout_s)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def is_ok(report: dict[str, Any]) -> bool:
    wrong = ("lost", "duplicates", "resurrected", "store_mismatches", "dead_letters")
    return bool(report["drained"]) and not any(report[name] for name in wrong)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.persistence.outage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--transport", choices=["grpc", "nats"], default="grpc")
    parser.add_argument("--seconds", type=float, default=60.0, help="that the store is away")
    parser.add_argument("--tasks", type=int, default=32, help="that write at the same time")
    parser.add_argument("--spill", action="store_true", help="small journals, the rest in files")
    parser.add_argument("--json", action="store_true", help="nothing but JSON on stdout")
    options = parser.parse_args(arguments)
    settings = Settings(
        options.store,
        options.transport,
        options.seconds,
        options.tasks,
        spill=options.spill,
    )
    with tempfile.TemporaryDirectory(prefix="tupelo-outage-") as folder:
        report = uvloop.run(run(settings, Path(folder)))
    if not options.json:
        for name, value in report.items():
            sys.stdout.write(f"{name:28} {value}\n")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
