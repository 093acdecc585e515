"""Reads of leases and table that overtake each other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tupelo_grid.config import GridConfig
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.membership import LeaseKeeper, Tick
from tupelo_grid.core.statestore import Snapshot, TxnResult
from tupelo_grid.core.table import Lease, PartitionConfig, encode, lease_key, part_key
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.leasing import LeaseLoop

from tests.memory_store import MemoryStateStore
from tests.unit.test_core_unit import SPACES, CountingCommands, FakeClock

ME = "u#1"


class SlowStore(MemoryStateStore):
    """Answers when it is told to; `reads` and `txns` are the answers that are awaited."""

    def __init__(self) -> None:
        super().__init__(GridConfig())
        self.state.txn([], {part_key(0): encode(PartitionConfig(1, ME, (ME,)))})
        self.state.txn([], {lease_key(ME): encode(Lease("u", "a", "b", "n0"))})
        self.reads: list[asyncio.Future[None]] = []
        self.txns: list[asyncio.Future[None]] = []

    async def read(self, prefix: str) -> Snapshot:
        snapshot = await super().read(prefix)
        await self._wait(self.reads)
        return snapshot

    async def txn(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
    ) -> TxnResult:
        result = await super().txn(conditions, puts, deletes)
        await self._wait(self.txns)
        return result

    @staticmethod
    async def _wait(answers: list[asyncio.Future[None]]) -> None:
        answers.append(asyncio.get_running_loop().create_future())
        await answers[-1]


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_late_read_does_not_take_away_what_a_newer_one_brought() -> None:
    clock, store = FakeClock(), SlowStore()
    unit = Unit(ME, clock, Limits(), CountingCommands(), SPACES)
    keeper = LeaseKeeper(ME, Lease("u", "a", "b", ""), 3.0)
    loop = LeaseLoop(keeper, unit, store, clock, 3.0, lambda: None)
    loop._step(Tick("t1"))
    await turn()
    clock.seconds += 0.4
    loop._step(Tick("t2"))
    await turn()
    first, second = store.reads
    second.set_result(None)
    await turn()
    [renewal] = store.txns
    first.set_result(None)
    await turn()
    renewal.set_result(None)
    await turn()
    assert keeper.held
    assert 0 in unit.primaries, "leased, and primary by the table that was read"
