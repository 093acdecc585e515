"""Swaps at the state store: together where they come together, each with its own outcome."""

from __future__ import annotations

import asyncio

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import StoreAway, StoreInDoubt
from tupelo_grid.core.swaps import Purpose, Swap, SwapOutcome
from tupelo_grid.core.table import Lease, PartitionConfig, decode_config, encode
from tupelo_grid.runtime.swapping import SWAPS_MAX, Swapper

from tests.memory_store import MemoryStateStore

WON, LOST, IN_DOUBT = SwapOutcome.WON, SwapOutcome.LOST, SwapOutcome.IN_DOUBT
BEFORE = PartitionConfig(1, "a#1", ("a#1", "b#2"))
AFTER = PartitionConfig(1, "a#1", ("a#1",))


class CountingStore(MemoryStateStore):
    """`fails`: what the next transactions raise; `before_txn` runs before each."""

    def __init__(self) -> None:
        super().__init__(GridConfig())
        self.txns: list[int] = []
        self.fails: list[Exception] = []
        self.before_txn = lambda: None

    async def txn(self, conditions, puts, deletes=()):
        self.txns.append(len(puts))
        self.before_txn()
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails.pop(0)
        return await super().txn(conditions, puts, deletes)


class Rig:
    def __init__(self, partitions: int) -> None:
        self.store = CountingStore()
        puts = {f"part/{n}": encode(BEFORE) for n in range(partitions)}
        for key, value in puts.items():
            self.store.state.txn([], {key: value})
        self.outcomes: dict[int, SwapOutcome] = {}
        self.current: dict[int, object] = {}
        self._all = asyncio.Event()
        self.swapper = Swapper(self.store, self._done)

    def _done(self, results) -> None:
        for result in results:
            self.outcomes[result.swap.partition] = result.outcome
            self.current[result.swap.partition] = result.current
        self._all.set()

    def revision(self, number: int) -> int:
        return self.store.state.entries[f"part/{number}"].revision

    def swap(self, number: int, config: PartitionConfig = AFTER, guard: str = "") -> None:
        self.swapper.start(Swap(number, self.revision(number), config, Purpose.SHRINK, guard))

    def overtake(self, number: int) -> None:
        """Somebody else changes the partition."""
        self.store.state.txn([], {f"part/{number}": encode(BEFORE)})

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.outcomes) < count:
                self._all.clear()
                await self._all.wait()

    def stored(self, number: int) -> PartitionConfig:
        return decode_config(self.store.state.entries[f"part/{number}"].value)


async def test_swaps_of_one_moment_are_one_transaction():
    rig = Rig(10)
    for number in range(10):
        rig.swap(number)
    await rig.until(10)
    assert rig.store.txns == [10]
    assert set(rig.outcomes.values()) == {WON}
    assert all(rig.stored(number) == AFTER for number in range(10))
    assert {rig.current[number].revision for number in range(10)} == {rig.revision(0)}


async def test_many_go_in_transactions_of_bounded_size():
    rig = Rig(SWAPS_MAX + 3)
    for number in range(SWAPS_MAX + 3):
        rig.swap(number)
    await rig.until(SWAPS_MAX + 3)
    assert sorted(rig.store.txns) == [3, SWAPS_MAX]


async def test_one_that_is_overtaken_loses_and_the_others_win():
    rig = Rig(4)
    for number in range(4):
        rig.swap(number)
    rig.overtake(2)
    await rig.until(4)
    assert rig.store.txns == [4, 3]
    assert rig.outcomes == {0: WON, 1: WON, 2: LOST, 3: WON}
    assert rig.current[2].revision == rig.revision(2)
    assert rig.current[2].config == BEFORE


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(StoreAway("x"), LOST), (StoreInDoubt("x"), IN_DOUBT), (RuntimeError("x"), IN_DOUBT)],
)
async def test_a_store_without_an_answer(error, outcome):
    rig = Rig(2)
    rig.store.fails = [error]
    rig.swap(0)
    rig.swap(1)
    await rig.until(2)
    assert set(rig.outcomes.values()) == {outcome}
    rig.outcomes.clear()
    rig.swap(0)  # the partition is free again
    await rig.until(1)
    assert rig.outcomes == {0: WON}


async def test_a_later_swap_of_a_partition_waits_for_the_one_under_way():
    rig = Rig(1)
    asked = []

    def ask_again() -> None:
        if not asked:
            asked.append(True)
            rig.swap(0, BEFORE)

    rig.store.before_txn = ask_again
    rig.swap(0)
    await rig.until(1)
    assert (rig.store.txns, rig.outcomes) == ([1], {0: WON})
    rig.outcomes.clear()
    await rig.until(1)
    # It was conditional on the revision before the first, and is told what is there now.
    assert (rig.store.txns, rig.outcomes) == ([1, 1], {0: LOST})
    assert rig.current[0].config == rig.stored(0) == AFTER


async def test_a_guarded_swap_needs_the_lease_as_it_is():
    rig = Rig(1)
    rig.store.state.txn([], {"lease/b#2": encode(Lease("b", "", "", "n1"))})
    renewals = []

    def renew() -> None:
        if len(renewals) < 2:
            renewals.append(True)
            rig.store.state.txn([], {"lease/b#2": encode(Lease("b", "", "", f"m{len(renewals)}"))})

    rig.store.before_txn = renew
    rig.swap(0, AFTER, guard="b#2")
    await rig.until(1)
    assert rig.outcomes == {0: WON}
    assert len(rig.store.txns) == 3


@pytest.mark.parametrize("lease", [None, Lease("b", "", "", "fenced")])
async def test_a_guard_that_is_fenced_or_gone_refuses(lease):
    rig = Rig(1)
    if lease is not None:
        rig.store.state.txn([], {"lease/b#2": encode(lease)})
    rig.swap(0, AFTER, guard="b#2")
    await rig.until(1)
    assert rig.outcomes == {0: LOST}
    assert rig.stored(0) == BEFORE


async def test_what_cannot_be_read_is_lost_without_a_word_of_what_it_is():
    rig = Rig(1)
    rig.swap(0)
    rig.store.state.txn([], {"part/0": b"{"})
    await rig.until(1)
    assert (rig.outcomes, rig.current) == ({0: LOST}, {0: None})
