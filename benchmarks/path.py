"""What a write costs on its way through two units, stage by stage, without sockets or loops.

    python -m benchmarks.path [--ops 64] [--rounds 2000] [--json]

One primary unit and one backup of the real core with the real codecs between them, in one process:
frames of --ops plain puts of 100 bytes (or, as `bulk`, of --ops entries of put_many) over 10,000
keys and 256 partitions, a third of which belong to the unit as in a grid of three. The figure of a
stage is the minimum over blocks of rounds, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from tupelo.codec import encode_key, encode_value, partition_of
from tupelo.v1.data_pb2 import BulkBatch, OpBatch, OpKind, SessionRequest
from tupelo.v1.replication_pb2 import ReplicationAck, ReplicationFrame
from tupelo_grid.config import GridConfig
from tupelo_grid.core.batch import Pending
from tupelo_grid.core.commands import PartitionView
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.records import Mutation, Result
from tupelo_grid.core.table import Lease, PartitionConfig, Versioned
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.clock import MachineClock
from tupelo_grid.transport.columns import Columns, to_batch, to_result
from tupelo_grid.transport.replication_codec import (
    decode_ack,
    decode_frame,
    encode_ack,
    encode_frame,
)
from tupelo_grid.transport.validate import malformed, oversized, validate_batch

PARTITIONS: Final = 256
OWNED: Final = range(0, PARTITIONS, 3)
KEYS: Final = 10_000
VALUE: Final = encode_value("x" * 100)
GRID: Final = bytes(16)
BLOCK: Final = 50
SESSION: Final = 1 << 40


class NoCommands:
    def knows(self, command: str) -> bool:
        return False

    def run(
        self, command: str, arguments: bytes, view: PartitionView
    ) -> tuple[Result, tuple[Mutation, ...]]:
        raise AssertionError("no command is called here")


class Pair:
    """A primary, its backup, and the stages between them."""

    def __init__(self) -> None:
        clock = MachineClock()
        limits = Limits(digest_interval_s=1e9)
        self.clock = clock
        self.config = GridConfig()
        self.units = [Unit(name, clock, limits, NoCommands(), {"bench": 0}) for name in "ab"]
        leases = {name: Lease(name, "", "", "n") for name in "ab"}
        config = PartitionConfig(1, "a", ("a", "b"))
        for unit in self.units:
            unit.set_leases(leases)
            unit.renewed(clock.now() + 1e6)
            unit.set_table({number: Versioned(config, 2) for number in OWNED})
        self.primary, self.backup = self.units
        self.primary.link_up("b")
        for _ in range(4):
            for frame in self.primary.flush():
                ack = self.backup.receive(frame)
                assert ack is not None
                self.primary.acknowledged(ack)
        assert len(self.primary.serving) == len(OWNED)

    def forget(self) -> None:
        """As if the store had everything."""
        for unit in self.units:
            for partition in unit.replicas.values():
                partition.persisted = partition.commit
        self.primary.tick()


def plain_frames(ops: int, count: int) -> list[bytes]:
    chance = random.Random(7)
    keys = [encode_key(f"key-{number:05d}") for number in range(KEYS)]
    places = {key: partition_of(key, PARTITIONS) for key in keys}
    owned = [key for key in keys if places[key] in OWNED]
    frames, number = [], 1
    for _ in range(count):
        some = chance.choices(owned, k=ops)
        batch = OpBatch(
            grid_id=GRID,
            table_version=2,
            session=SESSION,
            acked_below=number,
            timeout_ms=10_000,
            targets=["bench"],
            kinds=bytes([OpKind.OP_KIND_PUT]) * ops,
            partitions=[places[key] for key in some],
            keys=some,
            values=[VALUE] * ops,
            op_numbers=range(number, number + ops),
        )
        number += ops
        frames.append(SessionRequest(request_id=number, batches=[batch]).SerializeToString())
    return frames


def bulk_frames(ops: int, count: int) -> list[bytes]:
    chance = random.Random(7)
    keys = [encode_key(f"key-{number:05d}") for number in range(KEYS)]
    frames, number = [], 1
    owned = [key for key in keys if partition_of(key, PARTITIONS) in OWNED]
    for _ in range(count):
        groups: dict[int, list[bytes]] = {}
        for key in chance.sample(owned, k=min(ops, len(owned))):
            groups.setdefault(partition_of(key, PARTITIONS), []).append(key)
        bulk = BulkBatch(
            kind=OpKind.OP_KIND_PUT,
            space="bench",
            partitions=list(groups),
            counts=[len(group) for group in groups.values()],
            op_numbers=range(number, number + len(groups)),
            keys=[key for group in groups.values() for key in group],
            values=[VALUE] * ops,
        )
        batch = OpBatch(
            grid_id=GRID, table_version=2, session=SESSION, acked_below=number, bulk=bulk
        )
        number += len(groups)
        frames.append(SessionRequest(request_id=number, batches=[batch]).SerializeToString())
    return frames


class Stopwatch:
    def __init__(self) -> None:
        self.block: dict[str, float] = {}
        self.best: dict[str, float] = {}

    def __call__(self, stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        made = work(*arguments)
        self.block[stage] = self.block.get(stage, 0.0) + time.perf_counter() - started
        return made

    def end_block(self) -> None:
        for stage, seconds in self.block.items():
            self.best[stage] = min(seconds, self.best.get(stage, seconds))
        self.block = {}


def run(frames: list[bytes], ops: int) -> dict[str, float]:
    """Microseconds of each stage, an operation."""
    pair, watch = Pair(), Stopwatch()
    for turn, data in enumerate(frames, 1):
        one_round(pair, watch, data)
        if turn % BLOCK == 0:
            watch.end_block()
            pair.forget()
    return {stage: best / BLOCK / ops * 1e6 for stage, best in watch.best.items()}


def one_round(pair: Pair, watch: Stopwatch, data: bytes) -> None:
    request = watch("parse", SessionRequest.FromString, data)
    message = request.batches[0]
    columns = watch("columns", Columns, message)
    watch("validate", validate_batch, columns, pair.config, PARTITIONS)
    faults = watch("oversized", oversized, columns, pair.config)
    faults = faults | watch("malformed", malformed, columns)
    batch = watch("to_batch", to_batch, message, columns, faults, pair.clock.now() + 10)
    pending: Pending = watch("submit", pair.primary.submit, batch)
    [frame] = watch("flush", pair.primary.flush)
    sent = watch("encode", lambda: encode_frame(frame, GRID).SerializeToString())
    got = watch("decode", lambda: decode_frame(ReplicationFrame.FromString(sent)))
    ack = watch("backup", pair.backup.receive, got)
    back = watch("ack", lambda: decode_ack_of(ack))
    watch("commit", pair.primary.acknowledged, back)
    assert pending.done
    pair.primary.answers.completed = []
    watch("answer", lambda: to_result(pending).SerializeToString())


def decode_ack_of(ack: Any) -> Any:
    return decode_ack(ReplicationAck.FromString(encode_ack(ack, GRID).SerializeToString()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.path", description=__doc__)
    parser.add_argument("--ops", type=int, default=64, help="in a frame")
    parser.add_argument("--rounds", type=int, default=2000, help="frames")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    rounds = max(BLOCK, options.rounds)
    gc.set_threshold(100_000, 50, 1000)
    found = {
        "plain": run(plain_frames(options.ops, rounds), options.ops),
        "bulk": run(bulk_frames(options.ops, rounds), options.ops),
    }
    for stage in found["plain"]:
        line = "  ".join(f"{shape} {stages[stage]:6.3f}" for shape, stages in found.items())
        print(f"{stage:>10}  {line}", file=sys.stderr)
    totals = {shape: round(sum(stages.values()), 3) for shape, stages in found.items()}
    print(f"{'all':>10}  {totals} us an operation", file=sys.stderr)
    if options.json:
        print(json.dumps({"us_op": totals, "stages": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
