"""The store, as the data writer and the data reader see it.

Per partition the store keeps a fence row (partition, epoch, cursor): who may write, and up to which
journal sequence everything is in the store. `apply` moves the cursor and writes the rows of a batch
in one transaction, and only when the fence row says exactly (batch.epoch, batch.from_sequence).

Deletes and tombstones. A delete removes the row; no tombstone stays behind, because nothing could
need it. A key lives in one partition; each batch of a partition is applied at most once (its
`from_sequence` is behind the cursor ever after), in journal order, under the newest epoch, and
holds committed records, which never change. So after every transaction the rows of a partition are
those of its committed prefix up to the cursor, and no older write of a deleted key can ever be
applied: a repeated, late or reordered frame, or one of an older primary, changes nothing. Version
guards on upserts and deletes are a second line against what does not come by this way. A dead
letter does not: a newer change of its key marks it superseded, in the transaction that stores the
change, so that replaying it cannot bring back what was deleted.

Errors:

    StoreError
    +-- StoreAway        the store cannot be reached or cannot write now; nothing is lost, try again
    +-- StoreUnusable    it needs a person: wrong address, corrupt file, someone else's tables
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from tupelo.schema import SpaceSchema

from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.runtime.errors import FatalStartError

Row = tuple[bytes, bytes, int, int]
"""(key, value, version, deadline_ms or 0)"""


class StoreError(Exception):
    """Root of the store's errors. The text never holds credentials."""


class StoreAway(StoreError):
    """The store did not take it, for a reason that may pass. Nothing of the call was done, or it is
    not known whether it was; claim again and go on from the cursor found."""


class StoreUnusable(StoreError, FatalStartError):
    """The store cannot be used until somebody acts; `hint` says how."""


class Status(IntEnum):
    """What became of a partition in a claim or a batch."""

    CLAIMED = 1  # the partition is the caller's, with this cursor
    APPLIED = 2  # the batch is in the store
    FENCED = 3  # a higher epoch has claimed the partition
    MOVED = 4  # ours, but the cursor is not the batch's `from_sequence`; nothing applied
    UNCLAIMED = 5  # the epoch was never claimed here; nothing applied


@dataclass(frozen=True, slots=True)
class Outcome:
    """`epoch` and `cursor` are the store's after the call; `dead_letters`: rows it put aside."""

    partition: int
    status: Status
    epoch: int
    cursor: int
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A change that the database cannot hold.

    Attributes:
        payload: the value; None when the change was a removal.
        time_ms: Unix time when it was put aside.
        superseded: version of a newer change of the key that the store took; 0: none yet.
    """

    space: str
    key: bytes
    version: int
    error: str
    payload: bytes | None
    deadline_ms: int
    time_ms: int
    partition: int
    superseded: int


class Store(Protocol):
    """Any number of tasks may call it; calls take effect one after the other."""

    @property
    def name(self) -> str:
        """Kind and place, without credentials."""
        ...

    async def open(self) -> None:
        """Raises StoreUnusable or StoreAway. May be called again after StoreAway."""
        ...

    async def close(self) -> None:
        """Waits for a transaction under way."""
        ...

    async def claim(self, epochs: Mapping[int, int]) -> dict[int, Outcome]:
        """Takes partitions (partition -> epoch) where no higher epoch has: CLAIMED or FENCED."""
        ...

    async def apply(
        self, batches: Sequence[PartitionBatch], schemas: Mapping[str, SpaceSchema]
    ) -> list[Outcome]:
        """All batches in one transaction; one outcome a batch. `schemas` has every space of them.

        A row that the database cannot hold goes to the dead letters in the same transaction.
        Raises StoreAway or StoreUnusable: nothing applied, or unknown (see StoreAway).
        """
        ...

    async def cursors(self) -> dict[int, tuple[int, int]]:
        """Partition -> (epoch, cursor)."""
        ...

    def read_rows(self, space: str) -> AsyncIterator[Row]:
        """All rows of a space as of one moment, in no order, with the exact bytes that were put.

        Nothing for a space that was never stored.
        """
        ...

    async def counts(self) -> dict[str, int]:
        """Rows per space."""
        ...

    async def dead_letters(self, limit: int = 1000, offset: int = 0) -> list[DeadLetter]:
        """Oldest first."""
        ...

    async def dead_letter_count(self) -> int: ...
