"""Rows of the store against a partition that serves: what is newer in memory stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.loads import LOAD_ENTRIES_MAX, Fence, Fit, Found, Loads, Taken
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import LOAD, mutation_count, mutations_of
from tupelo_grid.core.table import PartitionConfig
from tupelo_grid.core.unit import Unit

from tests.unit.test_core_unit import Cluster, one

ROW: Found = (b"row", 0)


class Rig:
    """Partition 0 of a cluster of two, and the loads of its primary."""

    def __init__(self) -> None:
        self.cluster = Cluster(["a#1", "b#2"])
        self.op = 0
        self.loads = Loads(self.unit)

    @property
    def unit(self) -> Unit:
        return self.cluster.primary(0)

    @property
    def partition(self) -> Partition:
        return self.unit.replicas[0]

    def put(self, key: bytes, value: bytes = b"v") -> int:
        self.op += 1
        pending = self.cluster.run(0, one(kinds.PUT, 0, key, value, op=self.op))
        return pending.versions[0]

    def delete(self, key: bytes) -> None:
        self.op += 1
        self.cluster.run(0, one(kinds.DELETE, 0, key, op=self.op))

    def get(self, key: bytes) -> bytes | None:
        pending = self.cluster.run(0, one(kinds.GET, 0, key))
        assert pending.done
        return None if pending.codes[0] else pending.values[0]

    def fence(self) -> Fence:
        """The store has everything that was committed."""
        return Fence(1, self.partition.commit)

    def stored(self) -> None:
        self.partition.persisted = self.partition.commit

    def take(self, fence: Fence, rows: dict[bytes, Found | None], **more: object) -> Taken:
        taken = self.loads.take(0, fence, "default", rows, **more)  # type: ignore[arg-type]
        self.cluster.settle()
        return taken


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_row_of_a_missing_key_becomes_an_entry_on_every_replica(rig: Rig) -> None:
    rig.put(b"other")
    assert rig.take(rig.fence(), {b"k": ROW, b"absent": None}).added == 1
    assert rig.get(b"k") == b"row"
    for unit in rig.cluster.units.values():
        entry = unit.replicas[0].spaces["default"][b"k"]
        assert (entry.value, entry.version) == (b"row", unit.replicas[0].journal.last)
        assert unit.replicas[0].journal.at(entry.version)[0] == LOAD
    a, b = (unit.replicas[0].digest() for unit in rig.cluster.units.values())
    assert a == b


def test_nobody_reads_a_row_before_its_record_is_committed(rig: Rig) -> None:
    rig.loads.take(0, rig.fence(), "default", {b"k": ROW})
    pending = rig.unit.submit(one(kinds.GET, 0, b"k"))
    assert not pending.done
    rig.cluster.settle()
    assert pending.done
    assert pending.values[0] == b"row"


@pytest.mark.parametrize("replace", [False, True])
def test_what_was_written_since_stays(rig: Rig, replace: bool) -> None:
    before = rig.fence()
    rig.put(b"k", b"newer")
    assert rig.take(before, {b"k": ROW}, replace=replace).newer == 1
    assert rig.get(b"k") == b"newer"


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_what_was_removed_since_does_not_come_back(rig: Rig, replace: bool, stored: bool) -> None:
    rig.put(b"k")
    before = rig.fence()
    rig.delete(b"k")
    if stored:
        # The store has the removal by now; the row was read before.
        rig.stored()
    assert rig.take(before, {b"k": ROW}, replace=replace).newer == 1
    assert rig.get(b"k") is None


def test_written_and_removed_while_the_row_was_read(rig: Rig) -> None:
    before = rig.fence()
    rig.put(b"k")
    rig.delete(b"k")
    rig.stored()
    assert rig.take(before, {b"k": ROW}).newer == 1
    assert rig.get(b"k") is None
    # The same row, read again after the store had it all, is somebody else's.
    assert rig.take(rig.fence(), {b"k": ROW}).added == 1


def test_a_journal_trimmed_beyond_the_cursor_cannot_tell(rig: Rig) -> None:
    before = rig.fence()
    rig.put(b"k")
    rig.delete(b"k")
    for _ in range(100):
        rig.put(b"other")
    rig.stored()
    rig.partition.journal.trim(rig.partition.commit)
    assert rig.partition.journal.base > before.cursor
    assert rig.take(before, {b"k": ROW}).fit is Fit.AGAIN
    assert rig.get(b"k") is None


def test_a_removal_that_the_store_lacks_needs_no_store(rig: Rig) -> None:
    rig.put(b"k")
    assert not rig.loads.missing(0, "default", b"k")
    rig.delete(b"k")
    assert not rig.loads.missing(0, "default", b"k")
    rig.stored()
    assert rig.loads.missing(0, "default", b"k")
    assert not rig.loads.missing(1, "default", b"k")  # b's


def test_removals_are_forgotten_with_the_journal(rig: Rig) -> None:
    for n in range(200):
        rig.put(b"%d" % n)
        rig.delete(b"%d" % n)
    rig.loads.missing(0, "default", b"0")
    removals = rig.loads._removals[0][1]
    assert len(removals._newest) == 200
    rig.stored()
    rig.partition.journal.trim(rig.partition.commit)
    rig.loads.missing(0, "default", b"0")
    assert (len(removals._newest), len(removals._order)) == (0, 0)


def test_a_refresh_takes_what_others_changed_and_removed(rig: Rig) -> None:
    for key in (b"same", b"changed", b"gone"):
        rig.put(key, b"row")
    unstored = {b"later": ROW}
    fence = rig.fence()
    rig.put(b"later", b"newer")
    rows = {b"same": ROW, b"changed": (b"theirs", 0), b"gone": None, b"new": ROW, **unstored}
    taken = rig.take(fence, rows, replace=True)
    assert (taken.same, taken.changed, taken.removed, taken.added, taken.newer) == (1, 1, 1, 1, 1)
    assert [rig.get(k) for k in (b"same", b"changed", b"gone", b"new", b"later")] == [
        b"row",
        b"theirs",
        None,
        b"row",
        b"newer",
    ]


def test_a_dead_letter_s_entry_is_not_replaced_by_the_older_row(rig: Rig) -> None:
    rig.put(b"k", b"refused")
    rig.put(b"j", b"refused")
    taken = rig.take(rig.fence(), {b"k": ROW, b"j": None}, replace=True, dead={b"k", b"j"})
    assert taken.dead == 2
    assert rig.get(b"k") == rig.get(b"j") == b"refused"


def test_only_the_primary_takes_rows_and_only_of_its_own_time(rig: Rig) -> None:
    fence = rig.fence()
    assert rig.take(Fence(2, fence.cursor), {b"k": ROW}).fit is Fit.ELSEWHERE
    assert rig.take(Fence(1, fence.cursor + 1), {b"k": ROW}).fit is Fit.AHEAD
    old = rig.loads
    config = rig.cluster.table[0].config
    rig.cluster.set(0, PartitionConfig(2, "b#2", config.in_sync))
    rig.cluster.publish()
    assert old.take(0, fence, "default", {b"k": ROW}).fit is Fit.ELSEWHERE
    # The successor may take what its predecessor's cursor was told with.
    rig.loads = Loads(rig.unit)
    assert rig.take(fence, {b"k": ROW}).added == 1
    assert rig.get(b"k") == b"row"


def test_a_removal_before_a_fail_over_counts_after_it(rig: Rig) -> None:
    rig.put(b"k")
    before = rig.fence()
    rig.delete(b"k")
    rig.cluster.dead.add("a#1")
    rig.cluster.set(0, PartitionConfig(2, "b#2", ("b#2",)))
    rig.cluster.publish()
    rig.loads = Loads(rig.unit)
    assert not rig.loads.missing(0, "default", b"k")
    assert rig.take(before, {b"k": ROW}).newer == 1
    assert rig.get(b"k") is None


def test_many_rows_are_records_of_bounded_size(rig: Rig) -> None:
    last = rig.partition.journal.last
    rows: dict[bytes, Found | None] = {b"%d" % n: ROW for n in range(2 * LOAD_ENTRIES_MAX + 1)}
    rows |= {b"big%d" % n: (bytes(600_000), 0) for n in range(4)}
    assert rig.take(rig.fence(), rows).added == len(rows)
    partition = rig.partition
    sizes = [
        (mutation_count(record), sum(len(m[2] or b"") for m in mutations_of(record)))
        for record in partition.journal.read(last, 100)
    ]
    assert [count for count, _ in sizes] == [500, 500, 3, 2]
    assert all(size < 2_000_000 for _, size in sizes)


def test_an_entry_whose_row_was_due_is_removed_by_a_record(rig: Rig) -> None:
    due: Callable[[], int] = lambda: rig.cluster.clock.wall_ms() - 1  # noqa: E731
    rig.take(rig.fence(), {b"k": (b"row", due())})
    assert rig.get(b"k") is None
    [removal] = mutations_of(rig.partition.journal.at(rig.partition.journal.last))
    assert removal[2] is None
