"""Carries out what core.spill wants, in one thread: nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

from tupelo_grid.config import GridConfig
from tupelo_grid.core.records import Record
from tupelo_grid.core.spill import Read, Spill, Write
from tupelo_grid.core.tail import decode_records, encode_records
from tupelo_grid.journal_files.spill_files import SpillFiles

log = logging.getLogger(__name__)

# The thread must not keep the event loop waiting: by default it could for 5 ms at each of the
# loop's system calls.
SWITCH_S = 0.0005

Written = tuple[list[tuple[int, int]], OSError | None]
"""(file, bytes) of each that was written, and what stopped the others"""


class SpillWriter:
    """In a running loop.

    Args:
        after: called when something was read or written.
    """

    def __init__(
        self, spill: Spill, files: SpillFiles, config: GridConfig, after: Callable[[], None]
    ) -> None:
        self._spill = spill
        self._files = files
        self._retry_s = config.spill_retry_s
        self._after = after
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spill")
        self._due = False
        self._writing = False
        self._retry_at = 0.0
        self._closed = False
        self._used = False
        spill.wake = self.wake

    async def __aenter__(self) -> Self:
        await self._loop.run_in_executor(self._thread, self._files.clear_others)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._files.close)

    def wake(self) -> None:
        """There is something to do; looked at once for all of this turn of the loop."""
        if not self._due and not self._closed:
            self._due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        if self._closed:
            return
        if not self._used:
            self._used = True
            sys.setswitchinterval(SWITCH_S)
        # In this order, and in one thread: nothing is removed before it is read.
        for read in self._spill.take_reads():
            payload = read.extent.payload
            self._run(partial(self._read, read, payload), partial(self._was_read, read))
        if not self._writing and self._loop.time() >= self._retry_at:
            writes = self._spill.collect()
            if writes:
                self._writing = True
                # Taken now: who needs no payload any more drops it, at any moment.
                work = [(write.extent.payload, write.records) for write in writes]
                self._run(partial(self._write, work), partial(self._was_written, writes))
        files = self._spill.take_deletes()
        if files:
            self._run(partial(self._files.remove, files), _removed)

    def _run(self, work: Callable[[], Any], done: Callable[[Future[Any]], None]) -> None:
        self._thread.submit(work).add_done_callback(
            lambda ended: self._loop.call_soon_threadsafe(self._tell, done, ended)
        )

    def _tell(self, done: Callable[[Future[Any]], None], ended: Future[Any]) -> None:
        if not self._closed and not ended.cancelled():
            done(ended)
            self._after()

    def _was_written(self, writes: Sequence[Write], ended: Future[Written]) -> None:
        self._writing = False
        files, error = ended.result()
        for write, (file, size) in zip(writes, files, strict=False):
            self._spill.written(write, file, size)
        if error is not None:
            text = f"{self._files.path}: {error.strerror or error}"
            if not self._spill.failed:
                log.error("records cannot be spilled: %s", text)
            self._spill.not_written(writes[len(files) :], text)
            self._retry_at = self._loop.time() + self._retry_s
        self.wake()

    def _was_read(self, read: Read, ended: Future[bytes | list[Record]]) -> None:
        error = ended.exception()
        if error is not None:
            if read.extent not in self._spill.damaged and not read.extent.gone:
                log.error("spilled records cannot be read: %s", error)
            self._spill.not_read(read, str(error))
            return
        found = ended.result()
        if isinstance(found, bytes):
            self._spill.fetched(read, found)
        else:
            self._spill.decoded(read, found)

    # -- in the thread

    def _write(self, work: Sequence[tuple[bytes | None, Sequence[Record]]]) -> Written:
        files: list[tuple[int, int]] = []
        for payload, records in work:
            encoded = encode_records(records) if payload is None else payload
            try:
                files.append(self._files.write(encoded))
            except OSError as error:
                return files, error
        return files, None

    def _read(self, read: Read, payload: bytes | None) -> bytes | list[Record]:
        found = self._files.read(read.extent.file) if payload is None else payload
        return found if read.ready is not None else decode_records(found)


def _removed(ended: Future[None]) -> None:
    error = ended.exception()
    if error is not None:
        log.warning("a file of spilled records cannot be removed: %s", error)
