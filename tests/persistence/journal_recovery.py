"""python -m tests.persistence.journal_recovery --entries 1000000 --json

Puts that many entries (values of about 100 bytes) into a grid of three units with journals on disk,
overwrites a tenth of them, kills every process, and measures how long `tupelo up` takes until all
partitions serve again, how much memory the units have then, and what one unit's journal alone takes
to be read. Each entry is in two journals, that of its primary and that of its backup.

The last line is JSON. The exit code is 0 when every entry is there again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tupelo
import uvloop

from tests.e2e.grids import Grid
from tests.pause import pause

UNITS = 3
CHUNK = 5000
IN_FLIGHT = 4
READ = re.compile(r"journal: (\d+) partitions, (\d+) entries, .*, (\d+) bytes in ([\d.]+) s")


async def run(entries: int, fsync: str, folder: Path) -> dict[str, Any]:
    # The defaults again, instead of the short leases of tests: state file, journals and store share
    # one disk here, and a lease is renewed by a sync.
    leases = ("lease_s=3", "silent_backup_s=1.5")
    options = ("durability=disk", f"fsync={fsync}", *leases)
    sets = [word for option in options for word in ("--set", option)]
    grid = await asyncio.to_thread(Grid.start, folder, "--space", "carts", *sets, units=UNITS)
    try:
        began = time.monotonic()
        await _fill(grid, 0, entries)
        await _fill(grid, 0, entries // 10)
        filled_s = time.monotonic() - began
        runs = list(grid.processes().values())
        for process in runs:
            os.kill(process.pid, signal.SIGKILL)
        while grid.processes():
            await pause(0.01)
        disk = sum(path.stat().st_size for path in (folder / "grid/journal").rglob("*.journal"))
        began = time.monotonic()
        again = await asyncio.to_thread(grid.up)
        assert again.returncode == 0, f"{again.stderr}\n{grid.logs()}"
        status = await asyncio.to_thread(grid.until_healthy, UNITS, 120.0)
        back_s = time.monotonic() - began
        async with await tupelo.connect(grid.address) as client:
            found = await client.space("carts").count()
    finally:
        await asyncio.to_thread(grid.stop)
    logs = [(folder / f"grid/logs/unit-{n}.log").read_text() for n in range(1, UNITS + 1)]
    reads = [READ.findall(log)[-1] for log in logs]
    return {
        "entries": entries,
        "found": found,
        "fsync": fsync,
        "written_per_s": round((entries + entries // 10) / filled_s),
        "disk_bytes": disk,
        "up_until_healthy_s": round(back_s, 2),
        "entries_per_s": round(entries / back_s),
        "unit_entries_read": [int(read[1]) for read in reads],
        "unit_bytes_read": [int(read[2]) for read in reads],
        "unit_read_s": [float(read[3]) for read in reads],
        "unit_memory_bytes": [unit["memory_bytes"] for unit in status["units"]],
        "ok": found == entries,
    }


async def _fill(grid: Grid, first: int, end: int) -> None:
    async with await tupelo.connect(grid.address) as client:
        space = client.space("carts")
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def chunk(start: int) -> None:
            rows = [(f"key-{n:08d}", "x" * 98) for n in range(start, min(start + CHUNK, end))]
            async with slots:
                await space.put_many(rows, timeout_s=60)

        async with asyncio.TaskGroup() as tasks:
            for start in range(first, end, CHUNK):
                tasks.create_task(chunk(start))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.persistence.journal_recovery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--fsync", choices=["always", "interval"], default="always")
    parser.add_argument("--json", action="store_true", help="nothing but JSON on stdout")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tupelo-recovery-") as folder:
        report = uvloop.run(run(options.entries, options.fsync, Path(folder)))
    if not options.json:
        for name, value in report.items():
            sys.stdout.write(f"{name:28} {value}\n")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
