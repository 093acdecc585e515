"""The shapes of data inside a partition. Records are plain tuples: they are made once an operation.

    Entry     value, version, deadline_ms
    Mutation  (space, key, value or None for a removal, deadline_ms)
    Record    (kind, session, op_number, floor, result, mutations), or with one mutation
              (kind, session, op_number, floor, result, space, key, value, deadline_ms)

The mutations of a record are a tuple, or Puts: what a bulk write puts, which is most of what there
is in a grid that is being filled, has one tuple for all keys and one for all values. A record of
one mutation, which is what a plain write makes, is a single tuple: with tuples in it, it would take
twice the memory, and journals are the most of what a unit under load walks through.

A record's sequence number and epoch are not in it: the journal knows them by its place.
`deadline_ms` is Unix time, 0 for never. `floor` is the session's acked_below when the record was
made. `result` is None for the commonest one: OK, with the record's own sequence as version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final, cast

import msgspec
from tupelo._unit.stored import StoredEntry

Entry = StoredEntry
Mutation = tuple[str, bytes, bytes | None, int]
Result = tuple[int, int, bytes]  # (ResultCode, version, value)


class Puts(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Entries put into one space with one deadline. Iterates over the mutations it stands for."""

    space: str
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]
    deadline_ms: int

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Mutation]:
        return zip(repeat(self.space), self.keys, self.values, repeat(self.deadline_ms))

    def __reversed__(self) -> Iterator[Mutation]:
        return reversed(tuple(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Puts, tuple)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


# Below it, looking at columns costs more than tuples do.
PUTS_MIN: Final = 5

Mutations = tuple[Mutation, ...] | Puts
Single = tuple[int, int, int, int, Result | None, str, bytes, bytes | None, int]
Several = tuple[int, int, int, int, Result | None, Mutations]
Record = Single | Several
# Elements of a record with one mutation.
SINGLE: Final = 9
# As it is written to files and snapshots, and read from them.
StoredRecord = tuple[int, int, int, int, Result | None, tuple[Mutation, ...]]

# Kinds of record.
WRITE: Final = 1  # a client's operation, or a group of a bulk write
NOOP: Final = 2  # the first record of an epoch
EXPIRE: Final = 3  # removals by deadline, decided by the primary
SESSION_EVICT: Final = 4  # result's value: MessagePack list of session ids
LOAD: Final = 5  # entries brought in from the store
JOINT: Final = 6  # several groups of bulk writes; result's value: MessagePack list of op numbers


def puts(space: str, keys: Sequence[bytes], values: Sequence[bytes], deadline_ms: int) -> Mutations:
    """The mutations that put these entries: as columns where there are more than a few."""
    if len(keys) >= PUTS_MIN:
        return Puts(space, tuple(keys), tuple(values), deadline_ms)
    return tuple(zip(repeat(space), keys, values, repeat(deadline_ms)))


def record_of(
    kind: int, session: int, number: int, floor: int, result: Result | None, changes: Mutations
) -> Record:
    """The record that makes these changes."""
    if len(changes) == 1:
        [(space, key, value, deadline_ms)] = changes
        return (kind, session, number, floor, result, space, key, value, deadline_ms)
    return (kind, session, number, floor, result, changes)


def mutations_of(record: Record) -> Mutations:
    """What the record changes."""
    if len(record) == SINGLE:
        return (cast("Single", record)[5:],)
    return cast("Several", record)[5]


def mutation_count(record: Record) -> int:
    """How many changes it makes."""
    return 1 if len(record) == SINGLE else len(mutations_of(record))


def content_bytes(record: Record) -> int:
    """Of its keys and values."""
    return sum([len(key) + len(value or b"") for _, key, value, _ in mutations_of(record)])


def stored(records: Sequence[Record]) -> list[StoredRecord]:
    """The records as they are written."""
    return [_stored(record) for record in records]


def _stored(record: Record) -> StoredRecord:
    if len(record) == SINGLE or isinstance(record[5], Puts):
        return (*record[:5], tuple(mutations_of(record)))
    return cast("StoredRecord", record)


def restored(records: Sequence[StoredRecord]) -> list[Record]:
    """The records that were written so."""
    return [record_of(*record) for record in records]
