"""Read-through over a core: one read a key, bounded memory of what is not there, clear refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from tupelo import kinds
from tupelo._unit.executor import Outcome
from tupelo.codec import encode_key, partition_of
from tupelo.errors import ResultCode
from tupelo.schema import SpaceSchema
from tupelo.v1.data_pb2 import BulkBatch, OpBatch, SessionRequest
from tupelo_grid.config import GridConfig
from tupelo_grid.core.loads import Fence, Found
from tupelo_grid.messaging.reader_client import KeysFound, StoreSilent
from tupelo_grid.messaging.through import ReadThrough, places_of
from tupelo_grid.units.runner import UnitRunner

from tests.unit.test_core_unit import Cluster, FakeClock, one

PARTITIONS = 4
SPACE = "default"


def key_in(partition: int, number: int = 0) -> bytes:
    """The number-th key of a partition."""
    keys = (encode_key(n) for n in range(10_000))
    mine = [key for key in keys if partition_of(key, PARTITIONS) == partition]
    return mine[number]


K, J = key_in(0), key_in(0, 1)


class FakeReader:
    """The store's rows; `gate` holds the answers up."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.rows: dict[bytes, Found] = {}
        self.calls: list[list[bytes]] = []
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = ""
        self.fence: Fence | None = None

    async def read(
        self, space: str, places: Sequence[tuple[int, bytes]], timeout_s: float
    ) -> KeysFound:
        self.calls.append([key for _, key in places])
        self.asked.set()
        fence = self.fence or Fence(1, self.cluster.primary(0).replicas[0].commit)
        rows = {key: self.rows.get(key) for _, key in places}
        await self.gate.wait()
        if self.away:
            raise StoreSilent(self.away)
        return KeysFound({number: fence for number, _ in places}, rows, frozenset())


class Rig:
    def __init__(self, **settings: Any) -> None:
        self.cluster = Cluster(["a#1", "b#2"], PARTITIONS)
        self.unit = self.cluster.primary(0)
        self.reader = FakeReader(self.cluster)
        config = GridConfig(**settings)
        self.through = ReadThrough(
            self.unit,
            config,
            self.reader,  # type: ignore[arg-type]
            self.clock,
            PARTITIONS,
            self.cluster.settle,
        )
        self.through.follow({SPACE: SpaceSchema(SPACE, read_through=True)})

    @property
    def clock(self) -> FakeClock:
        return self.cluster.clock

    def get(self, key: bytes) -> bytes | None:
        pending = self.cluster.run(0, one(kinds.GET, 0, key))
        return None if pending.codes[0] else pending.values[0]

    def missing(self, *keys: bytes, kind: int = kinds.GET) -> list[bytes]:
        return [place[2] for place in self.through.missing(frame(*keys, kind=kind))]

    async def load(self, *keys: bytes) -> dict[bytes, tuple[int, str]]:
        failed = await self.through.load([(0, SPACE, key) for key in keys])
        return {place[2]: fault for place, fault in failed.items()}


def frame(*keys: bytes, kind: int = kinds.GET, space: str = SPACE) -> SessionRequest:
    count = len(keys)
    batch = OpBatch(
        targets=[space], kinds=bytes([kind]) * count, partitions=[0] * count, keys=list(keys)
    )
    return SessionRequest(batches=[batch])


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    async with Running(made):
        yield made


class Running:
    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def __aenter__(self) -> Rig:
        self._task = asyncio.create_task(self._rig.through.run())
        return self._rig

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_a_missing_entry_is_read_and_one_that_is_there_is_not(rig: Rig) -> None:
    rig.reader.rows[K] = (b"row", 0)
    assert rig.missing(K, K, J) == [K, J]
    assert rig.missing(K, kind=kinds.GET_NEAR) == [K]
    assert await rig.load(K, J) == {}
    assert (rig.get(K), rig.get(J)) == (b"row", None)
    assert rig.missing(K, J) == []
    assert rig.through.counts["read_through_found"] == 1


async def test_all_who_miss_a_key_share_one_read(rig: Rig) -> None:
    rig.reader.rows[K] = (b"row", 0)
    rig.reader.gate.clear()
    loads = [asyncio.create_task(rig.load(K)) for _ in range(100)]
    await rig.reader.asked.wait()
    loads += [asyncio.create_task(rig.load(K)) for _ in range(100)]
    await asyncio.sleep(0)
    rig.reader.gate.set()
    assert await asyncio.gather(*loads) == [{}] * 200
    assert rig.reader.calls == [[K]]


async def test_keys_that_wait_go_in_one_call(rig: Rig) -> None:
    keys = [key_in(0, n) for n in range(50)]
    rig.reader.gate.clear()
    tasks = [asyncio.create_task(rig.load(key)) for key in keys]
    rig.reader.gate.set()
    await asyncio.gather(*tasks)
    assert sum(map(len, rig.reader.calls)) == 50
    assert len(rig.reader.calls) <= 3


async def test_what_the_store_lacks_is_not_asked_for_again_for_a_moment(rig: Rig) -> None:
    await rig.load(K)
    assert rig.missing(K) == []
    rig.clock.seconds += 0.99
    assert rig.missing(K) == []
    rig.clock.seconds += 0.02
    assert rig.missing(K) == [K]
    # Somebody has put it there meanwhile.
    rig.reader.rows[K] = (b"row", 0)
    await rig.load(K)
    assert rig.get(K) == b"row"


async def test_the_memory_of_what_is_missing_is_bounded() -> None:
    rig = Rig(read_through_absent_max=10)
    async with Running(rig):
        keys = [key_in(0, n) for n in range(25)]
        for key in keys:
            await rig.load(key)
        assert len(rig.through._absent) == 10
        assert rig.missing(*keys) == keys[:15]
        rig.clock.seconds += 2
        await rig.load(keys[0])
        assert len(rig.through._absent) == 1


async def test_a_store_that_is_away_is_a_clear_refusal_and_is_left_alone(rig: Rig) -> None:
    rig.reader.away = "no route to host"
    code, message = (await rig.load(K))[K]
    assert code == ResultCode.NOT_READY
    assert "'default' is read through" in message
    assert "no route to host" in message
    assert (await rig.load(K, J)).keys() == {K, J}
    assert len(rig.reader.calls) == 1, "asked again at once"
    rig.reader.away = ""
    rig.reader.rows[K] = (b"row", 0)
    rig.clock.seconds += 2
    assert await rig.load(K) == {}
    assert rig.get(K) == b"row"


async def test_a_store_that_is_silent_is_not_waited_for() -> None:
    rig = Rig(read_through_s=0.02)
    async with Running(rig):
        rig.reader.gate.clear()
        code, message = (await rig.load(K))[K]
        assert (code, "within 0.02 s" in message) == (ResultCode.NOT_READY, True)
        # What comes late is taken all the same.
        rig.reader.rows[K] = (b"row", 0)
        rig.reader.gate.set()
        await rig.through.ask((0, SPACE, K))


async def test_only_so_many_wait() -> None:
    rig = Rig(read_through_keys_max=3)
    async with Running(rig):
        rig.reader.gate.clear()
        keys = [key_in(0, n) for n in range(4)]
        tasks = [asyncio.create_task(rig.load(key)) for key in keys]
        assert (await tasks[3])[keys[3]][0] == ResultCode.OVERLOADED
        rig.reader.gate.set()
        assert [await task for task in tasks[:3]] == [{}] * 3


async def test_what_was_written_or_removed_meanwhile_stays(rig: Rig) -> None:
    rig.reader.rows = {K: (b"row", 0), J: (b"row", 0)}
    rig.reader.gate.clear()
    task = asyncio.create_task(rig.load(K, J))
    await rig.reader.asked.wait()
    rig.cluster.run(0, one(kinds.PUT, 0, K, b"newer", op=1))
    rig.cluster.run(0, one(kinds.PUT, 0, J, b"newer", op=2))
    rig.cluster.run(0, one(kinds.DELETE, 0, J, op=3))
    rig.reader.gate.set()
    assert await task == {}
    assert (rig.get(K), rig.get(J)) == (b"newer", None)


async def test_a_removal_that_the_store_lacks_needs_no_store(rig: Rig) -> None:
    rig.reader.away = "away"
    rig.cluster.run(0, one(kinds.PUT, 0, K, b"v", op=1))
    rig.cluster.run(0, one(kinds.DELETE, 0, K, op=2))
    assert rig.missing(K) == []


async def test_a_read_that_the_journal_outruns_is_repeated_a_few_times(rig: Rig) -> None:
    for n in range(100):
        rig.cluster.run(0, one(kinds.PUT, 0, J, b"v", op=n + 1))
    partition = rig.unit.replicas[0]
    partition.persisted = partition.commit
    partition.journal.trim(partition.commit)
    rig.reader.fence = Fence(1, 1)
    code, message = (await rig.load(K))[K]
    assert (code, "outrun" in message) == (ResultCode.NOT_READY, True)
    assert len(rig.reader.calls) == 4
    rig.reader.fence = None
    assert await rig.load(K) == {}


async def test_a_refusal_is_of_the_operations_that_need_the_entry(rig: Rig) -> None:
    place = (0, SPACE, K)
    failed = {place: (ResultCode.NOT_READY, "away")}
    request = frame(J, K)
    assert rig.through.faults(request.batches[0], failed) == {1: failed[place]}
    assert rig.through.faults(frame(K, kind=kinds.PUT).batches[0], failed) == {}
    # It came by another way meanwhile.
    rig.cluster.run(0, one(kinds.PUT, 0, K, b"v", op=1))
    assert rig.through.faults(request.batches[0], failed) == {}


async def test_a_partition_of_another_unit_is_left_to_it(rig: Rig) -> None:
    other = key_in(1)
    request = frame(other)
    request.batches[0].partitions[0] = 1
    assert rig.through.missing(request) == []


async def test_a_key_of_another_partition_is_not_brought_into_this_one(rig: Rig) -> None:
    assert rig.missing(key_in(1)) == []
    assert rig.missing(b"\xff\xff", b"\xc1", b"", encode_key("x" * 70_000)) == []


async def test_a_row_that_is_too_large_is_refused_by_its_size() -> None:
    rig = Rig(value_bytes_max=10)
    async with Running(rig):
        rig.reader.rows[K] = (bytes(11), 0)
        assert (await rig.load(K))[K][0] == ResultCode.VALUE_TOO_LARGE
        assert rig.get(K) is None


async def test_full_journals_take_no_rows() -> None:
    rig = Rig(journal_bytes_max=0)
    async with Running(rig):
        rig.reader.rows[K] = (b"row", 0)
        assert (await rig.load(K, J))[K][0] == ResultCode.OVERLOADED
        assert rig.get(K) is None


@pytest.mark.parametrize("kind", range(1, 13))
async def test_which_operations_look_first(rig: Rig, kind: int) -> None:
    looks = kind not in (kinds.PUT, kinds.CALL, kinds.CALL_READ_ONLY, kinds.COUNT, kinds.SCAN)
    assert bool(rig.missing(K, kind=kind)) is looks


def test_columns_that_do_not_fit_name_nothing() -> None:
    spaces = frozenset({SPACE})
    for batch in (
        OpBatch(targets=[SPACE], kinds=b"\x01\x01", partitions=[0], keys=[K]),
        OpBatch(targets=[SPACE], kinds=b"\x01", partitions=[0], keys=[]),
        OpBatch(targets=[SPACE], kinds=b"\x01", partitions=[0], keys=[K], target_index=[7]),
        OpBatch(targets=[SPACE], kinds=b"\x01", partitions=[0], keys=[K], target_index=[0, 0]),
        OpBatch(targets=["other"], kinds=b"\x01", partitions=[0], keys=[K]),
        OpBatch(bulk=BulkBatch(kind=kinds.GET, space=SPACE, partitions=[0], counts=[2], keys=[K])),
        OpBatch(
            bulk=BulkBatch(kind=kinds.DELETE, space=SPACE, partitions=[0], counts=[1], keys=[K])
        ),
    ):
        assert list(places_of(batch, spaces)) == []


def test_groups_of_a_bulk_read_follow_the_operations() -> None:
    bulk = BulkBatch(kind=kinds.GET, space=SPACE, partitions=[0, 2], counts=[2, 1], keys=[K, J, K])
    batch = OpBatch(targets=["x", SPACE], kinds=b"\x01", partitions=[1], keys=[J], bulk=bulk)
    batch.target_index.append(1)
    assert list(places_of(batch, frozenset({SPACE}))) == [
        (0, (1, SPACE, J)),
        (1, (0, SPACE, K)),
        (1, (0, SPACE, J)),
        (2, (2, SPACE, K)),
    ]


async def test_a_space_that_is_not_declared_so_is_not_read(rig: Rig) -> None:
    rig.through.follow({SPACE: SpaceSchema(SPACE), "t": SpaceSchema("t", read_through=True)})
    assert rig.through.spaces == {"t"}
    assert rig.missing(K) == []


def test_a_space_that_is_not_stored_cannot_be_read_through() -> None:
    with pytest.raises(ValueError, match="not stored"):
        SpaceSchema("s", persist=False, read_through=True)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"name":"s","persist":false,"read_through":true}', type=SpaceSchema)


async def test_a_command_is_broken_off_until_its_entry_was_read(rig: Rig) -> None:
    ran: list[bytes | None] = []

    class Executor:
        """Reads K, and then writes what it saw."""

        def run(self, command: str, arguments: bytes, view: Any) -> Outcome:
            try:
                entry = view.get(SPACE, K)
            except Exception:  # what application code might do
                entry = None
            ran.append(None if entry is None else entry.value)
            return Outcome(0, b"\xc0", ((SPACE, J, b"done", 0),))

        def knows(self, command: str) -> bool:
            return True

    runner = UnitRunner([], partitions=PARTITIONS, config=GridConfig())
    runner._executor = Executor()  # type: ignore[assignment]
    runner.missing = rig.through.lacks
    rig.unit._evaluator.runner = runner
    rig.unit._evaluator.admission.runner = runner
    last = rig.unit.replicas[0].journal.last
    call = one(kinds.CALL, 0, b"", b"\x80", op=1, target="any")
    refused = rig.cluster.run(0, call)
    assert (refused.codes[0], ran) == (ResultCode.NOT_READY, [])
    assert "read from the store first" in refused.errors[0].message
    assert rig.unit.replicas[0].journal.last == last, "it left a trace"
    assert await rig.load(K) == {}
    # The repetition, under the same token, is run and not taken for done.
    assert rig.cluster.run(0, call).codes[0] == 0
    assert (ran, rig.get(J)) == ([None], b"done")
    rig.reader.rows[K] = (b"row", 0)
    rig.clock.seconds += 2
    read_only = one(kinds.CALL_READ_ONLY, 0, b"", b"\x80", target="any")
    assert rig.cluster.run(0, read_only).codes[0] == ResultCode.NOT_READY
    await rig.load(K)
    rig.cluster.run(0, one(kinds.CALL, 0, b"", b"\x80", op=2, target="any"))
    assert ran == [None, b"row"]
