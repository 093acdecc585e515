"""A batch of operations as columns, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tupelo.errors import ResultCode

# Kinds of operation, as on the wire (OpKind in proto/tupelo/v1/data.proto).
GET = 1
CONTAINS = 2
PUT = 3
PUT_IF_ABSENT = 4
REPLACE = 5
COMPARE_AND_SET = 6
DELETE = 7
DELETE_IF_VERSION = 8
CALL = 9
CALL_READ_ONLY = 10
COUNT = 11
SCAN = 12
GET_NEAR = 13

READ_KINDS = frozenset({GET, CONTAINS, CALL_READ_ONLY, COUNT, SCAN, GET_NEAR})

NOT_READY = int(ResultCode.NOT_READY)
OUTCOME_UNKNOWN = int(ResultCode.OUTCOME_UNKNOWN)

# Result codes below it belong to operations that were carried out.
CARRIED_OUT_BELOW = 16

COPIES_MAX = 255


@dataclass(slots=True)
class Bulk:
    """A write or read of many entries, grouped by partition. `op_numbers` is empty for GET."""

    kind: int
    space: str
    partitions: list[int]
    counts: list[int]
    op_numbers: list[int]
    keys: list[bytes]
    values: list[bytes]
    ttl_ms: int = 0


@dataclass(slots=True)
class Batch:
    """Operation i is element i of every column; the columns that may be None were not sent.

    `faults`: operations (then bulk groups, from the number of operations on) that were found wrong
    before they came here, with code and message; they are answered so and not carried out.
    """

    session: int
    acked_below: int
    kinds: bytes
    partitions: list[int]
    targets: list[str]
    target_index: list[int] | None
    keys: list[bytes]
    values: list[bytes] | None
    op_numbers: list[int] | None
    ttls_ms: list[int] | None = None
    expected: list[int] | None = None
    strict: bool = False
    deadline: float = 0.0
    bulk: Bulk | None = None
    faults: dict[int, tuple[int, str]] | None = None


@dataclass(slots=True)
class BulkOutcome:
    """One element a group, but for GET, where versions and values are one an entry."""

    codes: bytearray
    versions: list[int]
    values: list[bytes]
    epochs: list[int]
    copies: bytearray


@dataclass(slots=True)
class OpError:
    """Detail of a failed operation, or of group (index - number of operations) of the bulk part."""

    index: int
    code: int
    message: str
    fields: dict[str, object] = field(default_factory=dict)


class Pending:
    """A batch under way: evaluated, and waiting until its records and reads may be told.

    `waits` counts what it waits for; at 0 the answer may leave. `stale`: some operation was for a
    partition this unit does not serve.
    """

    __slots__ = (
        "batch",
        "bulk",
        "codes",
        "copies",
        "epochs",
        "errors",
        "stale",
        "token",
        "values",
        "versions",
        "waits",
    )

    def __init__(self, batch: Batch) -> None:
        count = len(batch.kinds)
        self.batch = batch
        self.codes = bytearray(count)
        self.versions = [0] * count
        self.values = [b""] * count
        self.epochs = [0] * count
        self.copies = bytearray(count)
        self.errors: list[OpError] = []
        self.bulk: BulkOutcome | None = None
        self.stale = False
        self.waits = 0
        # Belongs to the shell: whom to answer.
        self.token: object = None

    @property
    def done(self) -> bool:
        return self.waits == 0

    def values_bytes(self) -> int:
        """Of all values in the answer."""
        size = sum(map(len, self.values))
        return size + sum(map(len, self.bulk.values)) if self.bulk is not None else size

    def fail(self, index: int, code: int, message: str = "", **fields: object) -> None:
        self.codes[index] = code
        if message:
            self.errors.append(OpError(index, code, message, fields))

    def partitions(self) -> set[int]:
        """All partitions the batch touches."""
        bulk = self.batch.bulk
        return set(self.batch.partitions) | set(bulk.partitions if bulk is not None else ())

    def refuse_all(self, code: int, message: str) -> None:
        """Nothing of the batch was done, for one reason."""
        self.codes[:] = bytes([code]) * len(self.codes)
        bulk = self.batch.bulk
        if bulk is not None:
            groups = len(bulk.partitions)
            entries = len(bulk.keys) if bulk.kind == GET else 0
            self.bulk = BulkOutcome(
                codes=bytearray([code]) * groups,
                versions=[0] * (entries if bulk.kind == GET else groups),
                values=[b""] * entries,
                epochs=[0] * groups,
                copies=bytearray(groups),
            )
        self.errors.append(OpError(0, code, message))

    def withhold_reads(self, partition: int) -> None:
        """What was read may not be told."""
        self.give_up(partition, reads_only=True)

    def give_up(self, partition: int, reads_only: bool = False) -> None:
        """The unit stopped being primary before the answer could leave.

        Writes may yet survive in another replica, so nobody knows; reads are simply not told.
        """
        kinds, codes = self.batch.kinds, self.codes
        for index, number in enumerate(self.batch.partitions):
            if number == partition and codes[index] < CARRIED_OUT_BELOW:
                read = kinds[index] in READ_KINDS
                if reads_only and not read:
                    continue
                codes[index] = NOT_READY if read else OUTCOME_UNKNOWN
                self.values[index] = b""
        bulk = self.batch.bulk
        if bulk is not None and self.bulk is not None and (bulk.kind == GET or not reads_only):
            self._give_up_groups(bulk, self.bulk, partition)

    def _give_up_groups(self, bulk: Bulk, outcome: BulkOutcome, partition: int) -> None:
        start = 0
        for group, number in enumerate(bulk.partitions):
            end = start + bulk.counts[group]
            if number == partition and outcome.codes[group] < CARRIED_OUT_BELOW:
                outcome.codes[group] = NOT_READY if bulk.kind == GET else OUTCOME_UNKNOWN
                if bulk.kind == GET:
                    outcome.values[start:end] = [b""] * (end - start)
                    outcome.versions[start:end] = [0] * (end - start)
            start = end

    def too_few(self, partition: int, short_of: Callable[[str, int], str]) -> None:
        """Of writes that want more copies than there are, nobody is told that they are done: a
        retry is answered when the copies are back. `short_of`: see Primary."""
        batch = self.batch
        kinds, names, places = batch.kinds, batch.targets, batch.target_index
        for index, number in enumerate(batch.partitions):
            written = kinds[index] not in READ_KINDS and self.codes[index] < CARRIED_OUT_BELOW
            if number != partition or not written:
                continue
            name = names[0] if places is None else names[places[index]]
            short = short_of("" if kinds[index] == CALL else name, self.versions[index])
            if short:
                self.fail(index, OUTCOME_UNKNOWN, short)
                self.values[index] = b""
        bulk, outcome = batch.bulk, self.bulk
        if bulk is None or outcome is None or bulk.kind == GET:
            return
        for group, number in enumerate(bulk.partitions):
            if number == partition and outcome.codes[group] < CARRIED_OUT_BELOW:
                short = short_of(bulk.space, outcome.versions[group])
                if short:
                    outcome.codes[group] = OUTCOME_UNKNOWN
                    self.errors.append(OpError(len(kinds) + group, OUTCOME_UNKNOWN, short))

    def set_copies(self, partition: int, copies: int) -> None:
        """The in-sync set changed while the batch waited: tell how many replicas really hold it."""
        copies = min(copies, COPIES_MAX)
        for index, number in enumerate(self.batch.partitions):
            if number == partition and self.copies[index]:
                self.copies[index] = copies
        if self.batch.bulk is not None and self.bulk is not None:
            for group, number in enumerate(self.batch.bulk.partitions):
                if number == partition and self.bulk.copies[group]:
                    self.bulk.copies[group] = copies
