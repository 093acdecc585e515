"""The files of a unit's journal, as the one thread that writes sees them."""

from __future__ import annotations

import errno
import os
import time

from tupelo_grid.core.disk import Batch
from tupelo_grid.core.disk_format import Item, seal
from tupelo_grid.journal_files.folder import SYNCED, Folder
from tupelo_grid.journal_files.recovery import Recovered, pack_synced

# What a disk without room answers.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskFull(Exception):
    """There is no room; the journal is as it was before. The text says where."""


class Log:
    """Appends batches. Not thread-safe: one thread, after `open`.

    Every life begins a file of its own, so that what an earlier one left is never written to.
    """

    def __init__(self, folder: Folder, found: Recovered, segment_bytes: int) -> None:
        self.folder = folder
        self.segments = found.segments
        self._segment_bytes = segment_bytes
        self._file = -1
        self._first = 0  # of the file that is written to, the number of its first block
        self._mark = -1
        self._size = 0
        self._next = found.last + 1
        self._durable = found.last
        self._unsynced = False
        self.wrote_at = 0.0  # monotonic seconds, of the newest block; read by other threads

    def open(self) -> None:
        """Raises OSError."""
        self._mark = os.open(
            self.folder.path / SYNCED, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        # What was found counts from now on, also what was not synced when the last life ended.
        self._sync_found()
        self._write_mark()

    def _sync_found(self) -> None:
        """What a killed process had handed to the system may not be on disk yet, and this life goes
        on from it. Raises OSError."""
        for first in list(self.segments.files)[-1:]:
            handle = os.open(self.folder.file(first), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        self.folder.sync()

    def close(self) -> None:
        for handle in (self._file, self._mark):
            if handle >= 0:
                os.close(handle)
        self._file = self._mark = -1

    # -- writing

    def write(self, batch: Batch, sync: bool) -> None:
        """Appends a batch, and with `sync` returns when it is on disk.

        Raises DiskFull, with nothing of it written, and OSError when the disk fails otherwise.
        """
        before = (self._next, self._size, self._first)
        written: list[tuple[list[Item], int, int]] = []
        try:
            for items, payload in batch.payloads():
                if self._file < 0 or self._size >= self._segment_bytes:
                    self._begin_file()
                block = seal(payload, self._next, self._durable)
                _write_all(self._file, block, self._size)
                self._size += len(block)
                self.wrote_at = time.monotonic()
                written.append((items, self._next, len(block)))
                self._next += 1
            if sync:
                os.fdatasync(self._file)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._take_back(*before)
            raise DiskFull(str(self.folder.path)) from error
        for items, number, size in written:
            self.segments.note(items, number, size)
        self._unsynced = not sync
        if sync:
            self._synced()

    def sync(self) -> None:
        """Raises OSError."""
        if self._unsynced:
            os.fdatasync(self._file)
            self._unsynced = False
            self._synced()

    def _synced(self) -> None:
        """The mark is not synced itself: after a loss of power it may be older, never newer."""
        self._durable = self._next - 1
        self._write_mark()

    def _write_mark(self) -> None:
        try:
            os.pwrite(self._mark, pack_synced(self._durable), 0)
        except OSError as error:
            # A mark that stays behind vouches for less; it never says what is not so.
            if error.errno not in FULL:
                raise

    def _begin_file(self) -> None:
        if self._file >= 0:
            os.fdatasync(self._file)
            os.close(self._file)
            self._file, self._first = -1, 0
        path = self.folder.file(self._next)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o644)
        self._first, self._size = self._next, 0
        self.segments.files[self._next] = 0
        self.folder.sync()

    def _take_back(self, number: int, size: int, first: int) -> None:
        """Ends the journal where it ended before the batch. Raises OSError."""
        for begun in [begun for begun in self.segments.files if begun >= number]:
            del self.segments.files[begun]
            self.folder.file(begun).unlink(missing_ok=True)
        self._next, self._size = number, size
        if self._first != first:
            # A file ended within the batch. Handles tell nothing: their numbers are used again.
            if self._file >= 0:
                os.close(self._file)
            self._file, self._first = -1, first
            if first:
                self._file = os.open(self.folder.file(first), os.O_WRONLY | os.O_CLOEXEC)
        if self._file >= 0:
            os.ftruncate(self._file, size)

    def clean(self) -> int:
        """Removes files that are not needed; how many. Raises OSError."""
        gone = self.segments.unneeded()
        for first in gone:
            self.folder.file(first).unlink(missing_ok=True)
            del self.segments.files[first]
        return len(gone)


def _write_all(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, at)
        view, at = view[count:], at + count
