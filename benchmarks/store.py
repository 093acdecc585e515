"""How fast the store takes changes and gives entries back.

    python -m benchmarks.store --store postgres --json [--seconds 5] [--entries 1000000]

`--store`: postgres (a server of its own with PostgreSQL's own settings, on this machine), sqlite,
or the URL of an empty database. Measured are

    apply    the adapter: transactions of --batch changes, rows and cursors, by as many tasks as the
             store has connections; keys are inserted first and then changed again and again, and no
             change is coalesced. Untyped and typed entries, by arrays and by COPY.
    writer   the whole way: full pump frames from a process of units, by gRPC, through the
             data writer into the store.
    read     a cold start's reading: all entries, by as many tasks as there are connections for it.

The last line with --json: {"rows": [{"shape", "rows_s", "client_cpu", "server_cpu", ...}]}; CPU in
cores. `feeder_cpu` is that of the process that plays the units, `rss_mb` what reading added to this
one at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo.v1 import pump_pb2_grpc
from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import Change, PartitionBatch
from tupelo_grid.messaging.writer import DataWriter
from tupelo_grid.runtime.servers import make_server
from tupelo_grid.store import postgres_writes
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import Status, Store

from engines.postgres import PostgresServer, running_postgres

GRID: Final = bytes(16)
PARTITIONS: Final = 256
PER_BATCH: Final = 16
"""Partitions of one transaction of `apply`."""

DOCS: Final = SpaceSchema("docs")
ORDERS: Final = SpaceSchema(
    "orders",
    key=("id",),
    fields=(
        FieldSchema("id", "int"),
        FieldSchema("customer", "str"),
        FieldSchema("amount", "float"),
        FieldSchema("open", "bool"),
        FieldSchema("placed", "datetime"),
        FieldSchema("note", "str", optional=True),
    ),
)
SCHEMAS: Final = {schema.name: schema for schema in (DOCS, ORDERS)}
PLACED: Final = msgspec.msgpack.Ext(-1, (1_700_000_000).to_bytes(4, "big"))

Row = dict[str, str | int | float]

_encode = msgspec.msgpack.Encoder().encode


def docs(number: int, version: int) -> Change:
    value = {"customer": f"c{number % 1000}", "amount": version * 0.5, "items": ["tea", "cup"]}
    return ("docs", _encode(f"order-{number}"), _encode(value), version, 0)


def orders(number: int, version: int) -> Change:
    entry = {
        "id": number,
        "customer": f"c{number % 1000}",
        "amount": version * 0.5,
        "open": version % 2 == 0,
        "placed": PLACED,
        "note": None,
    }
    return ("orders", _encode(number), _encode(entry), version, 0)


MAKERS: Final[dict[str, Callable[[int, int], Change]]] = {"docs": docs, "orders": orders}


class Cpu:
    """CPU seconds of this process, and of the server's processes."""

    def __init__(self, server: PostgresServer | None) -> None:
        self._server = server

    def seconds(self) -> tuple[float, float]:
        return time.process_time(), self._of_server()

    def _of_server(self) -> float:
        if self._server is None:
            return 0.0
        pid = self._server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ticks = 0
        for one in [str(pid), *children]:
            try:
                fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            except FileNotFoundError:  # it ended between the list and the look
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def measured(row: Row, cpu: Cpu) -> Iterator[Callable[[int], None]]:
    """Fills in rates, given the number of rows at the end."""
    counted = 0

    def count(rows: int) -> None:
        nonlocal counted
        counted = rows

    client, server = cpu.seconds()
    began = time.perf_counter()
    yield count
    seconds = time.perf_counter() - began
    client_now, server_now = cpu.seconds()
    row["rows"] = counted
    row["seconds"] = round(seconds, 2)
    row["rows_s"] = round(counted / seconds)
    row["client_cpu"] = round((client_now - client) / seconds, 2)
    row["server_cpu"] = round((server_now - server) / seconds, 2)


# The adapter.


async def apply_for(store: Store, kind: str, batch: int, seconds: float) -> int:
    """Rows stored in so many seconds, by as many tasks as are of use to the store."""
    make = MAKERS[kind]
    deadline = time.perf_counter() + seconds

    async def lane(number: int) -> int:
        mine = [number * PER_BATCH + n for n in range(PER_BATCH)]
        found = await store.claim(dict.fromkeys(mine, 1))
        cursors = {partition: found[partition].cursor for partition in mine}
        each = max(1, batch // PER_BATCH)
        stored = 0
        while time.perf_counter() < deadline:
            batches = []
            for partition in mine:
                first = cursors[partition]
                # Keys come again after 20 batches: new rows first, then changes of them.
                base = partition * 1_000_000 + (first // each % 20) * each
                changes = [make(base + n, first + n + 1) for n in range(each)]
                batches.append(PartitionBatch(partition, 1, first, first + each, changes))
                cursors[partition] = first + each
            for outcome in await store.apply(batches, SCHEMAS):
                assert outcome.status is Status.APPLIED, outcome
                assert not outcome.dead_rows, outcome
            stored += each * len(mine)
        return stored

    return sum(await asyncio.gather(*(lane(n) for n in range(store.concurrency))))


async def measure_apply(
    make: Callable[[], Store], cpu: Cpu, options: argparse.Namespace, report: Callable[[Row], None]
) -> None:
    own = {"": COPY_ROWS_MIN}
    ways = {"arrays": 1 << 60, "copy": 1} if cpu.seconds()[1] else own
    for kind in MAKERS:
        for way, least in ways.items():
            postgres_writes.COPY_ROWS_MIN = least  # type: ignore[misc]
            store = make()
            await store.open()
            row: Row = {"shape": f"apply {kind} {way}".strip(), "batch": options.batch}
            with measured(row, cpu) as count:
                count(await apply_for(store, kind, options.batch, options.seconds))
            await store.close()
            report(row)
    postgres_writes.COPY_ROWS_MIN = COPY_ROWS_MIN  # type: ignore[misc]


COPY_ROWS_MIN: Final = postgres_writes.COPY_ROWS_MIN


# The data writer.


@asynccontextmanager
async def serving(config: GridConfig, store: Store) -> AsyncIterator[tuple[DataWriter, str]]:
    async with DataWriter(config, store, SCHEMAS, GRID) as writer:
        server = make_server(config)
        pump_pb2_grpc.add_DataWriterServicer_to_server(  # type: ignore[no-untyped-call]
            writer, server
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield writer, f"127.0.0.1:{port}"
        finally:
            await server.stop(0.2)


async def measure_writer(
    make: Callable[[], Store],
    config: GridConfig,
    cpu: Cpu,
    options: argparse.Namespace,
    report: Callable[[Row], None],
) -> None:
    for kind in MAKERS:
        async with serving(config, make()) as (writer, address):
            feeder = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.store_feeder", address, kind),
                *(str(options.seconds), str(options.in_flight)),
                stdout=subprocess.PIPE,
            )
            assert feeder.stdout is not None
            await feeder.stdout.readline()
            row: Row = {"shape": f"writer {kind}", "in_flight": options.in_flight}
            with measured(row, cpu) as count:
                told = json.loads(await feeder.stdout.readline())
                count(told["rows"])
            await feeder.wait()
            row["feeder_cpu"] = told["cpu"]
            assert writer.stats().persisted_records >= told["rows"]
        report(row)


# Reading.


async def fill(store: Store, entries: int) -> None:
    """Typed entries, all partitions alike."""
    each = entries // PARTITIONS
    await store.claim(dict.fromkeys(range(PARTITIONS), 1))
    gate = asyncio.Semaphore(store.concurrency)

    async def one(partition: int) -> None:
        async with gate:
            base = partition * each
            changes = [orders(base + n, n + 1) for n in range(each)]
            batch = PartitionBatch(partition, 1, 0, each, changes)
            [outcome] = await store.apply([batch], SCHEMAS)
            assert outcome.status is Status.APPLIED

    await asyncio.gather(*(one(partition) for partition in range(PARTITIONS)))


async def measure_read(
    make: Callable[[], Store], cpu: Cpu, options: argparse.Namespace, report: Callable[[Row], None]
) -> None:
    store = make()
    await fill(store, options.entries)
    for tasks in (1, options.readers):
        row: Row = {"shape": f"read {tasks} at a time"}

        before = most = rss_mb()

        async def read(partitions: list[int]) -> int:
            nonlocal most
            found = 0
            async for page in store.read_pages("orders", partitions):
                found += len(page)
                most = max(most, rss_mb())
            return found

        with measured(row, cpu) as count:
            parts = [list(range(n, PARTITIONS, tasks)) for n in range(tasks)]
            count(sum(await asyncio.gather(*(read(part) for part in parts))))
        row["rss_mb"] = round(most - before, 1)
        assert row["rows"] == options.entries // PARTITIONS * PARTITIONS, row
        report(row)
    await store.close()


def rss_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


# All of it.


async def run(
    url: Callable[[str], str], options: argparse.Namespace, cpu: Cpu, report: Callable[[Row], None]
) -> None:
    def maker(name: str) -> tuple[Callable[[], Store], GridConfig]:
        config = GridConfig(
            store_url=url(name),
            store_create="auto",
            store_write_connections_max=options.connections,
            store_read_connections_max=options.readers,
            writer_batch_records=options.batch,
        )
        return lambda: make_store(config, GRID.hex()), config

    if "apply" in options.shapes:
        await measure_apply(maker("apply")[0], cpu, options, report)
    if "writer" in options.shapes:
        make, config = maker("writer")
        await measure_writer(make, config, cpu, options, report)
    if "read" in options.shapes:
        await measure_read(maker("read")[0], cpu, options, report)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--store", default="postgres", help="postgres, sqlite or a URL")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--entries", type=int, default=1_000_000, help="to read")
    parser.add_argument(
        "--batch",
        type=int,
        default=GridConfig().writer_batch_records,
        help="changes a transaction",
    )
    parser.add_argument("--connections", type=int, default=4, help="that write")
    parser.add_argument("--readers", type=int, default=2, help="connections that read")
    parser.add_argument(
        "--in-flight",
        type=int,
        default=GridConfig().pump_frames_in_flight,
        help="frames of each of 3 units",
    )
    parser.add_argument("--shapes", default="apply,writer,read", help="some of apply, writer, read")
    parser.add_argument(
        "--unsynced", action="store_true", help="the server does not sync: what its disk costs"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as the last line")
    options = parser.parse_args()
    rows: list[Row] = []

    def report(row: Row) -> None:
        rows.append(row)
        rest = "  ".join(f"{name} {value}" for name, value in row.items() if name != "shape")
        print(f"{row['shape']:<22} {rest}", flush=True)

    with ExitStack() as stack:
        server = None
        if options.store == "postgres":
            server = stack.enter_context(running_postgres(durable=not options.unsynced))
            url = server.create_database
        elif options.store == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = lambda name: f"sqlite:///{folder}/{name}.sqlite"  # noqa: E731
        else:
            url = lambda _: str(options.store)  # noqa: E731
        asyncio.run(run(url, options, Cpu(server), report))
    if options.json:
        print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
