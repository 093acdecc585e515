"""Near caches: what a hit costs, how soon a change is told, and what following costs the writers.

    python -m benchmarks.near --seconds 2 --json [--seed HOST:PORT]

Without --seed it starts a grid of its own and stops it. Hits are timed in a loop of one caller that
goes round 1,000 cached keys; `suspended` says how many of those awaits went through the event loop.
Told: from the moment another client's put is acknowledged until the value is dropped here. The last
line with --json: {"hits": [{"shape", "ns", "suspended"}], "told": {"p50_ms", "p99_ms"}, "rows": [as
of benchmarks.sdk: 64 puts in flight with and without a client that follows them]}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import tupelo
from tupelo import NearCache, NearSpace

from benchmarks.sdk import AIRLINE, Row, measure, own_grid, repeated, run_loop, show

sys.path.insert(0, str(AIRLINE))
KEYS: Final = 1_000
ROUNDS: Final = 200
CHANGES: Final = 300

Get = Callable[[Any], Coroutine[Any, Any, Any]]


async def cached(space: NearSpace[Any], keys: list[Any]) -> None:
    """Until all of them are served by the near cache."""
    missing = object()
    while True:
        for key in keys:
            await space.get(key)
        if all(space.peek(key, missing) is not missing for key in keys):
            return


def timed(look: Callable[[Any], Any], keys: list[Any]) -> float:
    """Nanoseconds of one call: the median round."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for key in keys:
            look(key)
        rounds.append((time.perf_counter_ns() - began) / len(keys))
    return statistics.median(rounds)


async def awaited(get: Get, keys: list[Any]) -> float:
    """Nanoseconds of one `await`, as a caller sees it: the median round."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for key in keys:
            await get(key)
        rounds.append((time.perf_counter_ns() - began) / len(keys))
    return statistics.median(rounds)


def suspends(get: Get, keys: list[Any]) -> int:
    """How many calls do not end without the event loop: a hit is over at its first step."""
    count = 0
    for key in keys:
        call = get(key)
        try:
            call.send(None)
            count += 1
        except StopIteration:
            pass  # it returned
        finally:
            call.close()
    return count


async def hits(grid: tupelo.Grid) -> list[dict[str, Any]]:
    from airline.unit import Seat, seats

    settings = NearCache(staleness_max_s=5.0)
    plain = await grid.create_space("bench")
    near = grid.space("bench", near_cache=settings)
    typed = grid.space(seats, near_cache=settings)
    texts = [f"key-{number:05d}" for number in range(KEYS)]
    carts = [f"cart-{number:05d}" for number in range(KEYS)]
    places = [("near", number) for number in range(KEYS)]
    await plain.put_many(dict.fromkeys(texts, "x" * 100))
    await plain.put_many({key: {"items": [1, 2, 3], "of": "ann"} for key in carts})
    await typed.put_many([Seat("near", number) for number in range(KEYS)])
    found: list[dict[str, Any]] = []

    def add(shape: str, ns: float, suspended: int) -> None:
        found.append({"shape": shape, "ns": round(ns), "suspended": suspended})
        print(f"{shape:>24} {ns:9,.0f} ns  {suspended} suspended", file=sys.stderr, flush=True)

    for name, space, keys in (
        ("str", near, texts),
        ("dict", near, carts),
        ("entry", typed, places),
    ):
        await cached(space, keys)
        add(f"await get: {name}", await awaited(space.get, keys), suspends(space.get, keys))
        add(f"peek: {name}", timed(space.peek, keys), 0)
    began = time.perf_counter_ns()
    for key in texts:
        await plain.get(key)
    add("await get, not near", (time.perf_counter_ns() - began) / KEYS, KEYS)
    return found


async def told(seed: str, grid: tupelo.Grid) -> dict[str, float]:
    """Milliseconds from an acknowledged put of one client to the drop in another one."""
    near = grid.space("bench", near_cache=NearCache(staleness_max_s=5.0))
    took = []
    async with tupelo.connect(seed) as other:
        space = other.space("bench")
        for number in range(CHANGES):
            key = f"told-{number % 10}"
            await cached(near, [key])
            await space.put(key, number)
            began = time.perf_counter()
            # A look at every turn of the loop, so that the figure is not that of a timer.
            while near.peek(key, number) != number:  # noqa: ASYNC110
                await asyncio.sleep(0)
            took.append((time.perf_counter() - began) * 1000)
    took.sort()
    return {
        "p50_ms": round(took[len(took) // 2], 2),
        "p99_ms": round(took[len(took) * 99 // 100], 2),
    }


async def writers(seed: str, seconds: float) -> list[Row]:
    """64 puts in flight, alone and with a client that follows them."""
    rows = []
    async with tupelo.connect(seed) as grid:
        space = await grid.create_space("bench")

        async def put(worker: int, turn: int) -> None:
            await space.put(f"key-{(worker * 37 + turn * 101) % 10_000:05d}", "x" * 100)

        work: Callable[..., Awaitable[int]] = repeated(put)
        rows.append(await measure(grid, "put", 64, work, seconds))
        show(rows[-1])
        async with tupelo.connect(seed) as other:
            await cached(other.space("bench", near_cache=NearCache(staleness_max_s=5.0)), ["one"])
            rows.append(await measure(grid, "followed", 64, work, seconds))
            show(rows[-1])
    return rows


async def run(seed: str, seconds: float) -> list[Any]:
    async with tupelo.connect(seed) as grid:
        return [await hits(grid), await told(seed, grid), await writers(seed, seconds)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--seed", default="", help="HOST:PORT of a running grid")
    parser.add_argument("--json", action="store_true", help="print the figures as the last line")
    options = parser.parse_args()
    if options.seed:
        found = run_loop(run(options.seed, options.seconds))
    else:
        with own_grid(3) as seed:
            found = run_loop(run(seed, options.seconds))
    print(f"told after p50 {found[1]['p50_ms']} ms, p99 {found[1]['p99_ms']} ms", file=sys.stderr)
    if options.json:
        print(json.dumps({"hits": found[0], "told": found[1], "rows": found[2]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
