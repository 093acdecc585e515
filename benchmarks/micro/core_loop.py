"""A primary and its backup in one process, and the way of a session frame through both.

    python -m benchmarks.micro.core_loop SHAPE FRAMES

runs so many frames and ends; `benchmarks.instructions` counts what that takes.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Final

from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk, Pending
from tupelo_grid.core.commands import PartitionView
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.records import Mutation, Result
from tupelo_grid.core.table import Lease, PartitionConfig, Versioned
from tupelo_grid.core.unit import Unit

PARTITIONS: Final = 64
FRAME_OPS: Final = 256
BULK_ENTRIES: Final = 1024
VALUE: Final = b"\xd9d" + b"x" * 100
KEYS: Final = 4096
SETTLE_ROUNDS: Final = 100
TRIM_FRAMES: Final = 8
"""The store is told to have everything once in so many frames, so that journals stay short."""


class StillClock:
    """Time stands still, so that every run takes the same way."""

    def now(self) -> float:
        return 100.0

    def wall_ms(self) -> int:
        return 100_000


class NoCommands:
    def knows(self, command: str) -> bool:
        return False

    def run(
        self, command: str, arguments: bytes, view: PartitionView
    ) -> tuple[Result, tuple[Mutation, ...]]:
        raise KeyError(command)


class Pair:
    """Two units; "a" is primary of all partitions and "b" their backup. Frames and acknowledgements
    go from one to the other as objects, without a wire between them."""

    def __init__(self) -> None:
        clock, spaces = StillClock(), {"bench": 0}
        self._a = Unit("a", clock, Limits(), NoCommands(), spaces)
        self._b = Unit("b", clock, Limits(), NoCommands(), spaces)
        leases = {name: Lease(name, "", "", "1") for name in ("a", "b")}
        table = {
            number: Versioned(PartitionConfig(1, "a", ("a", "b")), 1)
            for number in range(PARTITIONS)
        }
        for unit in (self._a, self._b):
            unit.renewed(1e9)
            unit.set_leases(leases)
            unit.set_table(table)
        self._a.link_up("b")
        for _ in range(SETTLE_ROUNDS):
            if not self._pass_on():
                break
        self._op_number = 0
        self._frames = 0

    def run(self, batch: Batch) -> Pending:
        """A session frame, until it is answered."""
        pending = self._a.submit(batch)
        self._pass_on()
        assert pending.done
        self._a.answers.completed.clear()
        self._frames += 1
        if self._frames % TRIM_FRAMES == 0:
            self._trim()
        return pending

    def _pass_on(self) -> int:
        frames = self._a.flush()
        for frame in frames:
            ack = self._b.receive(frame)
            if ack is not None:
                self._a.acknowledged(ack)
        return len(frames)

    def _trim(self) -> None:
        held = [primary.partition for primary in self._a.primaries.values()]
        for partition in [*held, *self._b.replicas.values()]:
            partition.persisted = partition.commit
            partition.journal.trim(partition.commit)

    def puts(self, first: int) -> Batch:
        """FRAME_OPS plain writes of neighbouring keys, from the `first`."""
        numbers = [(first + number) % KEYS for number in range(FRAME_OPS)]
        batch = self._plain(kinds.PUT, numbers)
        batch.values = [VALUE] * FRAME_OPS
        batch.op_numbers = list(range(self._op_number + 1, self._op_number + FRAME_OPS + 1))
        batch.acked_below = self._op_number + 1
        self._op_number += FRAME_OPS
        return batch

    def gets(self, first: int) -> Batch:
        numbers = [(first + number) % KEYS for number in range(FRAME_OPS)]
        return self._plain(kinds.GET, numbers)

    def _plain(self, kind: int, numbers: list[int]) -> Batch:
        return Batch(
            session=7,
            acked_below=0,
            kinds=bytes([kind]) * len(numbers),
            partitions=[number % PARTITIONS for number in numbers],
            targets=["bench"],
            target_index=None,
            keys=[b"\xa9key-%05d" % number for number in numbers],
            values=None,
            op_numbers=None,
            deadline=1e9,
        )

    def bulk_puts(self, first: int) -> Batch:
        """BULK_ENTRIES entries as the bulk part of a frame, one group a partition."""
        each = BULK_ENTRIES // PARTITIONS
        numbers = [
            (first + place * PARTITIONS) % KEYS // PARTITIONS * PARTITIONS + partition
            for partition in range(PARTITIONS)
            for place in range(each)
        ]
        batch = self._plain(kinds.PUT, [])
        batch.acked_below = self._op_number + 1
        batch.bulk = Bulk(
            kind=kinds.PUT,
            space="bench",
            partitions=list(range(PARTITIONS)),
            counts=[each] * PARTITIONS,
            op_numbers=list(range(self._op_number + 1, self._op_number + PARTITIONS + 1)),
            keys=[b"\xa9key-%05d" % number for number in numbers],
            values=[VALUE] * len(numbers),
        )
        self._op_number += PARTITIONS
        return batch


SHAPES: Final[dict[str, tuple[Callable[[Pair, int], Batch], int]]] = {
    "put": (Pair.puts, FRAME_OPS),
    "get": (Pair.gets, FRAME_OPS),
    "put_many": (Pair.bulk_puts, BULK_ENTRIES),
}
"""What makes a frame of a shape, and the operations in it."""


def filled() -> Pair:
    """With all keys written, so that what follows replaces them."""
    pair = Pair()
    for first in range(0, KEYS, FRAME_OPS):
        pair.run(pair.puts(first))
    return pair


def main() -> int:
    shape, frames = sys.argv[1], int(sys.argv[2])
    make, operations = SHAPES[shape]
    pair = filled()
    batches = [make(pair, number * operations) for number in range(frames)]
    # Collections come by the number of objects, so not at the same place with more frames.
    gc.disable()
    for batch in batches:
        pair.run(batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
