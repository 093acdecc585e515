"""Tells watchers in this process what changed. Bounded: a watcher that lags is told to re-read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from tupelo_grid.coordinator.port import Hint
from tupelo_grid.core.statestore import KeyValue


class TooManyWatchers(Exception):
    """The hub's limit of watchers is reached."""


class _Watcher:
    """What one watcher has not been told yet: newest state per key, None for a deleted one."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.pending: dict[str, KeyValue | None] = {}
        self.reread = True
        self.revision = 0
        self.wake = asyncio.Event()
        self.wake.set()

    def offer(self, changes: Mapping[str, KeyValue | None], revision: int, keys_max: int) -> None:
        mine = {key: kv for key, kv in changes.items() if key.startswith(self.prefix)}
        if not mine:
            return
        self.revision = revision
        if not self.reread:
            self.pending.update(mine)
            if len(self.pending) > keys_max:
                self.pending.clear()
                self.reread = True
        self.wake.set()

    def take(self) -> Hint:
        self.wake.clear()
        pending, self.pending = self.pending, {}
        reread, self.reread = self.reread, False
        entries = {key: kv for key, kv in pending.items() if kv is not None}
        deleted = tuple(key for key, kv in pending.items() if kv is None)
        return Hint(entries, deleted, self.revision, reread)


class WatchHub:
    """Fans changes out.

    Args:
        watch_keys_max: changed keys kept for one watcher; above it, it is told to re-read.
        watchers_max: above it `watch` raises TooManyWatchers.
    """

    def __init__(self, watch_keys_max: int, watchers_max: int) -> None:
        self._keys_max = watch_keys_max
        self._watchers_max = watchers_max
        self._watchers: set[_Watcher] = set()

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def publish(self, puts: Mapping[str, KeyValue], deletes: Sequence[str], revision: int) -> None:
        changes: dict[str, KeyValue | None] = dict.fromkeys(deletes)
        changes.update(puts)
        for watcher in self._watchers:
            watcher.offer(changes, revision, self._keys_max)

    def reread(self, revision: int) -> None:
        """Tells every watcher that anything may have changed."""
        for watcher in self._watchers:
            watcher.pending.clear()
            watcher.reread = True
            watcher.revision = revision
            watcher.wake.set()

    async def watch(self, prefix: str, revision: int) -> AsyncIterator[Hint]:
        """`revision`: of the store now, for the first hint."""
        if len(self._watchers) >= self._watchers_max:
            raise TooManyWatchers(f"{len(self._watchers)} watchers; the limit is watchers_max")
        watcher = _Watcher(prefix)
        watcher.revision = revision
        self._watchers.add(watcher)
        try:
            while True:
                await watcher.wake.wait()
                yield watcher.take()
        finally:
            self._watchers.discard(watcher)
