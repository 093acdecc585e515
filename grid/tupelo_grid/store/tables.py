"""The store's own tables, all named `tupelo_...`, which no space can be."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

FORMAT: Final = "1"
"""Version of these tables, at `format` in tupelo_meta."""

metadata = sa.MetaData()

meta = sa.Table(
    "tupelo_meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

partitions = sa.Table(
    "tupelo_partitions",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
)

# One row for each form that the entries of a space have had: `number` is in each row of its table.
spaces = sa.Table(
    "tupelo_spaces",
    metadata,
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("schema", sa.Text, nullable=False),
)

dead_letters = sa.Table(
    "tupelo_dead_letters",
    metadata,
    sa.Column("space", sa.Text, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, autoincrement=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary),
    sa.Column("deadline_ms", sa.BigInteger, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("superseded", sa.BigInteger, nullable=False, server_default="0"),
    sa.PrimaryKeyConstraint("space", "key", "version").ddl_if(dialect="sqlite"),
)
# The longest keys fit into no index of PostgreSQL's, and those are among what is put aside.
_digest = sa.func.sha256(dead_letters.c.key)
sa.Index(
    "tupelo_dead_letters_one", dead_letters.c.space, _digest, dead_letters.c.version, unique=True
).ddl_if(dialect="postgresql")
sa.Index("tupelo_dead_letters_key", dead_letters.c.key, postgresql_using="hash").ddl_if(
    dialect="postgresql"
)

_live = dead_letters.c.superseded == 0
sa.Index(
    "tupelo_dead_letters_live", dead_letters.c.partition, sqlite_where=_live, postgresql_where=_live
)

# What was deleted, for as long as something older of the key might come by another way than the
# cursor allows. The version's name is that of rows, so that the same upsert guards both.
tombstones = sa.Table(
    "tupelo_tombstones",
    metadata,
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("tupelo_version", sa.BigInteger, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
)
sa.Index("tupelo_tombstones_version", tombstones.c.partition, tombstones.c.tupelo_version)
sa.Index("tupelo_tombstones_time", tombstones.c.time_ms)


def select_text(statement: sa.Select[Any], dialect: sa.Dialect) -> str:
    """SQL text without parameters, to be run by the driver as it is."""
    return str(statement.compile(dialect=dialect))
