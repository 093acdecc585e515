"""When entries of a partition fall due.

A heap of (deadline, space, key) beside the entries. Overwritten and removed entries leave their old
place behind; it is recognised when it comes up, since the live entry then has another deadline, and
the heap is rebuilt when most of it is stale.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from tupelo_grid.core.records import Entry, Mutation

NEVER_MS = 1 << 62
REBUILD_MIN = 1024

Spaces = Mapping[str, Mapping[bytes, Entry]]


class Deadlines:
    """`next_ms`: no entry falls due before it; NEVER_MS when none has a deadline."""

    __slots__ = ("_heap", "next_ms")

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, bytes]] = []
        self.next_ms = NEVER_MS

    def add(self, deadline_ms: int, space: str, key: bytes) -> None:
        heapq.heappush(self._heap, (deadline_ms, space, key))
        self.next_ms = self._heap[0][0]

    def due(self, now_ms: int, limit: int, spaces: Spaces) -> tuple[Mutation, ...]:
        """Takes out up to `limit` entries whose deadline has come, as the removals to record."""
        heap = self._heap
        removals: dict[tuple[str, bytes], Mutation] = {}
        while heap and heap[0][0] <= now_ms and len(removals) < limit:
            deadline, space, key = heapq.heappop(heap)
            entry = spaces.get(space, {}).get(key)
            if entry is not None and entry.deadline_ms == deadline:
                removals[space, key] = (space, key, None, 0)
        self.next_ms = heap[0][0] if heap else NEVER_MS
        return tuple(removals.values())

    def shrink(self, spaces: Spaces) -> None:
        """Rebuilds the heap when it is much longer than there are entries."""
        if len(self._heap) > REBUILD_MIN and len(self._heap) > 2 * sum(map(len, spaces.values())):
            self.rebuild(spaces)

    def rebuild(self, spaces: Spaces) -> None:
        self._heap = [
            (entry.deadline_ms, space, key)
            for space, entries in spaces.items()
            for key, entry in entries.items()
            if entry.deadline_ms
        ]
        heapq.heapify(self._heap)
        self.next_ms = self._heap[0][0] if self._heap else NEVER_MS
