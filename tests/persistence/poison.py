"""python -m tests.persistence.poison --store sqlite|postgres --rows 100000 --json

Puts N rows of which the database cannot hold three: a value too long for its column, a NUL in a
text, a constraint violated. All others must be stored, and the three be dead letters with their
keys. Then the constraint is dropped, and `tupelo dead-letters retry` stores that row.

The last line is JSON. The exit code is 0 when it was so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tupelo
import uvloop

from tests.e2e.grids import Grid
from tests.persistence.compare import Verdict, entries_of, match, rows_of
from tests.persistence.stores import TestStore, running_store, running_transport

UNIT = Path(__file__).parent / "unit"
CHUNK = 5000
LABEL_CHARS = 20

# The database of its owner, after the grid has made the table.
POSTGRES = (
    f"ALTER TABLE items ALTER COLUMN label TYPE varchar({LABEL_CHARS})",
    "ALTER TABLE items ADD CONSTRAINT price_is_not_negative CHECK (price >= 0)",
)
POSTGRES_REPAIR = ("ALTER TABLE items DROP CONSTRAINT price_is_not_negative",)


def _sqlite(name: str, condition: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE INSERT ON items WHEN {condition} "
        f"BEGIN SELECT RAISE(ABORT, '{name}'); END"
    )


SQLITE = (
    _sqlite("label_is_too_long", f"length(NEW.label) > {LABEL_CHARS}"),
    _sqlite("text_with_nul", "instr(NEW.note, char(0)) > 0"),
    _sqlite("price_is_not_negative", "NEW.price < 0"),
)
SQLITE_REPAIR = ("DROP TRIGGER price_is_not_negative",)


@dataclass(frozen=True, slots=True)
class Settings:
    store: str = "postgres"
    transport: str = "grpc"
    rows: int = 100_000
    drain_s: float = 300.0


def row(number: int) -> dict[str, Any]:
    return {"number": number, "label": f"item {number}", "note": "as it should be", "price": number}


def poisons(rows: int) -> dict[int, dict[str, Any]]:
    """By number, at the beginning, in the middle and at the end of the rows."""
    too_long, nul, negative = rows // 100, rows // 2, rows - 1
    return {
        too_long: {**row(too_long), "label": "x" * (LABEL_CHARS + 1)},
        nul: {**row(nul), "note": "a\0b"},
        negative: {**row(negative), "price": -1},
    }


async def run(settings: Settings, folder: Path) -> dict[str, Any]:
    with (
        running_store(settings.store, folder / "grid") as store,
        running_transport(settings.transport, folder) as options,
    ):
        grid = await asyncio.to_thread(
            Grid.start, folder, "--unit", str(UNIT), *store.options, *options
        )
        try:
            return await _attend(settings, grid, store)
        finally:
            await asyncio.to_thread(grid.stop)


async def _attend(settings: Settings, grid: Grid, store: TestStore) -> dict[str, Any]:
    poison = poisons(settings.rows)
    prepare, repair = (
        (POSTGRES, POSTGRES_REPAIR) if settings.store == "postgres" else (SQLITE, SQLITE_REPAIR)
    )
    async with await tupelo.connect(grid.address) as client:
        items = client.space("items")
        # The table is made with the first row of its space.
        await items.put(row(0), write_through=True)
        for statement in prepare:
            await asyncio.to_thread(store.sql, statement)
        started = time.monotonic()
        for first in range(0, settings.rows, CHUNK):
            numbers = range(first, min(first + CHUNK, settings.rows))
            await items.put_many([poison.get(number) or row(number) for number in numbers])
        put_s = time.monotonic() - started
        drained = await _cli(grid, "drain", "--json", "--timeout", settings.drain_s)
        stored_s = time.monotonic() - started
        listed = await _cli(grid, "dead-letters", "list", "--json")
        status = await asyncio.to_thread(grid.status)
        before = await _stored(store)
        for statement in repair:
            await asyncio.to_thread(store.sql, statement)
        retried = await _cli(grid, "dead-letters", "retry", "--json")
        found = await entries_of(client, "items")
    verdict = Verdict()
    reader = store.reader()
    try:
        rows = await rows_of(reader, "items")
        match(verdict, "items", found, rows)
        left = await reader.dead_letter_count()
    finally:
        await reader.close()
    keys = sorted(letter["key"] for letter in listed["letters"])
    report: dict[str, Any] = {
        "store": settings.store,
        "transport": settings.transport,
        "rows": settings.rows,
        "put_s": round(put_s, 3),
        "stored_s": round(stored_s, 3),
        "stored_rows_per_s": round(settings.rows / stored_s),
        "drained": drained["drained"],
        "stored": before,
        "dead_letters": listed["waiting"],
        "dead_letters_in_status": status["pump"]["dead_letters"],
        "keys": keys,
        "keys_are_right": keys == sorted(poison),
        "errors": {str(letter["key"]): letter["error"] for letter in listed["letters"]},
        "retried": {name: retried[name] for name in ("stored", "superseded", "refused")},
        "stored_after_repair": len(rows),
        "dead_letters_after_repair": left,
        "differences": verdict.store_mismatches,
    }
    report["ok"] = _is_ok(report)
    return report


def _is_ok(report: dict[str, Any]) -> bool:
    return (
        report["drained"]
        and report["stored"] == report["rows"] - 3
        and report["dead_letters"] == report["dead_letters_in_status"] == 3
        and report["keys_are_right"]
        and report["retried"] == {"stored": 1, "superseded": 0, "refused": 2}
        and report["stored_after_repair"] == report["rows"] - 2
        and report["dead_letters_after_repair"] == report["differences"] == 2
    )


async def _stored(store: TestStore) -> int:
    [(count,)] = await asyncio.to_thread(store.sql, "SELECT count(*) FROM items")
    return int(count)


async def _cli(grid: Grid, *arguments: object) -> dict[str, Any]:
    done = await asyncio.to_thread(grid.cli, str(arguments[0]), *arguments[1:])
    if not done.stdout.strip():
        raise RuntimeError(f"tupelo {' '.join(map(str, arguments))}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.persistence.poison",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--transport", choices=["grpc", "nats"], default="grpc")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="nothing but JSON on stdout")
    options = parser.parse_args(arguments)
    settings = Settings(options.store, options.transport, options.rows)
    with tempfile.TemporaryDirectory(prefix="tupelo-poison-") as folder:
        report = uvloop.run(run(settings, Path(folder)))
    if not options.json:
        for name, value in report.items():
            sys.stdout.write(f"{name:28} {value}\n")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
