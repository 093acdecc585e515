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

    A page ends early at SCAN_BYTES_MAX; it is empty only when nothing is left. Each page looks at
    every key once (O(n log limit)): the order is made when it is asked for, not kept on writes.
    """
    candidates = (key for key in entries if key > after) if after else iter(entries)
    page: list[tuple[bytes, bytes, int]] = []
    size = 0
    for key in heapq.nsmallest(min(limit, SCAN_LIMIT_MAX), candidates):
        value, version, _ = entries[key]
        size += len(key) + len(value)
        if page and size > SCAN_BYTES_MAX:
            break
        page.append((key, value, version))
    return page
