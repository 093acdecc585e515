"""What was deleted, and at which version: the store's memory of rows that are not there.

A row guards itself by its version; a row that was deleted cannot. Its tombstone does, until
`store_tombstone_s` have passed: whatever writes an older version of the key meanwhile, by a replay
after a cursor was set back, by a dead letter that is tried again, or by an older writer, finds it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tupelo_grid.core.pump_frames import Change
from tupelo_grid.store import tables

_COLUMNS = ("space", "key", "tupelo_version", "partition", "time_ms")

Deleted = dict[tuple[str, bytes], int]
"""(space, key) -> version of its removal"""


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
        query = sa.select(stone.tupelo_version).where(stone.space == space, stone.key == key)
        version = connection.execute(query).scalar()
        if version is not None:
            found[space, key] = int(version)
    return found


def bury(connection: sa.Connection, deleted: Iterable[tuple[Change, int]], now_ms: int) -> None:
    """Notes removals, each with its partition; of one key the newest counts."""
    newest: dict[tuple[str, bytes], tuple[Any, ...]] = {}
    for (space, key, _, version, _), partition in deleted:
        known = newest.get((space, key))
        if known is None or known[2] < version:
            newest[space, key] = (space, key, version, partition, now_ms)
    if newest:
        rows = [dict(zip(_COLUMNS, newest[place], strict=True)) for place in sorted(newest)]
        connection.execute(_upsert(connection.dialect.name), rows)


@functools.cache
def _upsert(dialect: str) -> sa.Insert:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    insert = make(tables.tombstones)
    stone, new = tables.tombstones.c, insert.excluded
    changes = {name: new[name] for name in ("tupelo_version", "partition", "time_ms")}
    return insert.on_conflict_do_update(
        index_elements=[stone.space, stone.key],
        set_=changes,
        where=stone.tupelo_version < new.tupelo_version,
    )


def purge(connection: sa.Connection, before_ms: int, rows_max: int) -> int:
    """Forgets removals from before that time, the oldest first. Returns how many."""
    stone = tables.tombstones.c
    old = sa.select(stone.space, stone.key).where(stone.time_ms < before_ms)
    # What another writer holds locked is left to the next time: nobody waits for a clean-up.
    old = old.order_by(stone.time_ms).limit(rows_max).with_for_update(skip_locked=True)
    place = sa.tuple_(stone.space, stone.key)
    return connection.execute(sa.delete(tables.tombstones).where(place.in_(old))).rowcount
