"""What one transaction of the store does: fence rows first, then rows, then dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from tupelo.schema import SpaceSchema

from tupelo_grid.core.pump_frames import Change, DeadRow, PartitionBatch
from tupelo_grid.store import tables, tombstones
from tupelo_grid.store.backend import Backend, Move, Rows, RowWrites
from tupelo_grid.store.content import words
from tupelo_grid.store.fields import Unfit
from tupelo_grid.store.port import Outcome, Status, StoreAway, StoreLimits
from tupelo_grid.store.registry import Registry, SpaceTable

ERROR_TEXT_MAX: Final = 1000
"""Characters of a dead letter's error that are kept."""

# Asked in each transaction, so it is made once: with the partitions it is made anew each time.
_ANY_LIVE: Final = (
    sa.select(tables.dead_letters.c.version).where(tables.dead_letters.c.superseded == 0).limit(1)
)

Placed = tuple[Change, int]  # a change and its partition
Write = Callable[[sa.Connection, Rows], None]


class LettersFull(Exception):
    """There is no room for what the database refused of these partitions: the transaction must be
    rolled back and tried again without them."""

    def __init__(self, partitions: frozenset[int]) -> None:
        super().__init__(f"no room for the dead letters of partitions {sorted(partitions)}")
        self.partitions = partitions


@dataclass(frozen=True, slots=True)
class Context:
    """What a transaction is carried out with. `held_back`: partitions whose batches are answered
    FULL without being tried."""

    backend: Backend
    registry: Registry
    stones: RowWrites
    schemas: Mapping[str, SpaceSchema]
    limits: StoreLimits
    now_ms: int
    held_back: frozenset[int] = frozenset()


def read_fences(connection: sa.Connection, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
    """partition -> (epoch, cursor), locked until the transaction ends."""
    wanted = sorted(set(partitions))
    table = tables.partitions
    query = sa.select(table.c.partition, table.c.epoch, table.c.cursor)
    # In one order everywhere, so that two writers never wait for each other.
    query = query.where(table.c.partition.in_(wanted)).order_by(table.c.partition)
    query = query.with_for_update()
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
    connection: sa.Connection, context: Context, batches: Sequence[PartitionBatch]
) -> list[Outcome]:
    """Moves the cursors that may move, and stores the rows of their batches. Raises LettersFull."""
    fences = read_fences(connection, (batch.partition for batch in batches))
    outcomes: list[Outcome] = []
    taken: list[PartitionBatch] = []
    for batch in batches:
        status = _judge(batch, fences.get(batch.partition))
        if status is Status.APPLIED and batch.partition in context.held_back:
            status = Status.FULL
        if status is Status.APPLIED:
            taken.append(batch)
            fences[batch.partition] = (batch.epoch, batch.to_sequence)
        epoch, cursor = fences.get(batch.partition, (0, 0))
        outcomes.append(Outcome(batch.partition, status, epoch, cursor))
    if not taken:
        return outcomes
    deleted = tombstones.newer_than_cursors(connection, (batch.partition for batch in taken))
    _move_cursors(connection, context.backend, taken)
    rows = _Rows(connection, context, deleted)
    rows.store([(change, batch.partition) for batch in taken for change in batch.changes])
    letters = rows.letters_by_partition()
    return [
        Outcome(o.partition, o.status, o.epoch, o.cursor, tuple(letters.pop(o.partition, ())))
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


def _move_cursors(
    connection: sa.Connection, backend: Backend, batches: Sequence[PartitionBatch]
) -> None:
    """The rows are locked and were just read, so each update must find its row."""
    moves: dict[int, Move] = {}
    for batch in batches:
        # Batches of one partition follow each other, so they are one move.
        old = moves[batch.partition][2] if batch.partition in moves else batch.from_sequence
        moves[batch.partition] = (batch.partition, batch.epoch, old, batch.to_sequence)
    moved = backend.move_cursors(connection, list(moves.values()))
    if moved not in (-1, len(moves)):
        raise StoreAway(f"{len(moves)} cursors should have moved, {moved} did")


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
        self, connection: sa.Connection, context: Context, deleted: tombstones.Deleted
    ) -> None:
        self._connection = connection
        self._context = context
        self._deleted = deleted
        self._letters: list[tuple[Placed, str]] = []

    def store(self, changes: Sequence[Placed]) -> None:
        """Upserts of a table first, then its deletes: versions make any order right, as an upsert
        needs a newer version than the row's and a delete one at least as new."""
        if self._deleted:
            changes = [placed for placed in changes if not self._is_outdated(placed[0])]
        spaces: dict[str, list[Placed]] = {}
        for placed in changes:
            spaces.setdefault(placed[0][0], []).append(placed)
        # In the same order everywhere: two writers that lock the same tables never wait in a ring.
        for space in sorted(spaces):
            self._store_space(self._context.schemas[space], spaces[space])
        gone = [placed for placed in changes if placed[0][2] is None]
        if gone:
            now_ms, limits = self._context.now_ms, self._context.limits
            tombstones.bury(self._connection, self._context.stones, gone, now_ms)
            before_ms = now_ms - round(limits.tombstone_s * 1000)
            tombstones.purge(self._connection, before_ms, limits.purge_rows)
        self._write_letters()
        self._supersede(changes)

    def letters_by_partition(self) -> dict[int, list[DeadRow]]:
        found: dict[int, list[DeadRow]] = {}
        for ((space, key, _, version, _), partition), error in self._letters:
            found.setdefault(partition, []).append(DeadRow(partition, space, key, version, error))
        return found

    def _is_outdated(self, change: Change) -> bool:
        return self._deleted.get((change[0], tombstones.short(change[1])), 0) >= change[3]

    def _store_space(self, schema: SpaceSchema, changes: Sequence[Placed]) -> None:
        try:
            table = self._context.registry.table(schema)
        except Unfit as error:
            self._letters += [(placed, str(error)) for placed in changes]
            return
        work = self._map(table, changes)
        self._run(table.writes.put, work.upserts, work.upserted)
        self._run(table.writes.remove, work.deletes, work.deleted)

    def _map(self, table: SpaceTable, changes: Sequence[Placed]) -> _Work:
        work = _Work()
        mapping = table.mapping
        # In the order of their keys, a page of the table has its rows changed at one go.
        for placed in sorted(changes, key=_key):
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

    def _run(self, write: Write, rows: list[tuple[Any, ...]], placed: list[Placed]) -> None:
        """All rows in one go; where the database refuses one, by halves down to that row."""
        if not rows:
            return
        error = attempt(self._connection, self._context.backend, write, rows)
        if error is None:
            return
        if len(rows) == 1:
            self._letters.append((placed[0], error))
            return
        half = len(rows) // 2
        self._run(write, rows[:half], placed[:half])
        self._run(write, rows[half:], placed[half:])

    def _write_letters(self) -> None:
        if not self._letters:
            return
        room = self._context.limits.dead_letters_max - count_letters(self._connection)
        if len(self._letters) > room:
            raise LettersFull(frozenset(partition for (_, partition), _ in self._letters))
        now_ms = self._context.now_ms
        rows = [
            (space, key, version, error[:ERROR_TEXT_MAX], value, deadline_ms, now_ms, at, 0)
            for ((space, key, value, version, deadline_ms), at), error in self._letters
        ]
        sql = self._context.backend.insert_or_ignore(tables.dead_letters)
        self._connection.exec_driver_sql(sql, rows)
        _purge_superseded(self._connection, self._context.limits)

    def _supersede(self, changes: Sequence[Placed]) -> None:
        """Marks older dead letters of the keys: what is newer must not be undone by them, be it
        stored or itself put aside."""
        if self._connection.execute(_ANY_LIVE).first() is None:
            return
        c = tables.dead_letters.c
        partitions = sorted({partition for _, partition in changes})
        live = sa.select(c.space, c.key, c.version).where(
            c.superseded == 0, c.partition.in_(partitions)
        )
        waiting = {(row[0], row[1]): 0 for row in self._connection.execute(live)}
        if not waiting:
            return
        for (space, key, _, version, _), _ in changes:
            place = (space, key)
            if place in waiting:
                waiting[place] = max(version, waiting[place])
        newer = [
            {"s": place[0], "k": place[1], "v": version}
            for place, version in sorted(waiting.items())
            if version
        ]
        if newer:
            older = sa.and_(
                c.space == sa.bindparam("s"),
                c.key == sa.bindparam("k"),
                c.version < sa.bindparam("v"),
                c.superseded < sa.bindparam("v"),
            )
            change = sa.update(tables.dead_letters).where(older)
            self._connection.execute(change.values(superseded=sa.bindparam("v")), newer)


def _key(placed: Placed) -> bytes:
    return placed[0][1]


def attempt(
    connection: sa.Connection, backend: Backend, write: Write, rows: list[tuple[Any, ...]]
) -> str | None:
    """Writes all rows, or for none. Returns why the database refuses one of them.

    Raises what is no fault of the rows: then nothing is known of them.
    """
    savepoint = connection.begin_nested()
    try:
        write(connection, rows)
    except Exception as error:
        mine = backend.is_content_error(error)
        if mine is False:
            raise
        savepoint.rollback()
        if mine is None:
            # A store that is away or broken does not answer this either, and its error goes up.
            connection.execute(sa.select(sa.literal(1))).scalar_one()
        return words(error)
    savepoint.commit()
    return None


def count_letters(connection: sa.Connection) -> int:
    """Those that wait for somebody."""
    table = tables.dead_letters
    query = sa.select(sa.func.count()).select_from(table).where(table.c.superseded == 0)
    return int(connection.execute(query).scalar_one())


def _purge_superseded(connection: sa.Connection, limits: StoreLimits) -> None:
    """Those that nobody needs are kept to be looked at, as many as the others at most."""
    c = tables.dead_letters.c
    old = sa.select(c.space, c.key, c.version).where(c.superseded > 0).order_by(c.time_ms.desc())
    old = old.offset(limits.dead_letters_max).limit(limits.purge_rows)
    place = sa.tuple_(c.space, c.key, c.version)
    connection.execute(sa.delete(tables.dead_letters).where(place.in_(old)))
