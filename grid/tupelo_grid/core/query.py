"""Pages of a space within one partition."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from tupelo_grid.core.records import Entry

SCAN_LIMIT_MAX = 10_000
SCAN_BYTES_MAX = 1024 * 1024


def scan(
    entries: Mapping[bytes, Entry], after: bytes, limit: int
) -> list[tuple[bytes, bytes, int]]:
    """Up to `limit` (key, value, version) with keys after `after`, in order of key bytes.

    A page ends early with the entry that takes it to SCAN_BYTES_MAX, so one that is short of both
    limits is the last. Each page looks at every key once (O(n log limit)): the order is made when
    it is asked for, not kept on writes.
    """
    candidates = (key for key in entries if key > after) if after else iter(entries)
    page: list[tuple[bytes, bytes, int]] = []
    size = 0
    for key in heapq.nsmallest(min(limit, SCAN_LIMIT_MAX), candidates):
        entry = entries[key]
        page.append((key, entry.value, entry.version))
        size += len(key) + len(entry.value)
        if size >= SCAN_BYTES_MAX:
            break
    return page
