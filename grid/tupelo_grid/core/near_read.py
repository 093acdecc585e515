"""A read for a near cache: the value, and until when and in view of what it may be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from tupelo.errors import ResultCode

from tupelo_grid.core.batch import Pending
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.records import Entry

_pack: Final = msgspec.msgpack.Encoder().encode
_NOT_FOUND: Final = int(ResultCode.NOT_FOUND)
_NO_ENTRIES: Final[Mapping[bytes, Entry]] = {}


def get_near(pending: Pending, i: int, name: str, primary: Primary, now_ms: int) -> Entry | None:
    """Answers operation `i` with [value, milliseconds to live, epoch, sequence].

    The entry is what all records up to that sequence make it. Some may be uncommitted: those of
    its key are waited for as in any read, and the rest cannot change within this epoch.
    """
    partition = primary.partition
    entry = partition.spaces.get(name, _NO_ENTRIES).get(pending.batch.keys[i])
    value, lives_ms = None, 0
    if entry is None:
        pending.codes[i] = _NOT_FOUND
    else:
        value = entry.value
        pending.versions[i] = entry.version
        # One past its deadline has been removed before this.
        lives_ms = max(1, entry.deadline_ms - now_ms) if entry.deadline_ms else 0
    pending.values[i] = _pack((value, lives_ms, primary.epoch, partition.journal.last))
    return entry
