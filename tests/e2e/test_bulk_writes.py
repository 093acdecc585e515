"""Bulk writes side by side, whose groups become records together, through the death of a unit."""

from __future__ import annotations

import asyncio

import tupelo
from tupelo.errors import TupeloError

from tests.e2e.grids import Grid

CALLERS = 12
KEYS = 400
ROUNDS_AFTER = 5


class Caller:
    """Writes the number of its round to all its keys, again and again."""

    def __init__(self, name: int) -> None:
        self.keys = [f"{name}/{number}" for number in range(KEYS)]
        self.asked = 0
        self.acknowledged = 0

    async def rounds(self, space: tupelo.Space[str, int], count: int) -> None:
        """Until so many more rounds have been acknowledged."""
        done = 0
        while done < count:
            self.asked += 1
            try:
                await space.put_many(dict.fromkeys(self.keys, self.asked))
            except TupeloError:
                continue  # its outcome is not known; the next round has another number
            self.acknowledged = self.asked
            done += 1


async def test_bulk_writes_side_by_side_outlive_a_unit_and_each_is_whole(own_grid: Grid) -> None:
    callers = [Caller(name) for name in range(CALLERS)]
    async with tupelo.connect(own_grid.address) as grid:
        space = grid.space("carts")
        await asyncio.gather(*[caller.rounds(space, 3) for caller in callers])
        lasting = asyncio.gather(*[caller.rounds(space, ROUNDS_AFTER) for caller in callers])
        own_grid.kill("unit-2")
        await lasting
        for caller in callers:
            found = await space.get_many(caller.keys)
            # A round that was given up may have been written in part, never an older one again.
            assert set(found) == set(caller.keys)
            assert caller.acknowledged <= min(found.values()), caller.acknowledged
            assert max(found.values()) <= caller.asked


async def test_callers_who_write_the_same_keys_see_one_of_their_values(own_grid: Grid) -> None:
    keys = [f"shared/{number}" for number in range(KEYS)]
    async with tupelo.connect(own_grid.address) as grid:
        space = grid.space("carts")
        for turn in range(5):
            values = [turn * CALLERS + caller for caller in range(CALLERS)]
            await asyncio.gather(*[space.put_many(dict.fromkeys(keys, v)) for v in values])
            versions = {key: await space.entry(key) for key in keys[:20]}
            assert set((await space.get_many(keys)).values()) <= set(values)
            for key, entry in versions.items():
                assert entry is not None
                # The version that is shown is the one that a condition has to name.
                assert await space.compare_and_set(key, -1, version=entry.version)
            await asyncio.gather(*[space.delete_many(keys[n::2]) for n in range(2)])
            assert await space.count() == 0
