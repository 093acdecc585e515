"""Whose fault an error of the database is: the row's, or the database's.

A row that the database refuses must not hold up the rows behind it, and a database that is away
must not make dead letters of rows that are well. So errors are told apart by what databases say
for machines to read: the SQLSTATE, SQLite's result code, the classes of DB-API and Python.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

CONTENT_CLASSES: Final = frozenset({"21", "22", "23", "44", "54", "P0"})
"""First two characters of SQLSTATEs: cardinality, data, constraints, WITH CHECK OPTION, limits such
as the size of a row, and what a trigger raises."""

STORE_CLASSES: Final = frozenset(
    {"08", "0A", "25", "28", "2D", "3D", "3F", "40", "42", "53", "55", "57", "58", "72", "F0", "HV"}
    | {"XX"}
)
"""Connections, transactions, log-in, missing or forbidden tables, resources, operators, the system.
42 is among them: a table or column that is gone would otherwise make a dead letter of every row."""

_SQLITE_CONTENT: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
)
_CAUSES_MAX: Final = 8


def is_content(error: Exception) -> bool | None:
    """True: the row's. False: the database's. None: it cannot be told from the error; it is the
    row's when the database answers otherwise."""
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return False
    causes = list(_causes(error))
    for cause in causes:
        found = _by_code(cause)
        if found is not None:
            return found
    if any(isinstance(cause, OSError | TimeoutError | EOFError | MemoryError) for cause in causes):
        return False
    if any(isinstance(cause, sa.exc.IntegrityError | sa.exc.DataError) for cause in causes):
        return True
    # Drivers raise these before anything is sent: the value has no form in the database.
    if any(isinstance(cause, ValueError | OverflowError | TypeError) for cause in causes):
        return True
    return None if isinstance(error, sa.exc.DBAPIError) else _of_driver(error)


def _of_driver(error: Exception) -> bool | None:
    """None for errors of a driver that SQLAlchemy has not wrapped, False for faults of ours."""
    return None if type(error).__module__.partition(".")[0] in ("asyncpg", "sqlite3") else False


def _by_code(error: BaseException) -> bool | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str) and len(state) == 5:
        if state[:2] in CONTENT_CLASSES:
            return True
        return False if state[:2] in STORE_CLASSES else None
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        # All others are the file's, the disk's, or the statement's, such as SQLITE_ERROR for a
        # table that is gone.
        return (code & 0xFF) in _SQLITE_CONTENT
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what SQLAlchemy and its adapters wrapped, and what that came from."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo and len(seen) < _CAUSES_MAX:
        one = todo.pop(0)
        if one is None or one in seen:
            continue
        seen.append(one)
        todo += [getattr(one, "orig", None), one.__cause__]
    yield from seen


def words(error: BaseException) -> str:
    """The driver's own words: SQLAlchemy's text shows the statement and its parameters."""
    inner = getattr(error, "orig", None) or error
    return str(inner) or type(inner).__name__
