"""Cold start of a unit: in groups, a few at a time, and only for the role it was begun for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tupelo.v1 import admin_pb2
from tupelo.v1 import pump_pb2 as pb
from tupelo_grid.cli.loads import Loads, load_words
from tupelo_grid.config import GridConfig
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.table import PartitionConfig
from tupelo_grid.messaging.reader_client import StoreSilent
from tupelo_grid.runtime.loading import Loader

from tests.unit.test_core_unit import Cluster, one

CURSOR, EPOCH = 50, 3


class FakeReader:
    """A store with one entry a partition. `release(n)` lets n calls come to their end."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], list[int]]] = []
        self.under_way = 0
        self.most = 0
        self.away = ""
        self.asked = asyncio.Event()
        self._ends = asyncio.Semaphore(0)

    def release(self, calls: int = 1) -> None:
        for _ in range(calls):
            self._ends.release()

    async def load(
        self, partitions: Sequence[int], epochs: Sequence[int] = (), space: str = ""
    ) -> AsyncIterator[pb.LoadChunk]:
        self.calls.append((list(partitions), list(epochs)))
        self.asked.set()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            count = len(partitions)
            yield pb.LoadChunk()
            yield pb.LoadChunk(
                fence_partitions=partitions,
                fence_epochs=[EPOCH] * count,
                fence_cursors=[CURSOR] * count,
            )
            yield pb.LoadChunk(
                space="default",
                partitions=partitions,
                keys=[b"k"] * count,
                values=[b"stored"] * count,
                versions=[7] * count,
                deadlines_ms=[0] * count,
            )
            await self._ends.acquire()
            if self.away:
                raise StoreSilent(self.away)
        finally:
            self.under_way -= 1


class Rig:
    def __init__(self, partitions: int = 40, **settings: Any) -> None:
        self.cluster = Cluster(["a#1", "b#2"], 1)
        self.unit = self.cluster.units["a#1"]
        self.numbers = range(1, partitions + 1)
        for number in self.numbers:
            self.give(number, epoch=9)
        self.reader = FakeReader()
        config = GridConfig(pump_retry_s_max=0.01, **settings)
        reader: Any = self.reader
        self.loader = Loader(self.unit, config, reader, self.cluster.clock)

    def give(self, number: int, epoch: int, load: bool = True) -> None:
        self.cluster.set(number, PartitionConfig(epoch, "a#1", ("a#1",), load=load))
        self.cluster.publish()

    def value(self, number: int) -> bytes:
        return self.cluster.run(number, one(kinds.GET, number, b"k")).values[0]

    async def __aenter__(self) -> Rig:
        self._task = asyncio.create_task(self.loader.run())
        self.loader.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until_loaded(self) -> None:
        async with asyncio.timeout(5):
            while self.unit.loading:
                self.reader.release()
                await asyncio.sleep(0)
        self.cluster.settle()


async def test_partitions_are_read_in_groups_a_few_at_a_time() -> None:
    async with Rig(load_partitions=8, load_calls_max=2) as rig:
        await rig.until_loaded()
        assert [len(partitions) for partitions, _ in rig.reader.calls] == [8] * 5
        assert rig.reader.most == 2
        assert sorted(n for partitions, _ in rig.reader.calls for n in partitions) == [*rig.numbers]
        assert {epoch for _, epochs in rig.reader.calls for epoch in epochs} == {9}
        assert all(rig.value(number) == b"stored" for number in rig.numbers)
        assert (rig.loader.done, rig.loader.entries, rig.loader.error) == (40, 40, "")
        held = rig.unit.replicas[1]
        assert held.journal.base == held.persisted == CURSOR
        assert held.journal.runs == [(1, EPOCH), (CURSOR + 1, 9)]


async def test_the_first_group_answers_while_others_are_read() -> None:
    async with Rig(load_partitions=8, load_calls_max=1) as rig:
        await rig.reader.asked.wait()
        refused = rig.unit.submit(one(kinds.GET, 1, b"k"))
        assert refused.codes[0] == kinds.NOT_READY
        assert "loaded from the store" in refused.errors[0].message
        rig.reader.release()
        async with asyncio.timeout(5):
            while len(rig.unit.loading) == 40:  # noqa: ASYNC110
                await asyncio.sleep(0)
        rig.cluster.settle()
        assert rig.value(8) == b"stored"
        assert rig.unit.submit(one(kinds.GET, 9, b"k")).codes[0] == kinds.NOT_READY
        assert (rig.loader.done, rig.loader.entries) == (8, 16)


async def test_a_store_that_is_away_is_asked_again_and_named() -> None:
    async with Rig(partitions=4) as rig:
        rig.reader.away = "no route to host"
        rig.reader.release()
        async with asyncio.timeout(5):
            while not rig.loader.error:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert (rig.loader.error, rig.loader.entries) == ("no route to host", 0)
        rig.reader.away = ""
        await rig.until_loaded()
        assert (rig.loader.error, rig.loader.entries, rig.loader.done) == ("", 4, 4)


async def test_what_was_read_for_a_role_that_ended_is_thrown_away() -> None:
    async with Rig(partitions=1, load_calls_max=1) as rig:
        await rig.reader.asked.wait()
        # Somebody else was primary in between, and may have written to the store.
        rig.cluster.set(1, PartitionConfig(10, "b#2", ("b#2",)))
        rig.cluster.publish()
        rig.give(1, epoch=11)
        rig.loader.look()
        rig.reader.asked.clear()
        rig.reader.release()
        await rig.reader.asked.wait()
        assert 1 in rig.unit.loading, "the older role's rows were taken"
        assert rig.reader.calls == [([1], [9]), ([1], [11])]
        await rig.until_loaded()
        assert rig.value(1) == b"stored"
        assert rig.loader.done == 1


def unit(left: int, done: int, entries: int, error: str = "") -> admin_pb2.UnitStatus:
    load = admin_pb2.LoadProgress(
        partitions_left=left, partitions_done=done, entries=entries, error=error
    )
    return admin_pb2.UnitStatus(load=load)


def test_a_start_waits_for_as_long_as_a_load_gets_on(capsys: pytest.CaptureFixture[str]) -> None:
    loads = Loads(20.0)
    status = admin_pb2.StatusResponse(units=[unit(8, 2, 1000), unit(6, 0, 500)])
    assert loads.look(status, 100.0) == 120.0
    assert "14 of 16 partitions" in capsys.readouterr().out
    assert loads.look(status, 101.0) == 0.0
    status.units[0].load.entries += 1
    assert loads.look(status, 102.0) == 122.0
    assert capsys.readouterr().out == "", "said too often"
    assert loads.look(admin_pb2.StatusResponse(units=[unit(0, 16, 9)]), 103.0) == 0.0


def test_how_far_a_cold_start_is_in_words() -> None:
    assert load_words([unit(0, 5, 10)]) == ""
    assert load_words([unit(1, 5, 1234567, "the store is away")]) == (
        "1 of 6 partitions are loaded from the store and do not answer yet, 1,234,567 entries so "
        "far; the store is away"
    )
