"""What was deleted, and at which version: the store's memory of rows that are not there.

A row guards itself by its version; a row that was deleted cannot. Its tombstone does, until
`store_tombstone_s` have passed: whatever writes an older version of the key meanwhile, by a replay
after a cursor was set back, by a dead letter that is tried again, or by an older writer, finds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from tupelo_grid.core.pump_frames import Change
from tupelo_grid.store import tables
from tupelo_grid.store.backend import RowWrites

Deleted = dict[tuple[str, bytes], int]
"""(space, key as `short` has it) -> version of its removal"""

KEY_BYTES_MAX: Final = 1000
"""Of a key as it is; PostgreSQL indexes none above 2704."""


def short(key: bytes) -> bytes:
    """The key, or what stands for one that is too long for an index: a byte that no key begins
    with, since MessagePack never uses it, and a digest."""
    if len(key) <= KEY_BYTES_MAX:
        return key
    return b"\xc1" + hashlib.blake2b(key, digest_size=32).digest()


def newer_than_cursors(connection: sa.Connection, partitions: Iterable[int]) -> Deleted:
    """Removals that lie behind their partition's cursor; to be read before that is moved.

    There are none unless somebody set a cursor back: what a batch brings is newer than its
    partition's cursor, and older removals cannot concern it. So the guard costs a look into an
    index for each partition, however many rows a batch has.
    """
    stone, fence = tables.tombstones.c, tables.partitions.c
    query = sa.select(stone.space, stone.key, stone.tupelo_version).where(
        fence.partition.in_(sorted(set(partitions))),
        stone.partition == fence.partition,
        stone.tupelo_version > fence.cursor,
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def of_keys(connection: sa.Connection, keys: Sequence[tuple[str, bytes]]) -> Deleted:
    """The removals of some keys, looked up one by one."""
    stone = tables.tombstones.c
    found = {}
    for space, key in keys:
        query = sa.select(stone.tupelo_version).where(stone.space == space, stone.key == short(key))
        version = connection.execute(query).scalar()
        if version is not None:
            found[space, short(key)] = int(version)
    return found


def bury(
    connection: sa.Connection,
    stones: RowWrites,
    deleted: Iterable[tuple[Change, int]],
    now_ms: int,
) -> None:
    """Notes removals, each with its partition; of one key the newest counts.

    `stones`: how rows get into the table of tombstones.
    """
    newest: dict[tuple[str, bytes], tuple[Any, ...]] = {}
    for (space, key, _, version, _), partition in deleted:
        place = (space, short(key))
        known = newest.get(place)
        if known is None or known[2] < version:
            newest[place] = (*place, version, partition, now_ms)
    if newest:
        stones.put(connection, [newest[place] for place in sorted(newest)])


def purge(connection: sa.Connection, before_ms: int, rows_max: int) -> int:
    """Forgets removals from before that time, the oldest first. Returns how many."""
    stone = tables.tombstones.c
    old = sa.select(stone.space, stone.key).where(stone.time_ms < before_ms)
    # What another writer holds locked is left to the next time: nobody waits for a clean-up.
    old = old.order_by(stone.time_ms).limit(rows_max).with_for_update(skip_locked=True)
    place = sa.tuple_(stone.space, stone.key)
    return connection.execute(sa.delete(tables.tombstones).where(place.in_(old))).rowcount
