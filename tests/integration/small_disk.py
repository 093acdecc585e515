"""A disk that is soon full: a small tmpfs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 256 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of SIZE bytes; mounting takes root."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)], check=True, timeout=10
    )
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True, timeout=10)


def fill(path: Path, leave: int) -> Path:
    """A file that takes all the room but `leave` bytes."""
    found = os.statvfs(path)
    ballast = path / "ballast"
    ballast.write_bytes(bytes(max(0, found.f_bavail * found.f_frsize - leave)))
    return ballast
