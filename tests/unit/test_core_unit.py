"""Three units on a perfect network: the plain way through the core, without I/O."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from tupelo.errors import ResultCode
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk, Pending
from tupelo_grid.core.commands import PartitionView
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Entry, Mutation, Result
from tupelo_grid.core.swaps import Purpose, Swap, SwapOutcome, SwapResult
from tupelo_grid.core.table import Lease, PartitionConfig, Versioned
from tupelo_grid.core.unit import Unit

SPACES = {"default": 0, "brief": 1000}


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return int(self.seconds * 1000)


class CountingCommands:
    """`add` increments the number at key "n"; `fail` breaks."""

    def knows(self, command: str) -> bool:
        return command in ("add", "fail")

    def run(
        self, command: str, arguments: bytes, view: PartitionView
    ) -> tuple[Result, tuple[Mutation, ...]]:
        if command == "fail":
            return (ResultCode.COMMAND_FAILED, 0, msgspec.msgpack.encode("it broke")), ()
        entry = view.get("default", b"n")
        count = (msgspec.msgpack.decode(entry.value) if entry else 0) + 1
        value = msgspec.msgpack.encode(count)
        return (0, 0, value), (("default", b"n", value, 0),)


class Cluster:
    """Units, the table, and instant delivery between them."""

    def __init__(self, names: Sequence[str], partitions: int = 4) -> None:
        self.clock = FakeClock()
        self.revision = 1
        self.table: dict[int, Versioned] = {}
        self.units: dict[str, Unit] = {name: self.make(name) for name in names}
        self.dead: set[str] = set()
        self.purposes: list[Purpose] = []
        for number in range(partitions):
            primary = names[number % len(names)]
            backup = names[(number + 1) % len(names)]
            self.set(number, PartitionConfig(1, primary, (primary, backup)))
        self.publish()

    def make(self, name: str) -> Unit:
        return Unit(name, self.clock, Limits(), CountingCommands(), SPACES)

    def set(self, number: int, config: PartitionConfig) -> Versioned:
        self.revision += 1
        self.table[number] = Versioned(config, self.revision)
        return self.table[number]

    def alive(self) -> list[Unit]:
        return [unit for name, unit in self.units.items() if name not in self.dead]

    def publish(self) -> None:
        leases = {
            name: Lease(name, "", "", "fenced" if name in self.dead else "n") for name in self.units
        }
        for unit in self.alive():
            unit.renewed(self.clock.now() + 3)
            unit.set_leases(leases)
            unit.set_table(self.table)
        self.settle()

    def swap(self, unit: Unit, swap: Swap) -> None:
        current = self.table[swap.partition]
        self.purposes.append(swap.purpose)
        if current.revision != swap.revision:
            unit.swapped(SwapResult(swap, SwapOutcome.LOST, current))
            return
        won = self.set(swap.partition, swap.config)
        unit.swapped(SwapResult(swap, SwapOutcome.WON, won))
        self.publish()

    def settle(self) -> None:
        """Delivers everything until nobody has anything to say."""
        for _ in range(200):
            busy = False
            for unit in self.alive():
                for peer in unit.links:
                    if peer not in self.dead and not unit.links[peer].up:
                        unit.link_up(peer)
                for frame in unit.flush():
                    if frame.receiver in self.dead:
                        continue
                    busy = True
                    ack = self.units[frame.receiver].receive(frame)
                    if ack is not None:
                        unit.acknowledged(ack)
                for swap in unit.take_swaps():
                    busy = True
                    self.swap(unit, swap)
            if not busy:
                return
        raise AssertionError("the cluster never came to rest")

    def tick(self, seconds: float = 0.1) -> None:
        self.clock.seconds += seconds
        for unit in self.alive():
            unit.tick()
        self.settle()

    def primary(self, number: int) -> Unit:
        return self.units[self.table[number].config.primary]

    def run(self, number: int, batch: Batch) -> Pending:
        pending = self.primary(number).submit(batch)
        self.settle()
        return pending


def one(
    kind: int,
    number: int,
    key: bytes = b"k",
    value: bytes = b"",
    op: int = 0,
    target: str = "default",
    expected: int = 0,
    strict: bool = False,
) -> Batch:
    return Batch(
        session=7,
        acked_below=0,
        kinds=bytes([kind]),
        partitions=[number],
        targets=[target],
        target_index=None,
        keys=[key],
        values=[value],
        op_numbers=[op] if op else None,
        expected=[expected] if expected else None,
        strict=strict,
        deadline=1e9,
    )


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(["a#1", "b#2", "c#3"])


def test_a_put_is_answered_after_its_backup_has_it(cluster: Cluster) -> None:
    unit = cluster.primary(0)
    pending = unit.submit(one(kinds.PUT, 0, value=b"v", op=1))
    assert not pending.done
    cluster.settle()
    assert unit.answers.completed == [pending]
    assert (pending.codes[0], pending.versions[0], pending.copies[0]) == (0, 2, 2)
    backup = cluster.units["b#2"].replicas[0]
    assert backup.spaces["default"][b"k"] == Entry(b"v", 2, 0)
    assert cluster.run(0, one(kinds.GET, 0)).values == [b"v"]


def test_a_read_waits_for_the_write_it_saw(cluster: Cluster) -> None:
    unit = cluster.primary(0)
    unit.submit(one(kinds.PUT, 0, value=b"v", op=1))
    read = unit.submit(one(kinds.GET, 0))
    assert not read.done
    cluster.settle()
    assert read.done
    assert read.values == [b"v"]


def test_a_retry_gets_the_first_answer(cluster: Cluster) -> None:
    first = cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1))
    cluster.run(0, one(kinds.PUT, 0, value=b"w", op=2))
    again = cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1))
    assert again.versions == first.versions
    assert cluster.run(0, one(kinds.GET, 0)).values == [b"w"]


def test_a_backup_takes_over_without_loss_and_knows_the_retry(cluster: Cluster) -> None:
    first = cluster.run(0, one(kinds.CALL, 0, op=1, target="add"))
    cluster.dead.add("a#1")
    for number, versioned in list(cluster.table.items()):
        config = versioned.config
        if config.primary == "a#1":
            cluster.set(number, PartitionConfig(2, config.in_sync[1], config.in_sync))
    cluster.publish()
    cluster.tick()
    assert Purpose.SHRINK in cluster.purposes
    again = cluster.run(0, one(kinds.CALL, 0, op=1, target="add"))
    assert again.values == first.values
    second = cluster.run(0, one(kinds.CALL, 0, op=2, target="add"))
    assert second.values == [msgspec.msgpack.encode(2)]
    assert second.copies[0] == 1


def test_a_learner_gets_a_snapshot_and_joins(cluster: Cluster) -> None:
    for number in range(40):
        cluster.run(0, one(kinds.PUT, 0, key=b"k%d" % number, value=b"v" * 20_000, op=number + 1))
    primary = cluster.primary(0).primaries[0]
    primary.partition.persisted = primary.partition.commit
    primary.partition.journal.trim(primary.partition.commit)
    config = cluster.table[0].config
    cluster.set(0, PartitionConfig(1, config.primary, config.in_sync, learner="c#3"))
    cluster.publish()
    for _ in range(5):
        cluster.tick()
    assert "c#3" in cluster.table[0].config.in_sync
    assert cluster.units["c#3"].replicas[0].digest() == primary.partition.digest()


def test_a_hand_over_keeps_everything(cluster: Cluster) -> None:
    cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1))
    config = cluster.table[0].config
    cluster.set(0, PartitionConfig(1, "a#1", config.in_sync, next_primary="b#2"))
    cluster.publish()
    cluster.tick()
    assert cluster.table[0].config.primary == "b#2"
    assert cluster.table[0].config.epoch == 2
    assert cluster.run(0, one(kinds.GET, 0)).values == [b"v"]
    assert cluster.units["a#1"].submit(one(kinds.GET, 0)).codes[0] == ResultCode.WRONG_OWNER


def test_a_read_without_a_lease_is_confirmed_by_the_backups(cluster: Cluster) -> None:
    cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1))
    unit = cluster.primary(0)
    unit.lease_until = 0.0
    read = unit.submit(one(kinds.GET, 0))
    assert not read.done
    cluster.settle()
    assert read.done
    assert read.values == [b"v"]


def test_a_deposed_primary_cannot_confirm_a_read(cluster: Cluster) -> None:
    cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1))
    unit = cluster.primary(0)
    unit.lease_until = 0.0
    won = cluster.set(0, PartitionConfig(2, "b#2", ("a#1", "b#2")))
    cluster.units["b#2"].set_table({0: won})
    read = unit.submit(one(kinds.GET, 0))
    cluster.settle()
    assert read.codes[0] == ResultCode.NOT_READY
    assert read.values == [b""]


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (one(kinds.GET, 0), ResultCode.NOT_FOUND),
        (one(kinds.REPLACE, 0, value=b"v", op=1), ResultCode.NOT_FOUND),
        (one(kinds.DELETE, 0, op=1), ResultCode.NOT_FOUND),
        (one(kinds.COMPARE_AND_SET, 0, op=1, expected=5), ResultCode.VERSION_MISMATCH),
        # Nothing has no version: what is not there is written by PUT_IF_ABSENT alone.
        (one(kinds.COMPARE_AND_SET, 0, op=1, expected=0), ResultCode.VERSION_MISMATCH),
        (one(kinds.DELETE_IF_VERSION, 0, op=1, expected=0), ResultCode.VERSION_MISMATCH),
        (one(kinds.GET, 0, target="nowhere"), ResultCode.UNKNOWN_SPACE),
        (one(kinds.PUT, 0, op=1, target="nowhere"), ResultCode.UNKNOWN_SPACE),
        (one(kinds.CALL, 0, op=1, target="nothing"), ResultCode.UNKNOWN_COMMAND),
        (one(kinds.CALL, 0, op=1, target="fail"), ResultCode.COMMAND_FAILED),
        (one(kinds.GET, 3, target="default"), ResultCode.OK),
    ],
)
def test_answers_without_effect(cluster: Cluster, batch: Batch, code: ResultCode) -> None:
    cluster.run(3, one(kinds.PUT, 3, value=b"x", op=99))
    assert cluster.run(batch.partitions[0], batch).codes[0] == code


def test_conditions_look_at_the_entry(cluster: Cluster) -> None:
    put = cluster.run(0, one(kinds.PUT_IF_ABSENT, 0, value=b"1", op=1))
    assert put.codes[0] == ResultCode.OK
    assert cluster.run(0, one(kinds.PUT_IF_ABSENT, 0, op=2)).codes[0] == ResultCode.EXISTS
    version = put.versions[0]
    swapped = cluster.run(0, one(kinds.COMPARE_AND_SET, 0, value=b"2", op=3, expected=version))
    assert swapped.codes[0] == ResultCode.OK
    stale = cluster.run(0, one(kinds.DELETE_IF_VERSION, 0, op=4, expected=version))
    assert (stale.codes[0], stale.versions[0]) == (
        ResultCode.VERSION_MISMATCH,
        swapped.versions[0],
    )
    assert cluster.run(0, one(kinds.DELETE, 0, op=5)).codes[0] == ResultCode.OK
    assert cluster.run(0, one(kinds.CONTAINS, 0)).codes[0] == ResultCode.NOT_FOUND


def test_an_entry_past_its_deadline_is_removed_by_a_record(cluster: Cluster) -> None:
    cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1, target="brief"))
    cluster.clock.seconds += 2
    assert cluster.run(0, one(kinds.GET, 0, target="brief")).codes[0] == ResultCode.NOT_FOUND
    assert cluster.units["b#2"].replicas[0].spaces["brief"] == {}


def test_bulk_reads_tell_what_there_is(cluster: Cluster) -> None:
    before = cluster.primary(0).replicas[0].journal.last
    bulk = Bulk(kinds.PUT, "default", [0], [2], [1], [b"a", b"c"], [b"1", b"3"])
    written = cluster.run(0, bulk_batch(bulk))
    assert written.bulk is not None
    assert written.bulk.versions == [before + 1]
    get = Bulk(kinds.GET, "default", [0], [3], [], [b"a", b"x", b"c"], [])
    read = cluster.run(0, bulk_batch(get))
    assert read.bulk is not None
    assert read.bulk.values == [b"1", b"", b"3"]
    assert read.bulk.versions == [before + 1, 0, before + 1]


def bulk_batch(bulk: Bulk) -> Batch:
    return Batch(7, 0, b"", [], [], None, [], None, None, deadline=1e9, bulk=bulk)


def test_a_primary_in_doubt_about_a_shrink_commits_only_with_the_old_set(cluster: Cluster) -> None:
    unit = cluster.primary(0)
    cluster.dead.add("b#2")
    pending = unit.submit(one(kinds.PUT, 0, value=b"v", op=1))
    unit.renewed(cluster.clock.now() + 60)
    for _ in range(8):
        cluster.clock.seconds += 0.3
        unit.tick()
    (swap,) = [swap for swap in unit.take_swaps() if swap.partition == 0]
    assert swap.purpose is Purpose.SHRINK
    unit.swapped(SwapResult(swap, SwapOutcome.IN_DOUBT))
    assert not pending.done
    unit.tick()
    (resolve,) = [swap for swap in unit.take_swaps() if swap.partition == 0]
    assert resolve.purpose is Purpose.RESOLVE
    assert resolve.config == cluster.table[0].config
    unit.swapped(SwapResult(resolve, SwapOutcome.LOST, cluster.set(0, swap.config)))
    assert pending.done
    assert pending.copies[0] == 1


def test_a_cold_partition_serves_only_after_its_load_is_noted(cluster: Cluster) -> None:
    cold = PartitionConfig(9, "a#1", ("a#1", "b#2"), load=True)
    cluster.set(0, cold)
    cluster.publish()
    unit = cluster.units["a#1"]
    assert unit.submit(one(kinds.GET, 0)).codes[0] == ResultCode.NOT_READY
    stored = Partition(0)
    stored.spaces["default"] = {b"k": Entry(b"stored", 5, 0)}
    stored.begin_at(cursor=7, epoch=8, sessions_before=3)
    unit.loaded(0, stored)
    cluster.settle()
    cluster.tick()
    assert Purpose.LOADED in cluster.purposes
    assert not cluster.table[0].config.load
    read = cluster.run(0, one(kinds.GET, 0))
    assert (read.values, read.versions) == ([b"stored"], [5])
    put = cluster.run(0, one(kinds.PUT, 0, value=b"v", op=1))
    assert put.versions[0] == 9
    assert cluster.units["b#2"].replicas[0].digest() == unit.replicas[0].digest()
    late = one(kinds.PUT, 0, value=b"late", op=1)
    late.session = 2
    assert cluster.run(0, late).codes[0] == ResultCode.SESSION_EXPIRED
