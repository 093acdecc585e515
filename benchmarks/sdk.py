"""One SDK process against a grid of three units with one synchronous backup.

    python -m benchmarks.sdk --seconds 5 --json [--seed HOST:PORT]

Without --seed it starts a grid of its own and stops it. Every shape runs for --seconds after half a
second of warming up. Operations of put_many and get_many are entries; their latency is that of the
call. CPU is that of this process (grpc's threads included) and of all units together, as they say
in Admin.Status. The last line with --json: {"rows": [{"shape", "in_flight", "ops_s", "p50_us",
"p99_us", "client_us_op", "server_us_op"}]}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import tupelo
from tupelo.errors import ApplicationError, UnknownCommand, UnknownSpace

ROOT: Final = Path(__file__).resolve().parent.parent
AIRLINE: Final = ROOT / "processing-units" / "airline"
KEYS: Final = 10_000
VALUE: Final = "x" * 100
MANY: Final = 1_000
WARM_UP_S: Final = 0.5
SAMPLES_MAX: Final = 1 << 16
FLIGHTS: Final = 256

Row = dict[str, str | int | float]
# Runs until the deadline, on the clock of perf_counter_ns; returns the operations it made.
Worker = Callable[[int, "Latencies", int], Awaitable[int]]


class Latencies:
    """The last SAMPLES_MAX latencies, in nanoseconds."""

    def __init__(self) -> None:
        self._samples = [0] * SAMPLES_MAX
        self._count = 0

    def add(self, latency_ns: int) -> None:
        self._samples[self._count & (SAMPLES_MAX - 1)] = latency_ns
        self._count += 1

    def percentile_us(self, share: float) -> float:
        found = sorted(self._samples[: min(self._count, SAMPLES_MAX)])
        if not found:
            return 0.0
        return round(found[min(len(found) - 1, int(len(found) * share))] / 1000, 1)


def repeated(operation: Callable[[int, int], Coroutine[Any, Any, Any]], each: int = 1) -> Worker:
    """A worker that makes one call after the other. `operation(worker, turn)` is one call."""

    async def work(worker: int, latencies: Latencies, deadline_ns: int) -> int:
        clock = time.perf_counter_ns
        add = latencies.add
        turn = 0
        now = clock()
        while now < deadline_ns:
            await operation(worker, turn)
            done = clock()
            add(done - now)
            now = done
            turn += 1
        return turn * each

    return work


async def measure(
    grid: tupelo.Grid, shape: str, in_flight: int, worker: Worker, seconds: float
) -> Row:
    async def run(for_s: float, latencies: Latencies) -> int:
        deadline_ns = time.perf_counter_ns() + int(for_s * 1e9)
        counts = await asyncio.gather(
            *(worker(number, latencies, deadline_ns) for number in range(in_flight))
        )
        return sum(counts)

    await run(WARM_UP_S, Latencies())
    latencies = Latencies()
    server_s = await units_cpu_s(grid)
    client_s, started = time.process_time(), time.perf_counter()
    operations = await run(seconds, latencies)
    took_s = time.perf_counter() - started
    client_s = time.process_time() - client_s
    server_s = await units_cpu_s(grid) - server_s
    return {
        "shape": shape,
        "in_flight": in_flight,
        "ops_s": round(operations / took_s),
        "p50_us": latencies.percentile_us(0.50),
        "p99_us": latencies.percentile_us(0.99),
        "client_us_op": round(client_s / operations * 1e6, 2),
        "server_us_op": round(server_s / operations * 1e6, 2),
    }


async def units_cpu_s(grid: tupelo.Grid) -> float:
    return sum(unit.cpu_s for unit in (await grid.status()).units)


async def shapes(grid: tupelo.Grid, seconds: float, report: Callable[[Row], None]) -> list[Row]:
    space = await grid.create_space("bench")
    keys = [f"key-{number:05d}" for number in range(KEYS)]
    for start in range(0, KEYS, MANY):
        await space.put_many(dict.fromkeys(keys[start : start + MANY], VALUE))

    async def put(worker: int, turn: int) -> None:
        await space.put(keys[(worker * 37 + turn * 101) % KEYS], VALUE)

    async def get(worker: int, turn: int) -> None:
        await space.get(keys[(worker * 37 + turn * 101) % KEYS])

    def some(worker: int, turn: int) -> list[str]:
        start = (worker + turn) * MANY % KEYS
        return keys[start : start + MANY]

    async def put_many(worker: int, turn: int) -> None:
        await space.put_many(dict.fromkeys(some(worker, turn), VALUE))

    async def get_many(worker: int, turn: int) -> None:
        await space.get_many(some(worker, turn))

    plan: list[tuple[str, int, Worker]] = [
        ("put", 1, repeated(put)),
        ("get", 1, repeated(get)),
        ("put", 64, repeated(put)),
        ("get", 64, repeated(get)),
        ("put", 256, repeated(put)),
        ("get", 256, repeated(get)),
        ("put_many", 1, repeated(put_many, MANY)),
        ("put_many", 4, repeated(put_many, MANY)),
        ("put_many", 16, repeated(put_many, MANY)),
        ("put_many", 64, repeated(put_many, MANY)),
        ("get_many", 1, repeated(get_many, MANY)),
        ("get_many", 4, repeated(get_many, MANY)),
        ("get_many", 16, repeated(get_many, MANY)),
    ]
    if await sells_seats(grid):
        plan += [("call", 1, repeated(seller(grid))), ("call", 64, repeated(seller(grid)))]
    rows = []
    for shape, in_flight, worker in plan:
        rows.append(await measure(grid, shape, in_flight, worker, seconds))
        report(rows[-1])
    return rows


def seller(grid: tupelo.Grid) -> Callable[[int, int], Coroutine[Any, Any, Any]]:
    """Holds one seat again and again: a command that reads two entries and writes one."""

    async def hold(worker: int, turn: int) -> None:
        flight = f"bench-{(worker * 7 + turn) % FLIGHTS}"
        await grid.call("airline.hold", flight=flight, number=1, customer="ann")

    return hold


async def sells_seats(grid: tupelo.Grid) -> bool:
    """Whether the grid runs the airline; puts seats on sale if it does."""
    try:
        await grid.space("seats").put_many(
            [{"flight": f"bench-{number}", "number": 1} for number in range(FLIGHTS)]
        )
        await grid.call("airline.hold", flight="bench-0", number=1, customer="ann")
    except (UnknownSpace, UnknownCommand, ApplicationError, tupelo.errors.InvalidArgument) as error:
        print(f"no airline in this grid, so no calls: {error}", file=sys.stderr)
        return False
    return True


@contextmanager
def own_grid(units: int, unit: Path = AIRLINE, data_dir: Path | None = None) -> Iterator[str]:
    """A grid of its own for the time of a `with`; gives the address of its router.

    `unit`: the processing unit to load; `data_dir`: removed at the end, None: a temporary one.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    folder = str(data_dir) if data_dir else tempfile.mkdtemp(prefix="tupelo-bench-")
    command = [sys.executable, "-m", "tupelo_grid.cli.main"]
    place = ["--port", str(port), "--data-dir", folder]
    extra = ["--unit", str(unit)] if unit.exists() else []
    try:
        subprocess.run(
            [*command, "up", "--units", str(units), *place, *extra, "--detach"],
            check=True,
            stdout=sys.stderr,
        )
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([*command, "down", *place], check=False, stdout=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)


async def run(seed: str, seconds: float, report: Callable[[Row], None]) -> list[Row]:
    async with tupelo.connect(seed) as grid:
        return await shapes(grid, seconds, report)


def show(row: Row) -> None:
    print(
        f"{row['shape']:>9} {row['in_flight']:>4} {row['ops_s']:>9,}/s  p50 {row['p50_us']:>9,} us"
        f"  p99 {row['p99_us']:>9,} us  client {row['client_us_op']:>7} us/op"
        f"  units {row['server_us_op']:>7} us/op",
        file=sys.stderr,
        flush=True,
    )


def run_loop(main: Coroutine[Any, Any, list[Row]]) -> list[Row]:
    """On uvloop where it is installed, as the figures in the documents are."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sdk", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each shape")
    parser.add_argument("--seed", default="", help="HOST:PORT of a running grid")
    parser.add_argument("--units", type=int, default=3, help="of the grid it starts")
    parser.add_argument("--json", action="store_true", help="print the rows as the last line")
    options = parser.parse_args()
    if options.seed:
        rows = run_loop(run(options.seed, options.seconds, show))
    else:
        with own_grid(options.units) as seed:
            rows = run_loop(run(seed, options.seconds, show))
    if options.json:
        print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
