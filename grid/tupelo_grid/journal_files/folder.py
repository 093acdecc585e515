"""A unit's journal folder: its lock, whose memory it is, and the files in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from tupelo_grid.config import GridConfig

FORMAT: Final = 1
SUFFIX: Final = ".journal"
IDENTITY: Final = "identity.json"
SYNCED: Final = "synced"
LOCK: Final = "lock"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def journal_path(config: GridConfig, unit: str) -> Path:
    """The folder of one unit."""
    return (Path(config.disk_dir) if config.disk_dir else Path(config.data_dir) / "journal") / unit


def start_timeout_s(config: GridConfig) -> float:
    """How long a start may take with the journals that are here to be read first."""
    if config.durability != "disk":
        return config.start_timeout_s
    size = 0
    for path in journal_path(config, "").glob(f"*/*{SUFFIX}"):
        # Units that run already remove files that they need no more.
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return config.start_timeout_s + size / config.disk_read_bytes_s_min


class FolderError(Exception):
    """The folder cannot be used; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class CorruptJournal(FolderError):
    """What was safely on disk cannot be read."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(
            f"{path} is damaged at offset {offset}: {what}",
            f"restore the files of {path.parent} from the same disk's copy, or move the folder "
            f"away: the unit then begins empty, and partitions of which no other in-sync copy is "
            f"left stay LOST until `tupelo promote`",
        )
        self.path = path
        self.offset = offset


class Identity(msgspec.Struct, frozen=True):
    """Whose memory a folder holds.

    Attributes:
        incarnations: the processes that wrote it, in order; some may still stand in in-sync sets.
        behind: those of them that may have acknowledged what was not on disk yet when the machine
            lost power.
        always: whether the last of them synced before it acknowledged.
        boot: of the machine when it began; "" where that is not known.
    """

    grid_id: str
    unit: str
    incarnations: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    always: bool = True
    boot: str = ""
    format: int = FORMAT


def boot_id() -> str:
    """Another after each start of the machine; "" where there is none."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


class Folder:
    """An exclusively held folder. While it is held no other process can be this unit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def __enter__(self) -> Self:
        """Raises FolderError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FolderError(
                f"the journal folder {self.path} cannot be used: {error}",
                "check its permissions and the disk, or give another data directory",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise FolderError(
                f"another process holds the journal folder {self.path}",
                "stop the older process of this unit first",
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._lock)

    def identity(self) -> Identity | None:
        """None: the folder is new. Raises FolderError."""
        path = self.path / IDENTITY
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Identity)
        except FileNotFoundError:
            if self.files():
                raise FolderError(
                    f"{path} is missing, so nobody knows whose journal this is",
                    f"restore it, or move {self.path} away to begin empty",
                ) from None
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise FolderError(
                f"{path} cannot be read: {error}",
                f"restore it, or move {self.path} away to begin empty",
            ) from error
        if found.format != FORMAT:
            raise FolderError(
                f"{path} has format {found.format}, this program knows {FORMAT}",
                "use the version of tupelo that wrote it",
            )
        return found

    def write_identity(self, identity: Identity) -> None:
        """All or nothing, and on disk when it returns. Raises OSError."""
        path = self.path / IDENTITY
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(identity))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        self.sync()

    def sync(self) -> None:
        """Names of files made or removed are on disk when it returns."""
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def file(self, first: int) -> Path:
        return self.path / f"{first:020d}{SUFFIX}"

    def files(self) -> list[int]:
        """By the number of their first block, in order."""
        found = [path.name[: -len(SUFFIX)] for path in self.path.glob(f"*{SUFFIX}")]
        return sorted(int(name) for name in found if name.isdecimal())

    def clear(self) -> None:
        """Removes everything but the lock."""
        for first in self.files():
            self.file(first).unlink()
        for name in (SYNCED, IDENTITY):
            (self.path / name).unlink(missing_ok=True)
        self.sync()
