"""An entry as partitions hold it: those of a grid, and those that tests of commands use."""

from __future__ import annotations

import msgspec


class StoredEntry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a key has. `version`: the sequence of the record that wrote it; `deadline_ms`: Unix
    time, 0 for never.

    Nothing in it can be part of a cycle, so the collector is told to pass it over, and with it the
    dictionaries that hold nothing else: a full collection takes as long with millions of entries as
    with none, and no young collection walks over those that came. It takes 40 bytes; a tuple of the
    same takes 64.
    """

    value: bytes
    version: int
    deadline_ms: int
