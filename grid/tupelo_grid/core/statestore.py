"""What the state store means: a revisioned map with conditional transactions, without I/O.

Every change of the store gets the next revision, and every key remembers the revision of its last
change; 0 stands for "no such key". A transaction puts and deletes everything when all its
conditions hold, else nothing. The semantics are etcd's Txn, so that etcd can stand behind the port.

`MemoryState` is the one implementation of these rules: the SQLite adapter evaluates transactions
with it and then makes them durable, and the simulator calls it directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

# etcd refuses a Txn with more comparisons, or more operations, than this (--max-txn-ops).
TXN_OPERATIONS_MAX = 128
KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 256 * 1024


class KeyValue(msgspec.Struct, frozen=True):
    """A value, and the store's revision when the key was last put."""

    value: bytes
    revision: int


class Snapshot(msgspec.Struct, frozen=True):
    """All keys under a prefix as of one `revision` of the store."""

    entries: Mapping[str, KeyValue]
    revision: int


class TxnResult(msgspec.Struct, frozen=True):
    """How a transaction ended.

    Attributes:
        succeeded: everything was done; otherwise nothing was.
        revision: what the keys put now have; when it failed, the store's.
        current: when it failed, the keys of its conditions as they are; absent keys are left out.
    """

    succeeded: bool
    revision: int
    current: Mapping[str, KeyValue] = msgspec.field(default_factory=dict)


class Txn(msgspec.Struct, frozen=True):
    """A transaction to send. `conditions` are (key, revision), 0: absent; `reason` is for logs."""

    conditions: Sequence[tuple[str, int]]
    puts: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    deletes: Sequence[str] = ()
    reason: str = ""


def check_txn(
    conditions: Sequence[tuple[str, int]], puts: Mapping[str, bytes], deletes: Sequence[str]
) -> None:
    """Raises ValueError, saying what is wrong, for a transaction that no store would take."""
    if len(conditions) > TXN_OPERATIONS_MAX or len(puts) + len(deletes) > TXN_OPERATIONS_MAX:
        raise ValueError(
            f"a transaction has at most {TXN_OPERATIONS_MAX} conditions and as many changes; "
            f"this one has {len(conditions)} and {len(puts) + len(deletes)}: split it"
        )
    compared = [key for key, _ in conditions]
    changed = [*puts, *deletes]
    if len(set(compared)) != len(compared) or len(set(changed)) != len(changed):
        raise ValueError("a transaction names each key at most once in its conditions and changes")
    for key in (*compared, *changed):
        if not key or len(key.encode()) > KEY_BYTES_MAX:
            raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes; this one is {key[:80]!r}")
    for key, value in puts.items():
        if len(value) > VALUE_BYTES_MAX:
            raise ValueError(
                f"the value of {key!r} has {len(value)} bytes; the limit is {VALUE_BYTES_MAX}"
            )
    if any(revision < 0 for _, revision in conditions):
        raise ValueError("a condition's revision is 0 (absent) or the revision of a put")


class MemoryState:
    """The store's whole state. Not thread-safe; `fork` gives an independent copy."""

    def __init__(self, entries: Mapping[str, KeyValue] | None = None, revision: int = 0) -> None:
        self.entries: dict[str, KeyValue] = dict(entries or {})
        self.revision = revision

    def fork(self) -> MemoryState:
        return MemoryState(self.entries, self.revision)

    def read(self, prefix: str) -> Snapshot:
        entries = {key: kv for key, kv in self.entries.items() if key.startswith(prefix)}
        return Snapshot(entries, self.revision)

    def txn(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
    ) -> TxnResult:
        """Raises ValueError for a transaction that breaks a limit; nothing was done then."""
        check_txn(conditions, puts, deletes)
        entries = self.entries
        holds = all(
            (entries[key].revision if key in entries else 0) == revision
            for key, revision in conditions
        )
        if not holds:
            current = {key: entries[key] for key, _ in conditions if key in entries}
            return TxnResult(False, self.revision, current)
        present = [key for key in deletes if key in entries]
        if puts or present:
            self.revision += 1
            for key in present:
                del entries[key]
            for key, value in puts.items():
                entries[key] = KeyValue(value, self.revision)
        return TxnResult(True, self.revision)

    def validate(self) -> None:
        """Asserts what must always hold."""
        assert all(0 < kv.revision <= self.revision for kv in self.entries.values())
