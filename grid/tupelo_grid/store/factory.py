"""A store from its URL, or an error that says what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from tupelo_grid.config import GridConfig
from tupelo_grid.store.port import StoreUnusable
from tupelo_grid.store.sql import SqlStore
from tupelo_grid.store.sqlite import SqliteBackend

STORE_FILE: Final = "store.sqlite"
SUPPORTED: Final = ("sqlite", "sqlite+pysqlite")


def store_url(config: GridConfig) -> str:
    """The configured URL, or the SQLite file in the data directory."""
    return config.store_url or f"sqlite:///{Path(config.data_dir).resolve() / STORE_FILE}"


def make_store(config: GridConfig, grid_id: str | None = None) -> SqlStore:
    """Not yet open. `grid_id` in hex, see SqlStore. Raises StoreUnusable."""
    text = store_url(config)
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        # The text itself may hold a password, so it is not repeated.
        raise StoreUnusable(
            "store_url is not a SQLAlchemy URL",
            "write it like sqlite:////var/lib/grid/store.sqlite",
        ) from error
    if url.drivername not in SUPPORTED:
        raise StoreUnusable(_unsupported(url), f"supported: {', '.join(SUPPORTED)}:///PATH")
    if url.query:
        raise StoreUnusable(
            f"store_url {url.render_as_string(hide_password=True)} has parameters after '?'",
            "leave them out; the settings of the SQLite store are fixed",
        )
    if not url.database or url.database == ":memory:":
        raise StoreUnusable(
            "store_url names no file; a store in memory would not outlive the process",
            "write it like sqlite:////var/lib/grid/store.sqlite",
        )
    return SqlStore(SqliteBackend(Path(url.database), config.rpc_timeout_s), grid_id)


def _unsupported(url: sa.URL) -> str:
    shown = url.render_as_string(hide_password=True)
    try:
        url.get_dialect().import_dbapi()
    except sa.exc.NoSuchModuleError:
        return f"store_url {shown}: there is no database driver {url.drivername!r}"
    except ImportError as error:
        return f"store_url {shown}: the driver is not installed ({error})"
    return f"store_url {shown}: this version has no store on {url.get_backend_name()}"
