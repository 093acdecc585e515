"""The shapes of data inside a partition. Records are plain tuples: they are made once an operation.

    Entry     value, version, deadline_ms
    Mutation  (space, key, value or None for a removal, deadline_ms)
    Record    (kind, session, op_number, floor, result, mutations)

A record's sequence number and epoch are not in it: the journal knows them by its place.
`deadline_ms` is Unix time, 0 for never. `floor` is the session's acked_below when the record was
made. `result` is None for the commonest one: OK, with the record's own sequence as version.
"""

from __future__ import annotations

from typing import Final

from tupelo._unit.stored import StoredEntry

Entry = StoredEntry
Mutation = tuple[str, bytes, bytes | None, int]
Result = tuple[int, int, bytes]  # (ResultCode, version, value)
Record = tuple[int, int, int, int, Result | None, tuple[Mutation, ...]]

# Kinds of record.
WRITE: Final = 1  # a client's operation, or a group of a bulk write
NOOP: Final = 2  # the first record of an epoch
EXPIRE: Final = 3  # removals by deadline, decided by the primary
SESSION_EVICT: Final = 4  # result's value: MessagePack list of session ids
LOAD: Final = 5  # entries brought in from the store
JOINT: Final = 6  # several groups of bulk writes; result's value: MessagePack list of op numbers
