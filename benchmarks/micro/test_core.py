"""Micro-benchmarks of the core: `python -m pytest benchmarks/micro`.

They are not part of the tests that `make test` runs: they say how long something takes here.
`--benchmark-json FILE` and `--benchmark-compare` are of pytest-benchmark.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tupelo.codec import SpaceCodec, partition_of
from tupelo.schema import SpaceSchema
from tupelo_grid.core.batch import Batch
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import WRITE, Record

from benchmarks.micro.core_loop import SHAPES, VALUE, Pair, filled

RECORDS = 1000


@pytest.mark.parametrize("shape", SHAPES)
def test_a_frame_through_primary_and_backup(benchmark: Any, shape: str) -> None:
    """One session frame: evaluated, journalled, replicated, acknowledged, answered."""
    make, operations = SHAPES[shape]
    pair = filled()
    first = 0

    def prepare() -> tuple[tuple[Pair, Batch], dict[str, Any]]:
        nonlocal first
        first += operations
        return (pair, make(pair, first)), {}

    benchmark.extra_info["operations"] = operations
    pending = benchmark.pedantic(Pair.run, setup=prepare, rounds=300, warmup_rounds=20)
    assert not pending.errors


def test_records_into_a_partition(benchmark: Any) -> None:
    """What a backup does for each write: journal, entry, session table, undo."""
    records: list[Record] = [
        (WRITE, 7, number + 1, number, (0, 0, b""), (("bench", b"%d" % number, VALUE, 0),))
        for number in range(RECORDS)
    ]

    def append(partition: Partition) -> int:
        for record in records:
            last = partition.append(record, 1)
        partition.advance_commit(last)
        return last

    def prepare() -> tuple[tuple[Partition], dict[str, Any]]:
        return (Partition(0),), {}

    assert benchmark.pedantic(append, setup=prepare, rounds=100, warmup_rounds=5) == RECORDS


def test_keys_are_encoded_and_find_their_partitions(benchmark: Any) -> None:
    codec = SpaceCodec(SpaceSchema("bench"))
    keys = [f"key-{number:05d}" for number in range(RECORDS)]
    benchmark(lambda: [codec.locate(key, 256) for key in keys])


def test_values_are_encoded(benchmark: Any) -> None:
    encode = msgspec.msgpack.Encoder().encode
    benchmark(lambda: [encode({"holder": "ann", "number": number}) for number in range(RECORDS)])


def test_partitions_of_routes(benchmark: Any) -> None:
    routes = [b"\xa9key-%05d" % number for number in range(RECORDS)]
    benchmark(lambda: [partition_of(route, 256) for route in routes])
