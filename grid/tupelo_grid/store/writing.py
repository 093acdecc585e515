"""What one transaction of the store does: fence rows first, then rows, then dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from tupelo.schema import SpaceSchema

from tupelo_grid.core.pump_frames import Change, PartitionBatch
from tupelo_grid.store import tables
from tupelo_grid.store.backend import Backend
from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.port import Outcome, Status, StoreAway
from tupelo_grid.store.registry import Registry, SpaceTable

ERROR_TEXT_MAX: Final = 1000
"""Characters of a dead letter's error that are kept."""

Placed = tuple[Change, int]  # a change and its partition


def read_fences(connection: sa.Connection, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
    """partition -> (epoch, cursor), locked until the transaction ends."""
    wanted = sorted(set(partitions))
    table = tables.partitions
    query = sa.select(table.c.partition, table.c.epoch, table.c.cursor)
    query = query.where(table.c.partition.in_(wanted)).with_for_update()
    return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def claim(connection: sa.Connection, epochs: Mapping[int, int]) -> dict[int, Outcome]:
    """`epoch = mine where epoch <= mine`; a partition never seen starts with cursor 0."""
    table = tables.partitions
    fences = read_fences(connection, epochs)
    new, risen = [], []
    outcomes = {}
    for partition, epoch in epochs.items():
        found = fences.get(partition)
        if found is None:
            found = (epoch, 0)
            new.append({"partition": partition, "epoch": epoch, "cursor": 0})
        elif found[0] < epoch:
            found = (epoch, found[1])
            risen.append({"p": partition, "e": epoch})
        status = Status.CLAIMED if found[0] == epoch else Status.FENCED
        outcomes[partition] = Outcome(partition, status, *found)
    if new:
        connection.execute(sa.insert(table), new)
    if risen:
        mine = sa.and_(table.c.partition == sa.bindparam("p"), table.c.epoch < sa.bindparam("e"))
        connection.execute(sa.update(table).where(mine).values(epoch=sa.bindparam("e")), risen)
    return outcomes


def apply(
    connection: sa.Connection,
    backend: Backend,
    registry: Registry,
    batches: Sequence[PartitionBatch],
    schemas: Mapping[str, SpaceSchema],
    now_ms: int,
) -> list[Outcome]:
    """Moves the cursors that may move, and stores the rows of their batches."""
    fences = read_fences(connection, (batch.partition for batch in batches))
    outcomes: list[Outcome] = []
    taken: list[PartitionBatch] = []
    for batch in batches:
        status = _judge(batch, fences.get(batch.partition))
        if status is Status.APPLIED:
            taken.append(batch)
            fences[batch.partition] = (batch.epoch, batch.to_sequence)
        epoch, cursor = fences.get(batch.partition, (0, 0))
        outcomes.append(Outcome(batch.partition, status, epoch, cursor))
    if not taken:
        return outcomes
    _move_cursors(connection, taken)
    rows = _Rows(connection, backend, registry, schemas, now_ms)
    rows.store([(change, batch.partition) for batch in taken for change in batch.changes])
    letters = rows.letters_by_partition()
    return [
        Outcome(o.partition, o.status, o.epoch, o.cursor, letters.pop(o.partition, 0))
        if o.status is Status.APPLIED
        else o
        for o in outcomes
    ]


def _judge(batch: PartitionBatch, fence: tuple[int, int] | None) -> Status:
    if fence is None or fence[0] < batch.epoch:
        return Status.UNCLAIMED
    if fence[0] > batch.epoch:
        return Status.FENCED
    return Status.APPLIED if fence[1] == batch.from_sequence else Status.MOVED


def _move_cursors(connection: sa.Connection, batches: Sequence[PartitionBatch]) -> None:
    """The rows are locked and were just read, so each update must find its row."""
    table = tables.partitions
    mine = sa.and_(
        table.c.partition == sa.bindparam("p"),
        table.c.epoch == sa.bindparam("e"),
        table.c.cursor == sa.bindparam("old"),
    )
    moved = connection.execute(
        sa.update(table).where(mine).values(cursor=sa.bindparam("new")),
        [
            {"p": b.partition, "e": b.epoch, "old": b.from_sequence, "new": b.to_sequence}
            for b in batches
        ],
    ).rowcount
    if moved not in (-1, len(batches)):
        raise StoreAway(f"{len(batches)} cursors should have moved, {moved} did")


@dataclass(slots=True)
class _Work:
    """The rows of one space; each list of parameters has its changes beside it."""

    upserts: list[tuple[Any, ...]] = field(default_factory=list)
    upserted: list[Placed] = field(default_factory=list)
    deletes: list[tuple[Any, ...]] = field(default_factory=list)
    deleted: list[Placed] = field(default_factory=list)


class _Rows:
    """Stores changes; those that do not fit become dead letters."""

    def __init__(
        self,
        connection: sa.Connection,
        backend: Backend,
        registry: Registry,
        schemas: Mapping[str, SpaceSchema],
        now_ms: int,
    ) -> None:
        self._connection = connection
        self._backend = backend
        self._registry = registry
        self._schemas = schemas
        self._now_ms = now_ms
        self._letters: list[tuple[Placed, str]] = []

    def store(self, changes: Sequence[Placed]) -> None:
        """Upserts of a table first, then its deletes: versions make any order right, as an upsert
        needs a newer version than the row's and a delete one at least as new."""
        spaces: dict[str, list[Placed]] = {}
        for placed in changes:
            spaces.setdefault(placed[0][0], []).append(placed)
        for space, mine in spaces.items():
            self._store_space(self._schemas[space], mine)
        self._write_letters()
        self._supersede(changes)

    def letters_by_partition(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for (_, partition), _ in self._letters:
            counts[partition] = counts.get(partition, 0) + 1
        return counts

    def _store_space(self, schema: SpaceSchema, changes: Sequence[Placed]) -> None:
        try:
            table = self._registry.table(self._connection, schema)
        except Unfit as error:
            self._letters += [(placed, str(error)) for placed in changes]
            return
        work = self._map(table, changes)
        self._run(table.upsert, work.upserts, work.upserted)
        self._run(table.delete, work.deletes, work.deleted)

    def _map(self, table: SpaceTable, changes: Sequence[Placed]) -> _Work:
        work = _Work()
        mapping = table.mapping
        for placed in changes:
            (_, key, value, version, deadline_ms), partition = placed
            try:
                if value is None:
                    work.deletes.append((*mapping.key_columns(key), version))
                    work.deleted.append(placed)
                else:
                    work.upserts.append(mapping.row(key, value, version, partition, deadline_ms))
                    work.upserted.append(placed)
            except Unfit as error:
                # A key that does not fit has no row, so its removal is done.
                if value is not None:
                    self._letters.append((placed, str(error)))
        return work

    def _run(self, sql: str, rows: list[tuple[Any, ...]], placed: list[Placed]) -> None:
        """All rows in one go; where the database refuses one, by halves down to that row."""
        if not rows:
            return
        savepoint = self._connection.begin_nested()
        try:
            self._connection.exec_driver_sql(sql, rows)
        except Exception as error:
            if not self._backend.is_content_error(error):
                raise
            savepoint.rollback()
            if len(rows) == 1:
                self._letters.append((placed[0], str(getattr(error, "orig", None) or error)))
                return
            half = len(rows) // 2
            self._run(sql, rows[:half], placed[:half])
            self._run(sql, rows[half:], placed[half:])
        else:
            savepoint.commit()

    def _write_letters(self) -> None:
        if not self._letters:
            return
        rows = [
            (space, key, version, error[:ERROR_TEXT_MAX], value, deadline_ms, self._now_ms, at, 0)
            for ((space, key, value, version, deadline_ms), at), error in self._letters
        ]
        self._connection.exec_driver_sql(self._backend.insert_or_ignore(tables.dead_letters), rows)

    def _supersede(self, changes: Sequence[Placed]) -> None:
        """Marks older dead letters of the keys that were stored: they must not be replayed."""
        table = tables.dead_letters
        live = sa.select(table.c.version).where(table.c.superseded == 0).limit(1)
        if self._connection.execute(live).first() is None:
            return
        refused = {(change[0], change[1], change[3]) for (change, _), _ in self._letters}
        newer = [
            {"s": change[0], "k": change[1], "v": change[3]}
            for change, _ in changes
            if (change[0], change[1], change[3]) not in refused
        ]
        if not newer:
            return
        older = sa.and_(
            table.c.space == sa.bindparam("s"),
            table.c.key == sa.bindparam("k"),
            table.c.version < sa.bindparam("v"),
        )
        self._connection.execute(
            sa.update(table).where(older).values(superseded=sa.bindparam("v")), newer
        )
