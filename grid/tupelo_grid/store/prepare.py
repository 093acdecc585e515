"""The store's own tables: made, brought up to this version's format, or asked for.

`tupelo store init` makes them, and so does a data writer whose `store_create` allows it. All in one
transaction that has the schema for itself, so that any number of them may start at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import sqlalchemy as sa

from tupelo_grid.store import tables
from tupelo_grid.store.backend import Backend
from tupelo_grid.store.port import StoreUnusable

Step = Callable[[sa.Connection], None]

STEPS: Final[dict[int, Step]] = {}
"""By format: what takes the tables from it to the next one, beyond making those that are new."""

COMMAND: Final = "run `tupelo store init` with the same store_url, as a user who may make tables"


def prepare_store(connection: sa.Connection, backend: Backend, create: bool) -> list[str]:
    """Returns what was done, for a person. Raises StoreUnusable."""
    if not create:
        check_store(connection, backend)
        return []
    backend.lock_schema(connection)
    found = _format(connection, backend)
    before = set(sa.inspect(connection).get_table_names())
    tables.metadata.create_all(connection)
    actions = [f"table {name} made" for name in tables.metadata.tables if name not in before]
    if found is None:
        connection.execute(sa.insert(tables.meta).values(name="format", value=tables.FORMAT))
        return actions
    for number in range(found, int(tables.FORMAT)):
        STEPS.get(number, _nothing)(connection)
        actions.append(f"format {number} brought to {number + 1}")
    mine = tables.meta.c.name == "format"
    connection.execute(sa.update(tables.meta).where(mine).values(value=tables.FORMAT))
    return actions


def _nothing(connection: sa.Connection) -> None:
    """The new tables were all there was to it."""


def check_store(connection: sa.Connection, backend: Backend) -> None:
    """Raises StoreUnusable, naming the command, when the tables are missing or old."""
    found = _format(connection, backend)
    there = set(sa.inspect(connection).get_table_names())
    missing = [name for name in tables.metadata.tables if name not in there]
    if found is None or missing:
        raise StoreUnusable(
            f"{backend.name} lacks tupelo's tables ({', '.join(missing) or 'tupelo_meta is empty'})"
            ", and store_create is 'never'",
            COMMAND,
        )
    if found < int(tables.FORMAT):
        raise StoreUnusable(
            f"{backend.name} has tables of format {found}, this version needs {tables.FORMAT}, and "
            "store_create is 'never'",
            COMMAND,
        )


def _format(connection: sa.Connection, backend: Backend) -> int | None:
    """None for a store without tables. Raises StoreUnusable for one of a later version."""
    if not sa.inspect(connection).has_table(tables.meta.name):
        return None
    query = sa.select(tables.meta.c.value).where(tables.meta.c.name == "format")
    text = connection.execute(query).scalar()
    if text is None:
        return None
    if not str(text).isdigit() or int(text) > int(tables.FORMAT):
        raise StoreUnusable(
            f"{backend.name} has format {text}, this version writes {tables.FORMAT}",
            "use the version of tupelo that made it, or another store_url",
        )
    return int(text)


def bind_grid(connection: sa.Connection, backend: Backend, grid_id: str) -> None:
    """The store is the first grid's that opens it. Raises StoreUnusable for any other."""
    query = sa.select(tables.meta.c.value).where(tables.meta.c.name == "grid_id")
    found = connection.execute(query).scalar()
    if found is None:
        connection.execute(sa.insert(tables.meta).values(name="grid_id", value=grid_id))
    elif found != grid_id:
        raise StoreUnusable(
            f"{backend.name} belongs to grid {found}, not to {grid_id}",
            "give each grid a store of its own (store_url or data_dir), or move this one away",
        )


def absent_spaces(absent: Mapping[str, str]) -> str:
    """Why some spaces cannot be stored, in one line."""
    return "; ".join(text for _, text in sorted(absent.items()))
