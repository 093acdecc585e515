"""How fast a grid comes back from its store, and what that takes.

    python -m benchmarks.cold_start --store postgres --entries 1000000 --json [--kind typed]

Starts a grid of three units on a store of its own (postgres: a server of its own with PostgreSQL's
own settings), shuts it down, fills the store with entries of about a hundred bytes, and starts the
grid again. Measured are the seconds of the loading itself (`load_s`, and `entries_s` of it), and
from the start of `tupelo up` until all partitions are loaded and answer (`answered_s`), until every
entry has its second copy (`healthy_s`), and until `tupelo up` is back; and the memory of units and
of the messaging process, idle and at most.

The last line with --json is one object. The exit code is 1 when the grid does not have every entry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import tupelo
from tupelo.codec import encode_key, partition_of
from tupelo_grid.cli.rpc import status_at
from tupelo_grid.config import decode_config
from tupelo_grid.core.pump_frames import Change, PartitionBatch
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import Status
from tupelo_grid.units.loader import load_units

from engines.postgres import running_postgres
from tests.e2e.grids import ROOT, Grid

UNIT: Final = ROOT / "tests" / "persistence" / "unit"
PARTITIONS: Final = 256
POLL_S: Final = 0.25
PAD: Final = "x" * 70
START_S: Final = 600.0

_encode = msgspec.msgpack.Encoder().encode


def typed(number: int, version: int) -> Change:
    value = {"number": number, "label": "item", "note": PAD, "price": number % 1000}
    return ("items", encode_key(number), _encode(value), version, 0)


def untyped(number: int, version: int) -> Change:
    return ("carts", encode_key(number), _encode({"number": number, "pad": PAD}), version, 0)


KINDS: Final = {"typed": typed, "untyped": untyped}


def rss(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0
    return pages * 4096


@dataclass(slots=True)
class Watch:
    """Looks at a grid that starts. Times are seconds from the beginning."""

    grid: Grid
    began: float
    answered_s: float = 0.0
    healthy_s: float = 0.0
    loaded: int = 0
    looks: list[tuple[float, int, int]] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.wait(POLL_S) and not self.healthy_s:
            self._memory()
            status = status_at(f"127.0.0.1:{self.grid.port + 1}", 2.0)
            if status is None:
                continue
            now = time.monotonic() - self.began
            ready = sum(len(unit.ready_partitions) for unit in status.units)
            self.loaded = sum(unit.load.entries for unit in status.units)
            self.looks.append((round(now, 2), ready, self.loaded))
            if ready == status.partitions.total > 0 and not self.answered_s:
                self.answered_s = now
            if status.partitions.healthy == status.partitions.total > 0:
                self.healthy_s = now

    def _memory(self) -> None:
        for name, run in self.grid.processes().items():
            self.most[name] = max(self.most.get(name, 0), rss(run.pid))


async def fill(grid: Grid, kind: str, entries: int) -> float:
    """Puts the entries into the store as the grid's data writer would. Seconds."""
    config = decode_config((grid.data_dir / "config.json").read_bytes())
    store = make_store(config)
    schemas = {**load_units([str(UNIT)]).schemas, "carts": tupelo.schema.SpaceSchema("carts")}
    make = KINDS[kind]
    groups: list[list[int]] = [[] for _ in range(PARTITIONS)]
    for number in range(entries):
        groups[partition_of(encode_key(number), PARTITIONS)].append(number)
    began = time.monotonic()
    fences = await store.cursors()
    gate = asyncio.Semaphore(store.concurrency)

    async def one(partition: int) -> None:
        epoch, cursor = fences[partition]
        numbers = groups[partition]
        async with gate:
            changes = [make(number, cursor + at) for at, number in enumerate(numbers, 1)]
            batch = PartitionBatch(partition, epoch, cursor, cursor + len(numbers), changes)
            [outcome] = await store.apply([batch], schemas)
            assert outcome.status is Status.APPLIED, outcome

    await asyncio.gather(*(one(partition) for partition in range(PARTITIONS)))
    await store.close()
    return time.monotonic() - began


async def count(grid: Grid, kind: str) -> int:
    async with tupelo.connect(grid.address) as client:
        return await client.space("items" if kind == "typed" else "carts").count(timeout_s=30.0)


def measure(grid: Grid, options: argparse.Namespace) -> dict[str, Any]:
    idle = {name: rss(run.pid) for name, run in grid.processes().items()}
    down = grid.down()
    assert down.returncode == 0, down.stderr
    filled_s = asyncio.run(fill(grid, options.kind, options.entries))
    watch = Watch(grid, time.monotonic())
    watcher = threading.Thread(target=watch.run)
    watcher.start()
    try:
        up = grid.up(START_S)
        up_s = time.monotonic() - watch.began
    finally:
        if not watch.healthy_s:
            time.sleep(2 * POLL_S)
        watch.stop.set()
        watcher.join()
    assert up.returncode == 0, f"{up.stdout}{up.stderr}\n{grid.logs()}"
    units = [name for name in watch.most if name.startswith("unit")]
    found = asyncio.run(count(grid, options.kind))
    # Up to the last look at which nothing had come, processes were starting.
    began_s = max([at for at, _, loaded in watch.looks if not loaded], default=0.0)
    load_s = max(watch.answered_s - began_s, 0.01)
    after = {name: rss(run.pid) for name, run in grid.processes().items()}
    return {
        "store": options.store,
        "kind": options.kind,
        "entries": options.entries,
        "found": found,
        "filled_s": round(filled_s, 2),
        "load_s": round(load_s, 2),
        "entries_s": round(options.entries / load_s),
        "answered_s": round(watch.answered_s, 2),
        "healthy_s": round(watch.healthy_s, 2),
        "up_s": round(up_s, 2),
        "unit_idle_mb": round(max(idle[name] for name in units) / 2**20, 1),
        "unit_most_mb": round(max(watch.most[name] for name in units) / 2**20, 1),
        "units_after_mb": round(sum(after[name] for name in units) / 2**20, 1),
        "messaging_most_mb": round(watch.most["messaging"] / 2**20, 1),
        "bytes_an_entry_and_copy": round(
            sum(after[name] - idle[name] for name in units) / options.entries / 2
        ),
        "looks": watch.looks[:: max(1, len(watch.looks) // 20)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--store", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=list(KINDS), default="typed")
    parser.add_argument("--units", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true", help="print the object as the last line")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tupelo-cold-"))
    # As a grid has it by itself; those of tests are shorter.
    own = ["lease_s=3", "silent_backup_s=1.5", "drain_s=30"]
    more = [part for one in [*own, *options.set] for part in ("--set", one)]
    arguments = ["--unit", str(UNIT), "--space", "carts", *more]
    try:
        if options.store == "sqlite":
            report = _attend(folder, arguments, options)
        else:
            with running_postgres(durable=True) as server:
                url = ["--store-url", server.create_database("cold"), "--set", "store_create=auto"]
                report = _attend(folder, [*arguments, *url], options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:<26} {value}")
    return 0 if report["found"] == options.entries else 1


def _attend(folder: Path, arguments: list[str], options: argparse.Namespace) -> dict[str, Any]:
    grid = Grid.start(folder, *arguments, units=options.units)
    try:
        return measure(grid, options)
    finally:
        grid.stop()


if __name__ == "__main__":
    sys.exit(main())
