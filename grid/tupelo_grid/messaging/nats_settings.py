"""What of the configuration is about NATS: checked, and as the client wants it.

Passwords are read when a connection is made and kept nowhere: a changed file is heeded by the next
connection, and neither files nor logs of the grid have them.
"""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.errors import FatalStartError

PASSWORD_VARIABLE: Final = "NATS_PASSWORD"
SCHEMES: Final = ("nats", "tls")


def check_settings(config: GridConfig) -> None:
    """Raises FatalStartError for an address that cannot be one, and for missing files."""
    for url in servers(config):
        parts = urlsplit(url)
        if parts.password is not None or parts.username is not None:
            raise FatalStartError(
                "nats_url has a user or password in it, which would be written to files",
                "use nats_user, and nats_password_file or the environment variable NATS_PASSWORD",
            )
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise FatalStartError(
                f"nats_url has {url!r}, which is no address of a NATS server",
                "write nats://HOST:PORT or tls://HOST:PORT",
            )
    for name in ("nats_password_file", "nats_creds_file", "nats_ca_file"):
        path = getattr(config, name)
        if path and not os.access(path, os.R_OK):
            raise FatalStartError(f"{name} {path} cannot be read", "check the path and its rights")
    if config.nats_creds_file and find_spec("nkeys") is None:
        raise FatalStartError(
            "nats_creds_file needs the package nkeys", "pip install 'nats-py[nkeys]'"
        )


def servers(config: GridConfig) -> list[str]:
    """Those of nats_url."""
    return [url.strip() for url in config.nats_url.split(",") if url.strip()]


def login(config: GridConfig) -> dict[str, Any]:
    """Options for the client. Raises OSError."""
    if config.nats_creds_file:
        return {"user_credentials": config.nats_creds_file}
    secret = os.environ.get(PASSWORD_VARIABLE, "")
    if config.nats_password_file:
        lines = Path(config.nats_password_file).read_text(encoding="utf-8").splitlines()
        secret = lines[0].strip() if lines else ""
    if config.nats_user:
        return {"user": config.nats_user, "password": secret}
    return {"token": secret} if secret else {}


def tls(config: GridConfig) -> dict[str, Any]:
    """Options for the client. Raises OSError for a file that is none."""
    if not config.nats_ca_file and not config.nats_url.startswith("tls:"):
        return {}
    return {"tls": ssl.create_default_context(cafile=config.nats_ca_file or None)}
