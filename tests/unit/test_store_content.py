"""Whose fault an error is: the row's, the database's, or not to be told from the error."""

from __future__ import annotations

import sqlite3

import asyncpg
import pytest
import sqlalchemy as sa
from tupelo_grid.store.content import is_content


def sqlite_error(statement: str) -> Exception:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT CHECK (b <> 'x')) STRICT"
        )
        with pytest.raises(sa.exc.DBAPIError) as caught:
            connection.exec_driver_sql(statement)
    return caught.value


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO t VALUES (1, 'x')", True),
        ("INSERT INTO t VALUES ('not a number', 'y')", True),
        ("INSERT INTO nowhere VALUES (1)", False),
        ("INSERT INTO t (no_such_column) VALUES (1)", False),
    ],
)
def test_sqlite_says_by_its_result_code(statement: str, expected: bool) -> None:
    assert is_content(sqlite_error(statement)) is expected


def with_state(state: str) -> Exception:
    error = asyncpg.PostgresError("words")
    error.sqlstate = state
    return error


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("22001", True),  # value too long
        ("22021", True),  # a NUL in text
        ("23514", True),  # a check
        ("23503", True),  # a foreign key
        ("P0001", True),  # RAISE in a trigger
        ("54000", True),  # an index row too big
        ("08006", False),  # the connection
        ("57P01", False),  # shut down by an operator
        ("53300", False),  # too many connections
        ("53100", False),  # disk full
        ("40P01", False),  # a deadlock
        ("40001", False),
        ("25006", False),  # read-only
        ("42P01", False),  # the table is gone
        ("42501", False),  # not allowed
        ("XX001", False),  # corrupt
        ("ZZ123", None),
    ],
)
def test_postgres_says_by_its_sqlstate_wherever_it_is_wrapped(
    state: str, expected: bool | None
) -> None:
    bare = with_state(state)
    wrapped = sa.exc.DBAPIError("INSERT", {}, bare)
    adapted = sa.exc.DBAPIError("INSERT", {}, RuntimeError("adapter"))
    adapted.__cause__ = bare
    assert [is_content(error) for error in (bare, wrapped, adapted)] == [expected] * 3


def test_a_connection_that_is_gone_is_no_fault_of_the_row() -> None:
    lost = sa.exc.DBAPIError("INSERT", {}, with_state("22001"))
    lost.connection_invalidated = True
    assert is_content(lost) is False
    assert is_content(ConnectionResetError("peer")) is False
    assert is_content(TimeoutError()) is False


def test_what_a_driver_cannot_even_send_is_the_row_s() -> None:
    assert is_content(OverflowError("int too large")) is True
    assert is_content(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates")) is True
    assert is_content(sa.exc.DBAPIError("INSERT", {}, ValueError("argument $3"))) is True


def test_what_nobody_knows_stays_unknown_and_a_fault_of_ours_is_no_row_s() -> None:
    assert is_content(sa.exc.DBAPIError("INSERT", {}, Exception("?"))) is None
    assert is_content(sqlite3.OperationalError("made up here, without a code")) is None
    assert is_content(AssertionError("a bug")) is False
