"""The file behind the embedded coordinator's state store: SQLite, checked when it is opened.

One process may have it open: a lock file beside it is held by flock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tupelo_grid.core.statestore import KeyValue, MemoryState

APPLICATION_ID = 0x7475706C  # "tupl"
FORMAT = 1
_REBUILD = (
    "While units of this grid run, `tupelo rebuild-state --data-dir DIR` makes the file anew from "
    "what they hold, and keeps the old one. When none runs, move the file away: then a new grid "
    "begins, and the old one's store stays as it is for another."
)


class StateFileError(Exception):
    """The state file cannot be used. `hint` says how to proceed."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class StateFileCorrupt(StateFileError):
    """What is there is damaged, or something else."""

    def __init__(self, message: str) -> None:
        super().__init__(message, _REBUILD)


class StateFile:
    """The file itself; blocking, used by one thread. `open` it before anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None

    def open(self) -> MemoryState:
        """Locks, checks and reads the file; makes it when there is none. Raises StateFileError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            if not self.path.exists():
                fresh = self._create({}, 0)
                self._move_aside()
                self._put_in_place(fresh)
            self._db = self._connect(self.path)
            return self._load(self._db)
        except (OSError, sqlite3.OperationalError) as error:
            self.close()
            raise StateFileError(
                f"the state file {self.path} cannot be opened: {error}",
                "Check that the data directory exists, is writable and has room.",
            ) from error
        except StateFileError:
            self.close()
            raise
        except sqlite3.DatabaseError as error:
            self.close()
            raise StateFileCorrupt(
                f"the state file {self.path} is corrupt or not a state file: {error}"
            ) from error

    def replace(self, entries: Mapping[str, bytes], revision: int) -> Path | None:
        """Makes a file of `entries`, all of that revision, where it is lost or corrupt.

        The old one is kept under another name, which is returned. Raises StateFileError, also for
        a file that is sound, or in use.
        """
        if self.path.exists() and self._is_sound():
            raise StateFileError(
                f"the state file {self.path} is sound", "`tupelo up` goes on with it."
            )
        self._take_lock()
        try:
            rows = {key: KeyValue(value, revision) for key, value in entries.items()}
            fresh = self._create(rows, revision)
            aside = self._move_aside()
            self._put_in_place(fresh)
            return aside
        except (OSError, sqlite3.Error) as error:
            raise StateFileError(
                f"the state file {self.path} cannot be written: {error}",
                "Check that the data directory is writable and has room.",
            ) from error
        finally:
            self.close()

    def _is_sound(self) -> bool:
        try:
            self.open()
        except StateFileCorrupt:
            return False
        self.close()
        return True

    def _move_aside(self) -> Path | None:
        """Also what SQLite left beside a file that is gone: it would be taken for the new one's."""
        stem = f"{self.path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        aside, moved = self.path.with_name(stem), False
        for suffix in ("", "-wal", "-shm", "-journal"):
            beside = self.path.with_name(self.path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
                moved = True
        return aside if moved else None

    def write(
        self, puts: Mapping[str, KeyValue], deletes: Sequence[str], before: int, after: int
    ) -> None:
        """Takes the file from revision `before` to `after` in one SQLite transaction."""
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("DELETE FROM state WHERE key = ?", [(key,) for key in deletes])
            db.executemany(
                "INSERT OR REPLACE INTO state (key, value, revision, crc) VALUES (?, ?, ?, ?)",
                [(key, kv.value, kv.revision, _crc(key, kv)) for key, kv in puts.items()],
            )
            cursor = db.execute("UPDATE store SET revision = ? WHERE revision = ?", (after, before))
            if cursor.rowcount != 1:
                raise sqlite3.DatabaseError(f"the file is not at revision {before}")
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                # A failed COMMIT may have ended the transaction; revision() tells what holds.
                db.execute("ROLLBACK")
            raise

    def revision(self) -> int:
        """As the file has it."""
        row = self._opened().execute("SELECT revision FROM store").fetchone()
        return int(row[0])

    def reopen(self) -> MemoryState:
        """After a failure, with the lock still held. Raises StateFileError, sqlite3.Error."""
        self._close_database()
        self._db = self._connect(self.path)
        return self._load(self._db)

    def close(self) -> None:
        self._close_database()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_database(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the state file is closed")
        return self._db

    def _take_lock(self) -> None:
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise StateFileError(
                f"the state file {self.path} is in use by process {holder}",
                "Another grid runs with this data directory: stop it, or give this one its own.",
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def _connect(self, path: Path) -> sqlite3.Connection:
        # The one thread that uses it is not always the one that made it; autocommit: BEGIN is ours.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.0)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            db.close()
            raise
        return db

    def _create(self, entries: Mapping[str, KeyValue], revision: int) -> Path:
        """Under another name first, so that a file of the right name is always a whole one."""
        fresh = self.path.with_name(self.path.name + ".new")
        for suffix in ("", "-wal", "-shm", "-journal"):
            fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
        db = self._connect(fresh)
        with contextlib.closing(db):
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT}")
            db.execute(
                "CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL, "
                "revision INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID"
            )
            db.execute("CREATE TABLE store (revision INTEGER NOT NULL)")
            rows = [(key, kv.value, kv.revision, _crc(key, kv)) for key, kv in entries.items()]
            db.execute("BEGIN")
            db.executemany("INSERT INTO state VALUES (?, ?, ?, ?)", rows)
            db.execute("INSERT INTO store VALUES (?)", (revision,))
            db.execute("COMMIT")
        return fresh

    def _put_in_place(self, fresh: Path) -> None:
        fresh.rename(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _load(self, db: sqlite3.Connection) -> MemoryState:
        def pragma(name: str) -> Any:
            return db.execute(f"PRAGMA {name}").fetchone()[0]

        if pragma("application_id") != APPLICATION_ID:
            raise StateFileCorrupt(f"{self.path} is not a tupelo state file")
        if pragma("user_version") != FORMAT:
            raise StateFileError(
                f"{self.path} has format {pragma('user_version')}; this version reads {FORMAT}",
                "Start it with the version of tupelo that made it.",
            )
        verdict = pragma("integrity_check")
        if verdict != "ok":
            raise StateFileCorrupt(f"the state file {self.path} is corrupt: {verdict}")
        entries = {}
        for key, value, revision, crc in db.execute("SELECT key, value, revision, crc FROM state"):
            entries[key] = kv = KeyValue(value, revision)
            if crc != _crc(key, kv):
                raise StateFileCorrupt(f"the state file {self.path} is corrupt at {key!r}")
        rows = db.execute("SELECT revision FROM store").fetchall()
        if len(rows) != 1 or any(kv.revision > rows[0][0] for kv in entries.values()):
            raise StateFileCorrupt(f"the state file {self.path} contradicts itself")
        return MemoryState(entries, int(rows[0][0]))


def _crc(key: str, kv: KeyValue) -> int:
    """SQLite's pages carry no checksums; a flipped bit in an epoch must not go unnoticed."""
    return zlib.crc32(f"{key} {kv.revision} ".encode() + kv.value)
