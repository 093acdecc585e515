"""Group commit: one thread writes and syncs what the event loop hands it, a batch at a time.

What comes in while a batch is written makes up the next one; there is no timer. Nothing here
blocks the loop, whatever the disk does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from tupelo_grid.config import GridConfig
from tupelo_grid.core.disk import Batch, Disk
from tupelo_grid.journal_files.log import DiskFull, Log

log = logging.getLogger(__name__)


class DiskFailed(Exception):
    """The disk failed otherwise than for want of room: what is on it cannot be known."""


class JournalWriter:
    """Writes what `disk` collects, in a running loop.

    Args:
        synced: called with the partitions of which more is safe now.

    Attributes:
        failed: set to DiskFailed when the process has to end.
        batches: written so far.
    """

    def __init__(
        self, disk: Disk, files: Log, config: GridConfig, synced: Callable[[Iterable[int]], None]
    ) -> None:
        self._disk = disk
        self._files = files
        self._config = config
        self._synced = synced
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._stop = threading.Event()
        self._busy = False
        self._begun_at = 0.0
        self._due = False
        self._idle = asyncio.Event()
        self._rewrite = files.segments.due(config.disk_rewrite_bytes)
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self.batches = 0

    @property
    def bytes(self) -> int:
        """Of all files."""
        return self._files.segments.total if not self._busy else self._bytes

    @property
    def at_work(self) -> bool:
        """A batch is being written, and the disk does take it."""
        quiet_s = time.monotonic() - max(self._begun_at, self._files.wrote_at)
        return self._busy and not self._disk.trouble and quiet_s < self._config.disk_alive_s

    async def __aenter__(self) -> Self:
        self._bytes = self._files.segments.total
        self._syncing = asyncio.create_task(self._sync_often(), name="fsync")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes what is left, unless the disk does not take it."""
        if not self._disk.trouble and not self.failed.done():
            self._idle.clear()
            self.kick()
            await self._idle.wait()
        self._syncing.cancel()
        self._stop.set()
        await asyncio.to_thread(self._thread.shutdown)
        self.failed.cancel()

    def kick(self) -> None:
        """Something may be to be written; looked at once for all of this turn of the loop."""
        if not self._busy and not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        if self._busy or self.failed.done():
            return
        batch = self._disk.collect(self._rewrite)
        if batch is None:
            self._idle.set()
            return
        self._busy = True
        self._begun_at = time.monotonic()
        self._bytes = self._files.segments.total
        written = self._thread.submit(self._write, batch)
        written.add_done_callback(
            lambda future: self._loop.call_soon_threadsafe(self._done, batch, future)
        )

    def _done(self, batch: Batch, written: Future[bool]) -> None:
        self._busy = False
        error = written.exception()
        if error is not None:
            self._fail(error)
            return
        if not written.result():
            self._idle.set()
            return
        self.batches += 1
        # What is due changes only by what is written.
        self._rewrite = self._files.segments.due(self._config.disk_rewrite_bytes)
        self._disk.trouble = self._above_bound()
        self._synced(self._disk.done(batch))
        self._turn()

    def _above_bound(self) -> str:
        total, bound = self._files.segments.total, self._config.disk_bytes_max
        if total <= bound:
            return ""
        return (
            f"the journal {self._files.folder.path} takes {total} bytes, more than "
            f"disk_bytes_max={bound}, for what the unit holds: raise the bound and restart the "
            f"unit, or add units; writes go on when it is below"
        )

    def _fail(self, error: BaseException) -> None:
        self._disk.trouble = f"the disk of the journal {self._files.folder.path} failed: {error}"
        self._idle.set()
        if not self.failed.done():
            failed = DiskFailed(self._disk.trouble)
            failed.__cause__ = error
            self.failed.set_exception(failed)

    def _full(self, batch: Batch, error: DiskFull) -> None:
        self._idle.set()
        if not self._disk.trouble:
            log.error("%s: no room for %d partitions", error, len(batch.ends))
        self._disk.trouble = (
            f"the disk is full: the journal {error} takes no more, so nothing is acknowledged; "
            f"free some space there, and writes go on by themselves"
        )

    async def _sync_often(self) -> None:
        if self._config.fsync == "always":
            return
        while not self.failed.done():
            await asyncio.sleep(self._config.fsync_interval_s)
            try:
                await self._loop.run_in_executor(self._thread, self._files.sync)
            except OSError as error:
                self._fail(error)

    # -- in the thread

    def _write(self, batch: Batch) -> bool:
        """False: the process ends, and there was no room until then. Raises OSError."""
        while True:
            try:
                self._files.write(batch, sync=self._config.fsync == "always")
            except DiskFull as error:
                batch.leave_out_spare()
                self._loop.call_soon_threadsafe(self._full, batch, error)
                if self._stop.wait(self._config.disk_retry_s):
                    return False
            else:
                self._files.clean()
                return True
