"""What a unit and the data writer tell each other, as the core and the store see it.

The shell turns these into the protobuf messages of proto/tupelo/v1/pump.proto and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

Change = tuple[str, bytes, bytes | None, int, int]
"""(space, key, value or None for a removal, version, deadline_ms or 0)"""


@dataclass(frozen=True, slots=True)
class PartitionBatch:
    """The changes that take a partition's store from one cursor to the next, in order per key."""

    partition: int
    epoch: int
    from_sequence: int
    to_sequence: int
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class PumpFrame:
    """One message to the writer. `claims`: (partition, epoch)."""

    position: int
    claims: list[tuple[int, int]]
    batches: list[PartitionBatch]


class Answer(IntEnum):
    """What became of a partition in a frame; the values are the wire's PersistStatus."""

    CLAIMED = 1  # the partition is ours, its cursor is given; a batch sent with it was not applied
    PERSISTED = 2
    FENCED = 3
    RETRY = 4
    STOPPED = 5  # something of the batch cannot be stored and not be put aside; ask again later


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A change that the store put aside, and why."""

    partition: int
    space: str
    key: bytes
    version: int
    error: str


@dataclass(frozen=True, slots=True)
class PumpAck:
    """The answer to a frame. `answers`: (partition, epoch, cursor, answer). `dead_letters`: changes
    that were put aside; `dead_rows`: the first of them. `away`: the frame is well, the store took
    nothing at all; that is not sent over a wire."""

    position: int
    answers: list[tuple[int, int, int, Answer]]
    dead_letters: int = 0
    error: str = ""
    away: bool = False
    dead_rows: tuple[DeadRow, ...] = ()
