"""A store from its URL, or an error that says what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from tupelo_grid.config import GridConfig
from tupelo_grid.store.backend import Backend
from tupelo_grid.store.port import StoreLimits, StoreUnusable
from tupelo_grid.store.sql import SqlStore
from tupelo_grid.store.sqlite import SqliteBackend

STORE_FILE: Final = "store.sqlite"
SQLITE: Final = ("sqlite", "sqlite+pysqlite")
POSTGRES: Final = ("postgresql", "postgresql+asyncpg")
EXAMPLES: Final = (
    "write it like postgresql://USER@HOST:5432/DATABASE or sqlite:////var/lib/grid/store.sqlite"
)


def store_url(config: GridConfig) -> str:
    """The configured URL, or the SQLite file in the data directory."""
    return config.store_url or f"sqlite:///{Path(config.data_dir).resolve() / STORE_FILE}"


def may_create(config: GridConfig) -> bool:
    """Whether a store that is opened may make its tables: a file of ours, unless it is said."""
    if config.store_create:
        return config.store_create == "auto"
    return not config.store_url or config.store_url.startswith("sqlite")


def make_store(config: GridConfig, grid_id: str | None = None) -> SqlStore:
    """Not yet open. `grid_id` in hex, see SqlStore. Raises StoreUnusable."""
    backend = _make_backend(config)
    return SqlStore(backend, grid_id, limits=limits_of(config), create=may_create(config))


def _make_backend(config: GridConfig) -> Backend:
    try:
        url = sa.make_url(store_url(config))
    except (sa.exc.ArgumentError, ValueError):
        # The text itself may hold a password, so it is not repeated; neither is the cause, which
        # may repeat a part of it.
        raise StoreUnusable("store_url is not a SQLAlchemy URL", EXAMPLES) from None
    if url.drivername in POSTGRES:
        return _postgres(url, config)
    if url.drivername not in SQLITE:
        raise StoreUnusable(_unsupported(url), EXAMPLES)
    if url.query:
        raise StoreUnusable(
            f"store_url {shown(url)} has parameters after '?'",
            "leave them out; the settings of the SQLite store are fixed",
        )
    if not url.database or url.database == ":memory:":
        raise StoreUnusable(
            "store_url names no file; a store in memory would not outlive the process", EXAMPLES
        )
    return SqliteBackend(Path(url.database), config.rpc_timeout_s)


def _postgres(url: sa.URL, config: GridConfig) -> Backend:
    # Only who has such a store needs its driver.
    try:
        from tupelo_grid.store.postgres import PostgresBackend
    except ImportError as error:
        raise StoreUnusable(
            f"store_url {shown(url)}: the driver is not installed ({error})",
            "pip install 'tupelo[grid,postgres]'",
        ) from error
    from tupelo_grid.store.postgres_url import postgres_address

    return PostgresBackend(postgres_address(url, config.store_password_file), config)


def shown(url: sa.URL) -> str:
    """Without what may be a secret: the password, and all after '?'."""
    return url.set(password=None, query={}).render_as_string()


def limits_of(config: GridConfig) -> StoreLimits:
    return StoreLimits(
        dead_letters_max=config.dead_letters_max,
        tombstone_s=config.store_tombstone_s,
        purge_rows=config.store_purge_rows,
    )


def _unsupported(url: sa.URL) -> str:
    where = shown(url)
    try:
        url.get_dialect().import_dbapi()
    except sa.exc.NoSuchModuleError:
        return f"store_url {where}: there is no database driver {url.drivername!r}"
    except ImportError as error:
        return f"store_url {where}: the driver is not installed ({error})"
    return f"store_url {where}: this version has no store on {url.get_backend_name()}"
