"""Loads the flights of 2013-11-27 and all their seats into a running grid.

    python -m loadtest.load_flights --host 127.0.0.1:7400 [--json]

The grid must run the airline (`tupelo up --unit processing-units/airline`). Loading again puts
every seat back on sale. The last line with --json: {"flights", "seats", "seconds", "entries_s"}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import tupelo
from tupelo.errors import TupeloError

from loadtest.airline_package import schedule
from loadtest.airline_package import unit as airline

CHUNK_ENTRIES: Final = 20_000

Progress = Callable[[str, int, int], None]
"""Called with the name of a space, entries loaded so far, and all there are."""


def _unseen(space: str, done: int, total: int) -> None:
    """No progress wanted."""


async def load(grid: tupelo.Grid, progress: Progress = _unseen) -> dict[str, int]:
    """Puts all flights and seats. Returns how many of each: {"flights": 1014, "seats": 118869}."""
    flights = schedule.load_flights()
    await grid.space(airline.flights).put_many(flights)
    progress("flights", len(flights), len(flights))
    total = sum(flight.seats or 0 for flight in flights)
    seats = grid.space(airline.seats)
    done = 0
    for chunk in chunks(schedule.load_seats(), CHUNK_ENTRIES):
        await seats.put_many(chunk)
        done += len(chunk)
        progress("seats", done, total)
    return {"flights": len(flights), "seats": done}


def chunks(seats: Iterator[airline.Seat], size: int) -> Iterator[list[airline.Seat]]:
    while chunk := list(islice(seats, size)):
        yield chunk


async def run(host: str, progress: Progress) -> dict[str, int | float]:
    async with tupelo.connect(host) as grid:
        started = time.perf_counter()
        counts = await load(grid, progress)
        seconds = time.perf_counter() - started
    entries_s = round(sum(counts.values()) / seconds)
    return {**counts, "seconds": round(seconds, 3), "entries_s": entries_s}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="loadtest.load_flights", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1:7400", help="of a router or unit")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    options = parser.parse_args(arguments)

    def show(space: str, done: int, total: int) -> None:
        print(f"{space}: {done:,} of {total:,}", file=sys.stderr)

    try:
        result = asyncio.run(run(options.host, _unseen if options.json else show))
    except TupeloError as error:
        print(f"loading failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
