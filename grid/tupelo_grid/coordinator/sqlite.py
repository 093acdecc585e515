"""The state store of the embedded coordinator: one SQLite file, durable before it answers.

Reads are served from memory, which only ever holds what the file has. Transactions that wait while
the disk is busy go into the next SQLite transaction together (group commit), each still all or
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.hub import WatchHub
from tupelo_grid.coordinator.port import Hint, StoreAway, StoreError, StoreInDoubt
from tupelo_grid.coordinator.state_file import StateFile, StateFileError
from tupelo_grid.core.statestore import KeyValue, MemoryState, Snapshot, TxnResult, check_txn

log = logging.getLogger(__name__)


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
