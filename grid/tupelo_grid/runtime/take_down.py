"""Taking the table down after a clean shutdown, so that the next start loads from the store.

A unit that has stopped serving, and whose every change is in the store then, says so under
`drained/<incarnation>`: JSON of the partitions it is primary of and their epochs; and under
`empty/<incarnation>` those of them that nothing was ever written to. When every
partition is named so with the epoch it still has, nothing is in memory only; the partitions are
forgotten, and the grid remembers the highest epoch there was. So are those that were still to be
loaded when a cold start was broken off. A grid all of whose partitions are empty begins so again,
also with a store that has never heard of it. Whatever else happened, a partition keeps its members,
and is LOST until one of them returns.
"""

from __future__ import annotations

import logging

import msgspec

from tupelo_grid.coordinator.port import StateStore, StoreError
from tupelo_grid.core.statestore import TXN_OPERATIONS_MAX, Snapshot
from tupelo_grid.core.table import (
    DRAINED_PREFIX,
    EMPTY_PREFIX,
    GRID_KEY,
    LEASE_PREFIX,
    PART_PREFIX,
    STORED_PREFIX,
    decode_config,
    decode_drained,
    decode_grid,
    encode,
)

log = logging.getLogger(__name__)


async def take_down(store: StateStore, again: bool = False) -> None:
    """After every process of the grid has stopped. `again`: it may have been done, or not asked
    for, when they did."""
    try:
        if await _mark(store, again):
            await finish(store)
    except StoreError as error:
        log.warning("the table could not be taken down: %s", error)


async def _mark(store: StateStore, again: bool) -> bool:
    """Raises the epoch base in one step, where every partition is in the store."""
    snapshot = await store.read("")
    configs = {
        int(key[len(PART_PREFIX) :]): decode_config(snapshot.entries[key].value)
        for key in _keys(snapshot, PART_PREFIX)
    }
    epochs = {number: config.epoch for number, config in configs.items()}
    # Who was still to load a partition has not answered for it: it is in the store as it was.
    drained = {(number, config.epoch) for number, config in configs.items() if config.load}
    for key in _keys(snapshot, DRAINED_PREFIX):
        drained |= decode_drained(snapshot.entries[key].value).items()
    left = len(epochs.items() - drained)
    if left or not epochs:
        if left and not again:
            log.warning("%d partitions were not drained to the store; they are kept", left)
        return False
    empty: set[tuple[int, int]] = set()
    for key in _keys(snapshot, EMPTY_PREFIX):
        empty |= decode_drained(snapshot.entries[key].value).items()
    entry = snapshot.entries[GRID_KEY]
    known = decode_grid(entry.value)
    grid = msgspec.structs.replace(
        known,
        epoch_base=max(epochs.values()),
        empty=len(epochs) == known.partitions and epochs.items() <= empty,
    )
    result = await store.txn([(GRID_KEY, entry.revision)], {GRID_KEY: encode(grid)})
    return result.succeeded


async def finish(store: StateStore) -> None:
    """Forgets the partitions at or below the epoch base; also after a crash half way through."""
    snapshot = await store.read("")
    entry = snapshot.entries.get(GRID_KEY)
    if entry is None:
        return
    base = decode_grid(entry.value).epoch_base
    gone = [
        key
        for key in _keys(snapshot, PART_PREFIX)
        if decode_config(snapshot.entries[key].value).epoch <= base
    ]
    if gone:
        for prefix in (LEASE_PREFIX, DRAINED_PREFIX, STORED_PREFIX, EMPTY_PREFIX):
            gone += _keys(snapshot, prefix)
    for start in range(0, len(gone), TXN_OPERATIONS_MAX):
        await store.txn([], {}, gone[start : start + TXN_OPERATIONS_MAX])


def _keys(snapshot: Snapshot, prefix: str) -> list[str]:
    return [key for key in snapshot.entries if key.startswith(prefix)]
