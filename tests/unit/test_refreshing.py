"""Refresh of a unit's partitions: what is outrun is asked for again, what moved is not done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from tupelo.schema import SpaceSchema
from tupelo.v1 import admin_pb2
from tupelo.v1 import pump_pb2 as pb
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.loads import Fence, Found
from tupelo_grid.core.table import GridInfo, PartitionConfig
from tupelo_grid.deployment.refreshing import GridRefresh
from tupelo_grid.messaging.reader_client import KeysFound, StoreSilent
from tupelo_grid.runtime.refreshing import Refresher
from tupelo_grid.transport.unit_admin import CannotRefresh

from tests.unit.test_core_unit import Cluster, one

SPACE = "default"
GRID = GridInfo(grid_id="aa" * 16, format=1, partitions=4, backups=1)


class FakeReader:
    """Rows by partition and key. `between` is called after the fences were read."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.rows: dict[tuple[int, bytes], Found] = {}
        self.dead: list[bytes] = []
        self.between: Callable[[], None] = lambda: None
        self.away = ""
        self.single: list[bytes] = []

    def fence(self, number: int) -> Fence:
        primary = self.cluster.primary(number)
        return Fence(1, primary.replicas[number].persisted)

    async def load(
        self, partitions: Sequence[int], epochs: Sequence[int] = (), space: str = ""
    ) -> AsyncIterator[pb.LoadChunk]:
        assert not epochs, "a refresh claims nothing"
        if self.away:
            raise StoreSilent(self.away)
        fences = [self.fence(number) for number in partitions]
        yield pb.LoadChunk(
            fence_partitions=partitions,
            fence_epochs=[one.epoch for one in fences],
            fence_cursors=[one.cursor for one in fences],
        )
        yield pb.LoadChunk(space=space, dead_keys=self.dead)
        mine = [(at, row) for at, row in self.rows.items() if at[0] in partitions]
        self.between()
        yield pb.LoadChunk(
            space=space,
            partitions=[number for (number, _), _ in mine],
            keys=[key for (_, key), _ in mine],
            values=[value for _, (value, _) in mine],
            versions=[1] * len(mine),
            deadlines_ms=[deadline for _, (_, deadline) in mine],
        )

    async def read(
        self, space: str, places: Sequence[tuple[int, bytes]], timeout_s: float
    ) -> KeysFound:
        self.single += [key for _, key in places]
        fences = {number: self.fence(number) for number, _ in places}
        rows = {key: self.rows.get((number, key)) for number, key in places}
        return KeysFound(fences, rows, frozenset(self.dead))


class Rig:
    def __init__(self, **settings: Any) -> None:
        self.cluster = Cluster(["a#1", "b#2"], 4)
        self.unit = self.cluster.units["a#1"]
        self.reader = FakeReader(self.cluster)
        self.op = 0
        reader: Any = self.reader
        config = GridConfig(load_partitions=1, **settings)
        self.refresher = Refresher(self.unit, config, reader, self.cluster.settle)

    def put(self, key: bytes, value: bytes, number: int = 0, times: int = 1) -> None:
        for _ in range(times):
            self.op += 1
            self.cluster.run(number, one(kinds.PUT, number, key, value, op=self.op))

    def store(self, number: int = 0) -> None:
        """It has everything, row by row."""
        held = self.unit.replicas[number]
        held.persisted = held.commit
        for key, entry in held.spaces.get(SPACE, {}).items():
            self.reader.rows[number, key] = (entry.value, entry.deadline_ms)

    def entries(self, number: int = 0) -> dict[bytes, bytes]:
        return {k: e.value for k, e in self.unit.replicas[number].spaces.get(SPACE, {}).items()}

    async def refresh(self, key: bytes = b"", *partitions: int) -> admin_pb2.RefreshResponse:
        request = admin_pb2.RefreshRequest(space=SPACE, key=key, partitions=partitions)
        return await self.refresher.refresh(request)


async def test_a_space_follows_its_rows_in_every_partition_of_the_unit() -> None:
    rig = Rig()
    for number in (0, 2):
        for key in (b"same", b"changed", b"gone"):
            rig.put(key, b"v", number)
        rig.store(number)
        rig.reader.rows[number, b"changed"] = (b"theirs", 0)
        rig.reader.rows[number, b"new"] = (b"theirs", 0)
        del rig.reader.rows[number, b"gone"]
    answer = await rig.refresh()
    counts = (answer.same, answer.changed, answer.added, answer.removed, answer.newer)
    assert counts == (2, 2, 2, 2, 0)
    assert list(answer.partitions) == [0, 2]
    for number in (0, 2):
        assert rig.entries(number) == {b"same": b"v", b"changed": b"theirs", b"new": b"theirs"}


async def test_what_is_changed_while_rows_are_read_stays() -> None:
    rig = Rig()
    rig.put(b"k", b"v")
    rig.store()
    rig.reader.rows[0, b"k"] = (b"theirs", 0)
    rig.reader.between = lambda: rig.put(b"k", b"newer")
    answer = await rig.refresh()
    assert (answer.newer, answer.changed) == (1, 0)
    assert rig.entries() == {b"k": b"newer"}


async def test_what_the_journal_outran_is_asked_for_key_by_key() -> None:
    rig = Rig()
    rig.put(b"k", b"v")
    rig.put(b"gone", b"v")
    rig.store()
    rig.reader.rows[0, b"k"] = (b"theirs", 0)
    del rig.reader.rows[0, b"gone"]

    def many() -> None:
        rig.put(b"other", b"v", times=100)
        held = rig.unit.replicas[0]
        held.persisted = held.commit
        rig.reader.rows[0, b"other"] = (b"v", 0)
        held.journal.trim(held.commit)

    rig.reader.between = many
    answer = await rig.refresh()
    assert set(rig.reader.single) == {b"k", b"gone", b"other"}
    assert (answer.changed, answer.removed, answer.same) == (1, 1, 1)
    assert list(answer.partitions) == [0, 2]
    assert rig.entries() == {b"k": b"theirs", b"other": b"v"}


async def test_a_partition_that_moves_away_is_not_called_done() -> None:
    rig = Rig()
    rig.put(b"k", b"v")
    rig.store()
    rig.reader.rows[0, b"k"] = (b"theirs", 0)

    def move() -> None:
        rig.cluster.set(0, PartitionConfig(2, "b#2", ("a#1", "b#2")))
        rig.cluster.publish()

    rig.reader.between = move
    assert list((await rig.refresh()).partitions) == [2]
    assert list((await rig.refresh(b"", 0, 2)).partitions) == [2]


async def test_one_key_and_what_is_a_dead_letter_stays() -> None:
    rig = Rig()
    rig.put(b"k", b"refused")
    rig.store()
    rig.reader.rows[0, b"k"] = (b"older", 0)
    rig.reader.dead = [b"k"]
    assert (await rig.refresh(b"k", 0)).dead == (await rig.refresh()).dead == 1
    assert rig.entries() == {b"k": b"refused"}
    rig.reader.dead = []
    answer = await rig.refresh(b"k", 0)
    assert (answer.changed, list(answer.partitions)) == (1, [0])
    assert rig.entries() == {b"k": b"older"}


async def test_rows_that_no_entry_can_be_are_counted() -> None:
    rig = Rig(value_bytes_max=10, key_bytes_max=5)
    rig.reader.rows = {(0, b"k"): (bytes(11), 0), (0, b"toolong"): (b"v", 0), (0, b"j"): (b"v", 0)}
    answer = await rig.refresh()
    assert (answer.refused, answer.added) == (2, 1)
    assert rig.entries() == {b"j": b"v"}


async def test_what_keeps_a_refresh_from_going_on_is_said() -> None:
    rig = Rig()
    rig.reader.away = "no route to host"
    with pytest.raises(CannotRefresh, match="no route to host"):
        await rig.refresh()
    full = Rig(journal_bytes_max=0)
    full.reader.rows[0, b"k"] = (b"v", 0)
    with pytest.raises(CannotRefresh, match="journals of a#1 are full"):
        await full.refresh()


@pytest.mark.parametrize(
    ("space", "key", "words"),
    [
        ("nothing", b"", "not declared"),
        ("brief", b"", "not stored"),
        ("default", b"\xff\xff", "no key"),
        ("default", b"\xcd\x00\x01", "canonical"),
    ],
)
async def test_what_cannot_be_refreshed(space: str, key: bytes, words: str) -> None:
    spaces = {"default": SpaceSchema("default"), "brief": SpaceSchema("brief", persist=False)}
    refresh = GridRefresh(GridConfig(), lambda: GridState(GRID, spaces=spaces))
    with pytest.raises(ValueError, match=words):
        await refresh.refresh(admin_pb2.RefreshRequest(space=space, key=key))
