"""Where a PostgreSQL store is, how to prove who we are, and how the way there is encrypted.

    postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=/etc/ssl/db-ca.pem

The names after `?` and their meaning are libpq's. A root certificate without an sslmode means
verify-full; without either the mode is that of PGSSLMODE, else `prefer`. The password is the first
line of `store_password_file`, else the URL's, else that of PGPASSWORD or ~/.pgpass.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from tupelo_grid.store.port import StoreUnusable

MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
PARAMETERS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey")
EXAMPLE: Final = "write it like postgresql://USER@HOST:5432/DATABASE"


@dataclass(frozen=True, slots=True)
class Address:
    """`name`: kind and place, without credentials. `arguments`: for asyncpg.connect; the password
    in it is given by a function, so that it shows in no text made of this."""

    name: str
    arguments: dict[str, Any]


def postgres_address(url: sa.URL, password_file: str) -> Address:
    """Raises StoreUnusable."""
    if not url.database:
        raise StoreUnusable("store_url names no database", EXAMPLE)
    if not url.host:
        raise StoreUnusable("store_url names no host", EXAMPLE)
    port = url.port or 5432
    arguments: dict[str, Any] = {
        "host": url.host,
        "port": port,
        "database": url.database,
        "ssl": _ssl(dict(url.query)),
    }
    if url.username:
        arguments["user"] = url.username
    if password := _password(url, password_file):
        arguments["password"] = password
    user = f"{url.username}@" if url.username else ""
    return Address(f"postgresql {user}{url.host}:{port}/{url.database}", arguments)


def _password(url: sa.URL, file: str) -> Callable[[], str] | None:
    """Asked at each connection, so that a password may be changed in its file."""
    if file:
        _read_password(file)
        return lambda: _read_password(file)
    if url.password is not None:
        known = str(url.password)
        return lambda: known
    return None


def _read_password(file: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise StoreUnusable(
            f"store_password_file {file} cannot be read: {why}",
            "name a file that this user may read, with the password as its first line",
        ) from error
    if not lines or not lines[0]:
        raise StoreUnusable(f"store_password_file {file} is empty", "write the password into it")
    return lines[0]


def _ssl(query: dict[str, Any]) -> ssl.SSLContext | str:
    strange = sorted(query.keys() - set(PARAMETERS))
    if strange:
        raise StoreUnusable(
            f"store_url has the unknown parameter {strange[0]!r}",
            f"known after '?': {', '.join(PARAMETERS)}",
        )
    root = query.get("sslrootcert", "")
    default = "verify-full" if root else os.environ.get("PGSSLMODE") or "prefer"
    mode = query.get("sslmode", default)
    if mode not in MODES:
        raise StoreUnusable(f"sslmode {mode!r} is unknown", f"use one of {', '.join(MODES)}")
    if mode in ("disable", "allow", "prefer"):
        if root:
            raise StoreUnusable(
                f"sslmode {mode} would not check the certificate that sslrootcert is for",
                "use sslmode=verify-full, or leave sslmode out",
            )
        # The driver tries both ways, in the order that the mode says.
        return str(mode)
    return _context(str(mode), root, query)


def _context(mode: str, root: str, query: dict[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=root or None)
        if mode == "require" and not root:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif mode != "verify-full":
            context.check_hostname = False
        if "sslcert" in query:
            context.load_cert_chain(query["sslcert"], query.get("sslkey"))
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(query[name] for name in PARAMETERS[1:] if name in query)
        raise StoreUnusable(
            f"the certificates of store_url cannot be used ({files}): {error}",
            "name PEM files that this user may read",
        ) from error
    return context
