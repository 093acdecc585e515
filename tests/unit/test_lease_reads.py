"""Reads of leases and table that overtake each other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tupelo_grid.core.limits import Limits
from tupelo_grid.core.membership import LeaseKeeper, Tick
from tupelo_grid.core.statestore import KeyValue, Snapshot, TxnResult
from tupelo_grid.core.table import Lease, PartitionConfig, encode, lease_key, part_key
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.leasing import LeaseLoop

from tests.unit.test_core_unit import SPACES, CountingCommands, FakeClock

ME = "u#1"


class Store:
    """Answers when it is told to; `reads` and `txns` are the answers that are awaited."""

    def __init__(self) -> None:
        self.revision = 10
        self.entries = {
            lease_key(ME): KeyValue(encode(Lease("u", "a", "b", "n0")), 10),
            part_key(0): KeyValue(encode(PartitionConfig(1, ME, (ME,))), 5),
        }
        self.reads: list[asyncio.Future[None]] = []
        self.txns: list[asyncio.Future[None]] = []

    async def read(self, prefix: str) -> Snapshot:
        answer = asyncio.get_running_loop().create_future()
        self.reads.append(answer)
        snapshot = Snapshot(dict(self.entries), self.revision)
        await answer
        return snapshot

    async def txn(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
    ) -> TxnResult:
        answer = asyncio.get_running_loop().create_future()
        self.txns.append(answer)
        [(key, revision)] = conditions
        assert self.entries[key].revision == revision
        self.revision += 1
        for name, value in puts.items():
            self.entries[name] = KeyValue(value, self.revision)
        await answer
        return TxnResult(True, self.revision, {})


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_late_read_does_not_take_away_what_a_newer_one_brought() -> None:
    clock, store = FakeClock(), Store()
    unit = Unit(ME, clock, Limits(), CountingCommands(), SPACES)
    keeper = LeaseKeeper(ME, Lease("u", "a", "b", ""), 3.0)
    loop = LeaseLoop(keeper, unit, store, clock, 3.0, lambda: None)  # type: ignore[arg-type]
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
