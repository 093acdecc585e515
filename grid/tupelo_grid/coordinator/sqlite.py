"""The state store of the embedded coordinator: one SQLite file, durable before it answers.

Reads are served from memory, which only ever holds what the file has. Transactions that wait while
the disk is busy go into the next SQLite transaction together (group commit), each still all or
nothing. One process may have the file open: a lock file beside it is held by flock.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.hub import WatchHub
from tupelo_grid.coordinator.port import Hint, StoreAway, StoreError, StoreInDoubt
from tupelo_grid.core.statestore import KeyValue, MemoryState, Snapshot, TxnResult, check_txn

log = logging.getLogger(__name__)

APPLICATION_ID = 0x7475706C  # "tupl"
FORMAT = 1
_REBUILD = (
    "Stop the grid, move the file away and start again. That begins a new grid: entries that are "
    "only in the memory of running units are lost, so let them be persisted first."
)


class StateFileError(Exception):
    """The state file cannot be used. `hint` says how to proceed."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


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
                self._create()
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
            raise StateFileError(
                f"the state file {self.path} is corrupt or not a state file: {error}", _REBUILD
            ) from error

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
        if self._db is not None:
            self._db.close()
            self._db = None
        self._db = self._connect(self.path)
        return self._load(self._db)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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

    def _create(self) -> None:
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
            db.execute("INSERT INTO store VALUES (0)")
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
            raise StateFileError(f"{self.path} is not a tupelo state file", _REBUILD)
        if pragma("user_version") != FORMAT:
            raise StateFileError(
                f"{self.path} has format {pragma('user_version')}; this version reads {FORMAT}",
                "Start it with the version of tupelo that made it.",
            )
        verdict = pragma("integrity_check")
        if verdict != "ok":
            raise StateFileError(f"the state file {self.path} is corrupt: {verdict}", _REBUILD)
        entries = {}
        for key, value, revision, crc in db.execute("SELECT key, value, revision, crc FROM state"):
            entries[key] = kv = KeyValue(value, revision)
            if crc != _crc(key, kv):
                raise StateFileError(f"the state file {self.path} is corrupt at {key!r}", _REBUILD)
        rows = db.execute("SELECT revision FROM store").fetchall()
        if len(rows) != 1 or any(kv.revision > rows[0][0] for kv in entries.values()):
            raise StateFileError(f"the state file {self.path} contradicts itself", _REBUILD)
        return MemoryState(entries, int(rows[0][0]))


def _crc(key: str, kv: KeyValue) -> int:
    """SQLite's pages carry no checksums; a flipped bit in an epoch must not go unnoticed."""
    return zlib.crc32(f"{key} {kv.revision} ".encode() + kv.value)


class _Pending:
    """One transaction that waits for the disk."""

    def __init__(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str],
        answer: asyncio.Future[TxnResult],
    ) -> None:
        self.conditions = conditions
        self.puts = puts
        self.deletes = deletes
        self.answer = answer


def _fail(batch: Sequence[_Pending], failure: StoreError) -> None:
    for pending in batch:
        if not pending.answer.done():
            pending.answer.set_exception(type(failure)(str(failure)))


class SqliteStateStore:
    """`StateStore` over one SQLite file: an async context manager that may raise StateFileError."""

    def __init__(self, path: Path, config: GridConfig) -> None:
        self._file = StateFile(path)
        self._hub = WatchHub(config.watch_keys_max, config.watchers_max)
        self._state = MemoryState()
        self._waiting: list[_Pending] = []
        self._waiting_max = config.state_txns_max
        self._committer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state-file")
        self._broken: str | None = "the state store is not open"
        self._in_doubt = False

    async def __aenter__(self) -> SqliteStateStore:
        loop = asyncio.get_running_loop()
        try:
            self._state = await loop.run_in_executor(self._thread, self._file.open)
        except BaseException:
            self._thread.shutdown()
            raise
        self._broken = None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finishes what was asked, then closes the file and frees the lock."""
        self._broken = "the state store is closed"
        self._in_doubt = False
        if self._committer is not None:
            await self._committer
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()

    async def read(self, prefix: str) -> Snapshot:
        if self._broken is not None:
            raise StoreAway(self._broken)
        return self._state.read(prefix)

    async def txn(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
    ) -> TxnResult:
        check_txn(conditions, puts, deletes)
        if self._broken is not None and not self._in_doubt:
            raise StoreAway(self._broken)
        if len(self._waiting) >= self._waiting_max:
            raise StoreAway(f"{self._waiting_max} transactions wait for the disk already")
        answer: asyncio.Future[TxnResult] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Pending(conditions, puts, deletes, answer))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_waiting())
        return await answer

    def watch(self, prefix: str, after_revision: int = 0) -> AsyncIterator[Hint]:
        return self._hub.watch(prefix, self._state.revision)

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                if self._in_doubt:
                    await self._recover()
                await self._commit(batch)
        finally:
            self._committer = None

    async def _commit(self, batch: list[_Pending]) -> None:
        """One SQLite transaction for all of `batch`; answers each."""
        if self._in_doubt:
            _fail(batch, StoreAway(self._broken or ""))
            return
        staged = self._state.fork()
        results: list[TxnResult] = []
        touched: set[str] = set()
        for pending in batch:
            result = staged.txn(pending.conditions, pending.puts, pending.deletes)
            results.append(result)
            if result.succeeded:
                touched.update(pending.puts, pending.deletes)
        puts = {key: staged.entries[key] for key in touched if key in staged.entries}
        deletes = [key for key in touched if key not in staged.entries]
        before, after = self._state.revision, staged.revision
        failure: StoreError | None = None
        if after != before:
            failure = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._write, puts, deletes, before, after
            )
        if isinstance(failure, StoreInDoubt):
            # The file's content is unknown, so memory may lag behind it: nothing may be answered
            # from memory until the file has been read again.
            self._broken = str(failure)
            self._in_doubt = True
        if failure is not None:
            _fail(batch, failure)
            return
        self._state = staged
        self._hub.publish(puts, deletes, after)
        for pending, result in zip(batch, results, strict=True):
            if not pending.answer.done():  # else its caller has gone away
                pending.answer.set_result(result)

    async def _recover(self) -> None:
        """Reads the file again after a write in doubt; stays broken where that fails too."""
        loop = asyncio.get_running_loop()
        try:
            self._state = await loop.run_in_executor(self._thread, self._file.reopen)
        except (StateFileError, sqlite3.Error) as error:
            self._broken = f"the state file cannot be read again: {error}"
            log.error("%s", self._broken)
            return
        log.warning("the state file was in doubt and has been read again")
        self._broken = None
        self._in_doubt = False
        self._hub.reread(self._state.revision)

    def _write(
        self, puts: Mapping[str, KeyValue], deletes: Sequence[str], before: int, after: int
    ) -> StoreError | None:
        """In the thread. Says whether it is certain that nothing was written, when it failed."""
        try:
            self._file.write(puts, deletes, before, after)
        except sqlite3.Error as error:
            try:
                revision = self._file.revision()
            except sqlite3.Error as second:
                return StoreInDoubt(f"the state file fails: {error}; then {second}")
            if revision == before:
                return StoreAway(f"the state file refuses the change: {error}")
            if revision != after:
                return StoreInDoubt(f"the state file has revision {revision}: {error}")
        return None
