"""How long Python's collector of cycles stops a unit, by the number of entries.

    python -m benchmarks.collector [--entries 10000,2000000] [--json]

The partitions of a unit are filled with puts of 100 bytes by way of their records, as a primary and
a backup do it, with the thresholds that units have; what the store would have is trimmed now and
then. Timed are the collections that come by themselves meanwhile, and then full ones, asked for.
The last line with --json: {"rows": [{"entries", "own", "own_ms_max", "full_ms", "tracked"}]}:
`own` of each generation, `full_ms` the longest of three after the first, which has the fill's
leavings, and that as `first_ms`; `tracked` are the objects that a full collection looks at.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from typing import Any, Final

from tupelo.codec import encode_key, encode_value
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import WRITE
from tupelo_grid.runtime.unit import GC_THRESHOLDS

PARTITIONS: Final = 256
VALUE: Final = encode_value("x" * 100)
SESSION: Final = 1 << 40
TRIM_EVERY: Final = 50_000
FULL: Final = 2


class Pauses:
    """(generation, milliseconds) of each collection."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, float]] = []
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.taken.append((info["generation"], (time.perf_counter() - self._began) * 1e3))


def fill(partitions: list[Partition], entries: int) -> None:
    for number in range(entries):
        key = encode_key(f"key-{number:09d}")
        # New bytes for each, as they come from a message.
        mutation = ("bench", key, bytes(bytearray(VALUE)), 0)
        op_number = number // PARTITIONS + 1
        record = (WRITE, SESSION, op_number, op_number, None, (mutation,))
        partitions[number % PARTITIONS].append(record, 1)
        if number % TRIM_EVERY == 0:
            trim(partitions)
    trim(partitions)


def trim(partitions: list[Partition]) -> None:
    for partition in partitions:
        partition.advance_commit(partition.journal.last)
        partition.persisted = partition.commit
        partition.journal.trim(partition.persisted)


def measure(entries: int) -> dict[str, Any]:
    partitions = [Partition(number) for number in range(PARTITIONS)]
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    pauses = Pauses()
    gc.callbacks.append(pauses)
    fill(partitions, entries)
    own = pauses.taken[:]
    pauses.taken.clear()
    for _ in range(4):
        gc.collect(FULL)
    gc.callbacks.remove(pauses)
    first, *later = [ms for _, ms in pauses.taken]
    return {
        "entries": entries,
        "own": [sum(1 for one, _ in own if one == generation) for generation in range(3)],
        "own_ms_max": round(max((ms for _, ms in own), default=0.0), 2),
        "first_ms": round(first, 2),
        "full_ms": round(max(later), 2),
        "tracked": len(gc.get_objects()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collector", description=__doc__)
    parser.add_argument("--entries", default="10000,2000000", help="one row for each number")
    parser.add_argument("--json", action="store_true", help="print the rows as the last line")
    options = parser.parse_args()
    rows = []
    for entries in map(int, options.entries.split(",")):
        row = measure(entries)
        rows.append(row)
        print(
            f"{entries:>9,} entries: {sum(row['own'])} collections of its own, at most "
            f"{row['own_ms_max']:.1f} ms; full {row['first_ms']:.1f} ms, then "
            f"{row['full_ms']:.1f} ms over {row['tracked']:,} objects"
        )
    if options.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
