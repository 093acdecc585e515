"""Compares every entry of a grid with its row in the store, after the pump has caught up.

    python -m loadtest.check --host 127.0.0.1:7400 --data-dir .tupelo [--store-url URL] [--json]

Byte by byte: keys, values and versions of all persisted spaces. Nothing may write meanwhile. The
store is read first: between the two readings entries can only run out, and a row whose time to live
is over counts as absent. The last line with --json: {"spaces", "entries", "rows", "expired",
"missing_rows", "extra_rows", "different", "mismatches", "samples"}; the exit code is 0 without
mismatches, 1 with some, 2 when they could not be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import msgspec
from tupelo.codec import decode_key
from tupelo.schema import SpaceSchema, decode_schema
from tupelo.v1 import admin_pb2, admin_pb2_grpc, data_pb2, data_pb2_grpc
from tupelo_grid.config import GridConfig
from tupelo_grid.store.factory import STORE_FILE, make_store
from tupelo_grid.store.port import Row, StoreError

PAGE_ENTRIES: Final = 2000
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
RPC_TIMEOUT_S: Final = 20.0
DRAIN_S_MAX: Final = 30.0
DRAIN_POLL_S: Final = 0.1
SAMPLES_MAX: Final = 10

Entries = dict[bytes, tuple[bytes, int]]  # key -> (value, version)


class CheckError(Exception):
    """The comparison could not be made."""


class Comparison(msgspec.Struct):
    """What was found; counts are of entries."""

    spaces: int = 0
    entries: int = 0
    rows: int = 0
    expired: int = 0
    missing_rows: int = 0
    extra_rows: int = 0
    different: int = 0
    samples: list[str] = []

    @property
    def mismatches(self) -> int:
        return self.missing_rows + self.extra_rows + self.different

    def as_json(self) -> dict[str, Any]:
        return {**msgspec.to_builtins(self), "mismatches": self.mismatches}

    def sample(self, space: str, key: bytes, what: str) -> None:
        if len(self.samples) < SAMPLES_MAX:
            self.samples.append(f"{space} {decode_key(key)!r}: {what}")


def compare(
    space: str, entries: Mapping[bytes, tuple[bytes, int]], rows: Iterable[Row], now_ms: int
) -> Comparison:
    """One space. `now_ms`: a time after both were read."""
    found = Comparison(spaces=1, entries=len(entries))
    seen: set[bytes] = set()
    for key, value, version, deadline_ms in rows:
        found.rows += 1
        entry = entries.get(key)
        seen.add(key)
        if entry == (value, version):
            continue
        if entry is None and 0 < deadline_ms <= now_ms:
            found.expired += 1
        elif entry is None:
            found.extra_rows += 1
            found.sample(space, key, f"a row of version {version}, but no entry")
        else:
            found.different += 1
            what = "another value" if entry[1] == version else f"version {entry[1]}"
            found.sample(space, key, f"version {version} in the store, {what} in the grid")
    for key in entries.keys() - seen:
        found.missing_rows += 1
        found.sample(space, key, f"an entry of version {entries[key][1]}, but no row")
    return found


def total_of(comparisons: Iterable[Comparison]) -> Comparison:
    total = Comparison()
    for one in comparisons:
        for name in one.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(one, name))
    total.samples = total.samples[:SAMPLES_MAX]
    return total


class GridReader:
    """The entries of a grid as bytes, through its router."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._space = data_pb2_grpc.SpaceStub(channel)  # type: ignore[no-untyped-call]
        self._admin = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]

    async def persisted_spaces(self) -> list[SpaceSchema]:
        route = await self._space.Route(data_pb2.RouteRequest(), timeout=RPC_TIMEOUT_S)
        # Commands are announced beside the spaces, under names that no space can have.
        schemas = [decode_schema(info.schema) for info in route.spaces if ":" not in info.name]
        return [schema for schema in schemas if schema.persist]

    async def drained(self) -> None:
        """Returns when the store has everything. Raises CheckError after DRAIN_S_MAX."""
        deadline = time.monotonic() + DRAIN_S_MAX
        while True:
            status = await self._admin.Status(admin_pb2.StatusRequest(), timeout=RPC_TIMEOUT_S)
            if status.pump.lag_records == 0:
                return
            if time.monotonic() > deadline:
                raise CheckError(
                    f"the store is still {status.pump.lag_records} records behind after "
                    f"{DRAIN_S_MAX:g} s {status.pump.error}; stop what writes, and try again"
                )
            await asyncio.sleep(DRAIN_POLL_S)

    async def entries(self, space: str) -> Entries:
        found: Entries = {}
        token = ""
        while True:
            request = data_pb2.ScanRequest(space=space, limit=PAGE_ENTRIES, page_token=token)
            page = await self._space.Scan(request, timeout=RPC_TIMEOUT_S)
            placed = zip(page.values, page.versions, strict=True)
            found.update(zip(page.keys, placed, strict=True))
            token = page.next_page_token
            if not token:
                return found


async def check(host: str, config: GridConfig) -> Comparison:
    """Raises CheckError, StoreError or grpc.RpcError when it cannot be made."""
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    store = make_store(config)
    comparisons = []
    try:
        async with grpc.aio.insecure_channel(host, options=options) as channel:
            grid = GridReader(channel)
            await grid.drained()
            for schema in await grid.persisted_spaces():
                rows = [row async for row in store.read_rows(schema.name)]
                entries = await grid.entries(schema.name)
                now_ms = time.time_ns() // 1_000_000
                comparisons.append(compare(schema.name, entries, rows, now_ms))
    finally:
        await store.close()
    return total_of(comparisons)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="loadtest.check", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1:7400", help="of the router")
    parser.add_argument("--data-dir", default=".tupelo", help="of the grid")
    parser.add_argument("--store-url", default="", help="where the store is not in --data-dir")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    options = parser.parse_args(arguments)
    config = GridConfig(data_dir=options.data_dir, store_url=options.store_url)
    file = Path(options.data_dir, STORE_FILE)
    try:
        if not options.store_url and not file.is_file():
            # Opening would make an empty one.
            raise CheckError(f"there is no store at {file}; give --data-dir or --store-url")
        found = asyncio.run(check(options.host, config))
    except (CheckError, StoreError) as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2
    except grpc.aio.AioRpcError as error:
        print(f"cannot compare: {error.code().name}: {error.details()}", file=sys.stderr)
        return 2
    if not options.json:
        for name, value in found.as_json().items():
            print(f"{name}: {value}")
    else:
        print(json.dumps(found.as_json()))
    return 0 if found.mismatches == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
