"""A real PostgreSQL server for tests, as fixtures; see engines/postgres.py."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from engines.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of a run that do not stop it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """`postgresql+asyncpg://...` of that server. Tests share its database `postgres`."""
    return postgres.url


_made = iter(range(1_000_000))


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database that one test has for itself."""
    name = f"test_{os.getpid()}_{next(_made)}"
    yield postgres.create_database(name)
    postgres.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
