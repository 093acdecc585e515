"""The state store in memory, with the watches of the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.hub import WatchHub
from tupelo_grid.coordinator.port import Hint
from tupelo_grid.core.statestore import MemoryState, Snapshot, TxnResult


class MemoryStateStore:
    """`StateStore` over a `MemoryState`; nothing outlives the process."""

    def __init__(self, config: GridConfig, state: MemoryState | None = None) -> None:
        self.state = state or MemoryState()
        self.hub = WatchHub(config.watch_keys_max, config.watchers_max)

    async def read(self, prefix: str) -> Snapshot:
        return self.state.read(prefix)

    async def txn(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
    ) -> TxnResult:
        result = self.state.txn(conditions, puts, deletes)
        if result.succeeded:
            self.hub.publish(
                {key: self.state.entries[key] for key in puts}, deletes, result.revision
            )
        return result

    def watch(self, prefix: str, after_revision: int = 0) -> AsyncIterator[Hint]:
        return self.hub.watch(prefix, self.state.revision)
