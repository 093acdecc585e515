"""How many rows get into a PostgreSQL table at once.

One guarded statement for all of them, INSERT ... SELECT ... ON CONFLICT DO UPDATE WHERE older. The
rows come to it as an array for each column, or, when there are many, by COPY into a temporary
table: that takes the client half the work, and carries more (`python -m benchmarks.store`).
Rows are put in the order of their keys, so that no two transactions lock them crosswise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
import xxhash
from sqlalchemy.util import await_only

from tupelo_grid.store.backend import Move, Rows
from tupelo_grid.store.mapping import Place

COPY_ROWS_MIN: Final = 400
"""From so many rows on, COPY is no slower than arrays."""

_STAGES: Final = "tupelo_stages"
"""In a connection's `info`: its temporary tables, each with the transaction that used it last."""

_MOVE: Final = """
UPDATE tupelo_partitions AS p SET cursor = u.new
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (number, epoch, old, new)
WHERE p.partition = u.number AND p.epoch = u.epoch AND p.cursor = u.old"""


def move_cursors(connection: sa.Connection, moves: Sequence[Move]) -> int:
    status: str = await_only(
        driver(connection).execute(_MOVE, *map(list, zip(*moves, strict=True)))
    )
    return int(status.rpartition(" ")[2])


def driver(connection: sa.Connection) -> Any:
    """asyncpg's connection, in the transaction of SQLAlchemy's, which must have begun by a
    statement."""
    found = connection.connection.driver_connection
    assert found is not None
    assert found.is_in_transaction(), "a statement outside of its transaction"
    return found


class PostgresWrites:
    def __init__(self, table: sa.Table, places: Mapping[str, Place], dialect: sa.Dialect) -> None:
        quote = dialect.identifier_preparer.quote
        columns = list(table.columns)
        names = [quote(column.name) for column in columns]
        kinds = [str(column.type.compile(dialect=dialect)) for column in columns]
        key = [column.name for column in table.primary_key.columns]
        self._key_at = [place for place, column in enumerate(columns) if column.name in key]
        self._version_at = [column.name for column in columns].index("tupelo_version")
        self._names = [column.name for column in columns]
        target = dialect.identifier_preparer.format_table(table)
        self._insert = _insert(target, columns, names, set(key), places)
        arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(kinds, 1))
        self._unnest = self._insert.format(source=f"unnest({arrays}) AS s ({', '.join(names)})")
        digits = xxhash.xxh3_64_hexdigest(f"{target} {names} {kinds}".encode())
        self._stage = f"tupelo_stage_{digits}"
        self._merge = self._insert.format(source=f"{self._stage} AS s")
        fields = ", ".join(f"{n} {kind}" for n, kind in zip(names, kinds, strict=True))
        self._make_stage = (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._stage} ({fields}) ON COMMIT DELETE ROWS"
        )
        self._delete = _delete(target, columns, set(key), dialect)

    def put(self, connection: sa.Connection, rows: Rows) -> None:
        newest = self._newest(rows)
        if len(newest) < COPY_ROWS_MIN:
            arrays = [list(column) for column in zip(*newest, strict=True)]
            await_only(driver(connection).execute(self._unnest, *arrays))
            return
        try:
            self._copy(connection, newest)
        except Exception:
            # Going back to a savepoint takes away tables made after it.
            connection.info.pop(_STAGES, None)
            raise

    def _newest(self, rows: Rows) -> list[tuple[Any, ...]]:
        """One row a key, in the order of keys: a statement may meet a row only once."""
        at, version = self._key_at, self._version_at
        newest: dict[Any, tuple[Any, ...]] = {}
        for row in rows:
            key = row[at[0]] if len(at) == 1 else tuple(row[n] for n in at)
            known = newest.get(key)
            if known is None or known[version] < row[version]:
                newest[key] = row
        return [newest[key] for key in sorted(newest)]

    def _copy(self, connection: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
        raw = driver(connection)
        stages = connection.info.setdefault(_STAGES, {})
        here = connection.get_transaction()
        if self._stage not in stages:
            await_only(raw.execute(self._make_stage))
        elif stages[self._stage] is here:
            # What an earlier call of the transaction left in it.
            await_only(raw.execute(f"TRUNCATE {self._stage}"))
        stages[self._stage] = here
        await_only(raw.copy_records_to_table(self._stage, records=rows, columns=self._names))
        await_only(raw.execute(self._merge))

    def remove(self, connection: sa.Connection, keys: Rows) -> None:
        arrays = [list(column) for column in zip(*keys, strict=True)]
        await_only(driver(connection).execute(self._delete, *arrays))


def _insert(
    target: str,
    columns: list[sa.Column[Any]],
    names: list[str],
    key: set[str],
    places: Mapping[str, Place],
) -> str:
    """With {source} for where the rows come from, by the name of s."""
    values = []
    for column, name in zip(columns, names, strict=True):
        cast = places[column.name].cast if column.name in places else ""
        values.append(f"CAST(s.{name} AS {cast})" if cast else f"s.{name}")
    pairs = list(zip(columns, names, strict=True))
    keys = [name for column, name in pairs if column.name in key]
    rest = [f"{name} = excluded.{name}" for column, name in pairs if column.name not in key]
    text = (
        f"INSERT INTO {target} AS t ({', '.join(names)}) SELECT {', '.join(values)} FROM @source@ "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(rest)} "
        "WHERE coalesce(t.tupelo_version, 0) < excluded.tupelo_version"
    )
    # Names may have braces of their own.
    return text.replace("{", "{{").replace("}", "}}").replace("@source@", "{source}")


def _delete(target: str, columns: list[sa.Column[Any]], key: set[str], dialect: sa.Dialect) -> str:
    quote = dialect.identifier_preparer.quote
    mine = [column for column in columns if column.name in key]
    arrays = [f"${n}::{c.type.compile(dialect=dialect)}[]" for n, c in enumerate(mine, 1)]
    arrays.append(f"${len(mine) + 1}::bigint[]")
    names = [f"k{n}" for n in range(len(mine))]
    same = [f"t.{quote(c.name)} = u.{name}" for c, name in zip(mine, names, strict=True)]
    return (
        f"DELETE FROM {target} AS t USING unnest({', '.join(arrays)}) AS u "
        f"({', '.join([*names, 'version'])}) WHERE {' AND '.join(same)} "
        "AND coalesce(t.tupelo_version, 0) <= u.version"
    )
