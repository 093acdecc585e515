"""The store, as the data writer and the data reader see it.

Per partition the store keeps a fence row (partition, epoch, cursor): who may write, and up to which
journal sequence everything is in the store. `apply` moves the cursor and writes the rows of a batch
in one transaction, and only when the fence row says exactly (batch.epoch, batch.from_sequence).

Deletes and tombstones. A delete removes the row and leaves a tombstone with its version for
`tombstone_s`. By way of the cursor alone nothing older could ever come: a key lives in one
partition, and each batch of a partition is applied at most once, in order, under the newest epoch.
Versions of rows and tombstones are the second line: for cursors that somebody set back, for dead
letters that are tried again, for writers that do not go by the cursor. A newer change of a key
marks its dead letters superseded, in the transaction that stores the change.

Dead letters. A row that the database cannot hold is put aside in the transaction that moves the
cursor past it. Where `dead_letters_max` leaves no room for it, the partition's batch is not applied
(FULL): it waits in the journal until somebody retries or drops letters. Nothing is dropped.

Errors:

    StoreError
    +-- StoreAway        the store cannot be reached or cannot write now; nothing is lost, try again
    +-- StoreUnusable    it needs a person: wrong address, corrupt file, someone else's tables
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from tupelo.schema import SpaceSchema

from tupelo_grid.core.pump_frames import DeadRow, PartitionBatch
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
    FULL = 6  # a row would be a dead letter, and there is no room for more; nothing applied
    NO_TABLE = 7  # a space's table is missing and may not be made here; nothing applied


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """See `tupelo_grid.config.GridConfig` for what each one means."""

    dead_letters_max: int = 100_000
    tombstone_s: float = 3600.0
    purge_rows: int = 5000


DEFAULT_LIMITS: Final = StoreLimits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """`epoch` and `cursor` are the store's after the call; `dead_rows`: what it put aside. `error`:
    what has to be done where the status says NO_TABLE."""

    partition: int
    status: Status
    epoch: int
    cursor: int
    dead_rows: tuple[DeadRow, ...] = ()
    error: str = ""

    @property
    def dead_letters(self) -> int:
        return len(self.dead_rows)


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


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters: "" and None mean any. `after`: only those that follow (time_ms, space,
    key, version). `superseded`: also those that a newer change has made needless."""

    space: str = ""
    key: bytes | None = None
    version: int = 0
    superseded: bool = True
    after: tuple[int, str, bytes, int] | None = None


ANY_LETTER: Final = LetterFilter()


@dataclass(frozen=True, slots=True)
class LetterResult:
    """What became of a letter that was tried again: "stored", "superseded" or "refused"; `error`
    says why it was refused."""

    letter: DeadLetter
    result: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class KeyRows:
    """What the store has of some keys.

    Attributes:
        fences: partition -> (epoch, cursor), of those it knows, read before the rows.
        rows: by key; those that have none are missing.
        dead: keys whose newest change is a dead letter, so that a row is older than the grid's.
    """

    fences: dict[int, tuple[int, int]]
    rows: dict[bytes, Row]
    dead: frozenset[bytes]


class Store(Protocol):
    """Any number of tasks may call it; calls take effect one after the other."""

    @property
    def name(self) -> str:
        """Kind and place, without credentials."""
        ...

    @property
    def concurrency(self) -> int:
        """So many calls of `apply` at the same time are of use; they have no partition in
        common."""
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

    def read_rows(
        self, space: str, partitions: Collection[int] | None = None
    ) -> AsyncIterator[Row]:
        """All rows of a space as of one moment, in no order, with the exact bytes that were put.

        Only those of `partitions`, where given, and rows of a mapped table that the grid did not
        put, whose partition is not known. Nothing for a space that was never stored.
        """
        ...

    def read_pages(
        self, space: str, partitions: Collection[int] | None = None
    ) -> AsyncIterator[list[Row]]:
        """The rows of `read_rows`, some at a time."""
        ...

    async def find_space(self, schema: SpaceSchema) -> None:
        """Makes sure that the space has a table, so that rows of others in one that was there
        before are found too. Raises StoreUnusable where it has none that may be used."""
        ...

    async def read_keys(
        self, schema: SpaceSchema, partitions: Collection[int], keys: Sequence[bytes]
    ) -> KeyRows:
        """Rows of some keys, which are in these partitions; see find_space."""
        ...

    async def dead_keys(self, space: str) -> frozenset[bytes]:
        """As in KeyRows, of a whole space."""
        ...

    async def counts(self) -> dict[str, int]:
        """Rows per space."""
        ...

    async def dead_letters(
        self, limit: int = 1000, offset: int = 0, which: LetterFilter = ANY_LETTER
    ) -> list[DeadLetter]:
        """Oldest first."""
        ...

    async def dead_letter_count(self) -> int:
        """Those that are not superseded."""
        ...

    async def retry_letters(
        self, which: LetterFilter, limit: int, schemas: Mapping[str, SpaceSchema]
    ) -> list[LetterResult]:
        """Tries to store up to `limit` live letters, the oldest first, each under its version
        guard; what the store has newer stays. One whose space is not in `schemas` is kept."""
        ...

    async def drop_letters(self, which: LetterFilter, limit: int) -> int:
        """Forgets up to `limit` letters, superseded ones included. Returns how many."""
        ...
