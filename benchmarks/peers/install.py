"""Puts the peers into this environment: clients by pip, servers by Debian and Maven."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

CLIENTS: Final = (
    "asyncpg>=0.30,<1",
    "asynctnt>=2.4,<3",
    "hazelcast-python-client>=5.6,<6",
    "matplotlib>=3.9",
    "pyignite>=0.6.1,<1",
    "ray>=2.50,<3",
    "redis[hiredis]>=6,<9",
    "valkey-glide>=2,<3",
)
DEBIAN: Final = ("redis-server", "tarantool")
JARS: Final[dict[str, tuple[str, ...]]] = {
    "hazelcast": ("com.hazelcast:hazelcast:5.6.0",),
    "ignite": (
        "org.apache.ignite:ignite-core:2.17.0",
        "javax.cache:cache-api:1.0.0",
        "org.jetbrains:annotations:16.0.3",
    ),
}
LIMIT_S: Final = 600.0

Say = Callable[[str], None]


def cache() -> Path:
    """Where jars are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "tupelo-peers"


def jars(system: str) -> list[Path]:
    """The jars of a server that are here."""
    return sorted((cache() / system).glob("*.jar"))


def install(say: Say) -> dict[str, str]:
    """What could not be had -> the last words of whoever refused it."""
    refused: dict[str, str] = {}

    def attempt(what: str, *command: str, **variables: str) -> None:
        say(f"installing {what}")
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError) as error:
            refused[what] = (getattr(error, "stderr", "") or str(error)).strip()[-300:]
            say(f"  refused: {refused[what]}")

    for client in CLIENTS:
        attempt(client, sys.executable, "-m", "pip", "install", "--quiet", client)
    for package in DEBIAN:
        if not shutil.which(package):
            _debian(package, attempt)
    for system, artifacts in JARS.items():
        folder = cache() / system
        folder.mkdir(parents=True, exist_ok=True)
        for artifact in artifacts:
            if not list(folder.glob(f"{artifact.split(':')[1]}-*.jar")):
                attempt(artifact, *_maven(artifact, folder))
    return refused


def _debian(package: str, attempt: Callable[..., None]) -> None:
    """Without starting the server that the package brings as a service."""
    apt = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", package)
    attempt(package, *apt, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")


def _maven(artifact: str, folder: Path) -> tuple[str, ...]:
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
    return ("mvn", "-q", plugin, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")
