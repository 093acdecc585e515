"""The files of a unit's spilled records, as the one thread that works on them sees them.

A file holds one extent, with a checksum. It is never changed, and never synced: it stands for the
memory of this process, and is as worthless as that when the process has ended. What ended processes
of the unit left is removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tupelo_grid.config import GridConfig
from tupelo_grid.core.disk_format import open_block, seal

SUFFIX: Final = ".spill"
LOCK: Final = "lock"


class DamagedSpill(Exception):
    """A file does not hold what was written to it."""


def spill_path(config: GridConfig, unit: str) -> Path:
    """The folder of one unit, with a folder for each of its processes."""
    return (Path(config.spill_dir) if config.spill_dir else Path(config.data_dir) / "spill") / unit


class SpillFiles:
    """Those of one process, in a folder that is made when it is first needed. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        self._last = 0

    def clear_others(self) -> None:
        """Removes what ended processes of this unit left; one that is only stopped keeps its own.

        What cannot be removed stays: it is in nobody's way but for its room.
        """
        if not self.path.parent.is_dir():
            return
        for other in self.path.parent.iterdir():
            if other == self.path or not other.is_dir():
                continue
            try:
                lock = _take_lock(other)
            except OSError:
                continue  # held, or not ours to touch
            shutil.rmtree(other, ignore_errors=True)
            os.close(lock)

    def write(self, payload: bytes) -> tuple[int, int]:
        """Returns the number of the new file and its bytes. Raises OSError, and leaves nothing."""
        self._open()
        number = self._last + 1
        path = self._file(number)
        data = seal(payload, number, 0)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
            finally:
                os.close(handle)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self._last = number
        return number, len(data)

    def read(self, number: int) -> bytes:
        """Raises OSError, DamagedSpill."""
        path = self._file(number)
        data = path.read_bytes()
        block = open_block(memoryview(data), 0)
        if block is None or block.number != number or block.end != len(data):
            raise DamagedSpill(f"{path} is damaged: its checksum is wrong")
        return bytes(block.payload)

    def remove(self, numbers: Iterable[int]) -> None:
        """Raises OSError."""
        for number in numbers:
            self._file(number).unlink(missing_ok=True)

    def close(self) -> None:
        """Removes everything."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _file(self, number: int) -> Path:
        return self.path / f"{number:012d}{SUFFIX}"

    def _open(self) -> None:
        if self._lock < 0:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(self.path)


def _take_lock(path: Path) -> int:
    """Raises OSError: another process has it, or there is no room for its file."""
    handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle
