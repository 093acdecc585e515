"""Journals that are full while the store is away: what goes to files, and who reads it back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tupelo.errors import ResultCode
from tupelo_grid.core import batch as kinds
from tupelo_grid.core import spill as core_spill
from tupelo_grid.core.batch import Batch, Bulk, Pending
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.records import Record
from tupelo_grid.core.spill import Spill
from tupelo_grid.core.spilling_unit import SpillingUnit
from tupelo_grid.core.table import PartitionConfig
from tupelo_grid.core.tail import decode_records, encode_records

from tests.unit.test_core_unit import Cluster, CountingCommands, one

BOUND = 20_000
VALUE = b"v" * 260  # 501 bytes a record, with its key
SPACES = {"default": 0, "kept": 0}


class Files:
    """Does what a unit's spill wants, when told to."""

    def __init__(self, spill: Spill) -> None:
        self.spill = spill
        self.held: dict[int, bytes] = {}
        self.last = 0
        self.reads = 0
        self.error = ""

    def write(self, most: int = 1000) -> int:
        """How many extents were written."""
        count = 0
        while count < most and (writes := self.spill.collect()):
            if self.error:
                self.spill.not_written(writes, self.error)
                return count
            for write in writes:
                payload = write.extent.payload
                data = encode_records(write.records) if payload is None else payload
                self.last += 1
                self.held[self.last] = data
                self.spill.written(write, self.last, len(data))
                count += 1
        for file in self.spill.take_deletes():
            del self.held[file]
        return count

    def read(self) -> None:
        for read in self.spill.take_reads():
            self.reads += 1
            payload = read.extent.payload
            found = self.held[read.extent.file] if payload is None else payload
            if read.ready is not None:
                self.spill.fetched(read, found)
            else:
                self.spill.decoded(read, decode_records(found))


class Spilling(Cluster):
    """Three units whose space "default" spills, and "kept" does not."""

    def __init__(self, bytes_max: int = 1 << 30) -> None:
        self.files: dict[str, Files] = {}
        self._bytes_max = bytes_max
        super().__init__(["a#1", "b#2", "c#3"], partitions=1)

    def make(self, name: str) -> SpillingUnit:
        limits = Limits(journal_bytes_max=BOUND)
        unit = SpillingUnit(name, self.clock, limits, CountingCommands(), SPACES, self._bytes_max)
        unit.spill.spaces = frozenset({"default"})
        self.files[name] = Files(unit.spill)
        return unit

    def held(self, name: str) -> Partition:
        return self.units[name].replicas[0]

    def put(self, op: int, target: str = "default", value: bytes = VALUE) -> Pending:
        key = b"k%d" % (op % 40)
        return self.run(0, one(kinds.PUT, 0, key=key, value=value, op=op, target=target))

    def turn(self) -> None:
        """Two ticks with the files in between, so that memory lets go of what was written."""
        self.tick()
        for files in self.files.values():
            files.write()
            files.read()
        self.settle()
        self.tick()

    def fill(self, first: int, last: int) -> None:
        for op in range(first, last):
            assert self.put(op).codes[0] == 0, f"put {op} was refused: {self.put(op).errors}"
            if op % 5 == 0:
                self.turn()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_spill, "EXTENT_BYTES", 2000)


@pytest.fixture
def cluster() -> Spilling:
    return Spilling()


def stored(cluster: Spilling, name: str, after: int) -> Iterator[tuple[int, Record]]:
    """As the pump reads: again where nothing was there yet."""
    source = UnitPumpSource(cluster.units[name])
    while after < source.committed(0):
        found = source.read(0, after, 7)
        if not found:
            cluster.turn()
            cluster.files[name].read()
            found = source.read(0, after, 7)
            assert found, f"nothing behind {after}"
        yield from found
        after = found[-1][0]


def test_a_space_that_spills_goes_on_and_another_is_refused(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    for name in ("a#1", "b#2"):
        held = cluster.held(name)
        assert held.journal.bytes <= BOUND, "memory is bounded, also that of the backup"
        assert held.spilled is not None
        held.validate()
    refused = cluster.put(200, target="kept")
    assert refused.codes[0] == ResultCode.OVERLOADED
    assert "in files" in refused.errors[0].message
    assert cluster.put(201).codes[0] == 0


def test_without_such_a_space_nothing_goes_to_files(cluster: Spilling) -> None:
    for unit in cluster.units.values():
        assert isinstance(unit, SpillingUnit)
        unit.spill.spaces = frozenset()
    for op in range(1, 100):
        cluster.put(op)
        cluster.turn()
    assert cluster.put(200).codes[0] == ResultCode.OVERLOADED
    assert not any(files.last for files in cluster.files.values())


def test_a_command_and_a_bulk_write_count_by_what_they_write(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    assert cluster.run(0, one(kinds.CALL, 0, op=200, target="add")).codes[0] == 0
    for target, op, code in (("kept", 201, ResultCode.OVERLOADED), ("default", 202, 0)):
        bulk = Bulk(kinds.PUT, target, [0], [1], [op], [b"b"], [b"v"])
        batch = Batch(7, 0, b"", [], [], None, [], None, None, bulk=bulk, deadline=1e9)
        outcome = cluster.run(0, batch).bulk
        assert outcome is not None
        assert outcome.codes[0] == code
    for unit in cluster.units.values():
        assert isinstance(unit, SpillingUnit)
        unit.spill.spaces = frozenset({"kept"})
    cluster.tick()
    refused = cluster.run(0, one(kinds.CALL, 0, op=203, target="add"))
    assert refused.codes[0] == ResultCode.OVERLOADED
    before = cluster.held("a#1").journal.last
    assert cluster.held("a#1").journal.last == before, "it left a record"


def test_memory_keeps_a_record_until_a_file_holds_it(cluster: Spilling) -> None:
    for op in range(1, 35):
        cluster.put(op)
    cluster.tick()
    files, held = cluster.files["a#1"], cluster.held("a#1")
    writes = files.spill.collect()
    assert writes
    cluster.tick()
    assert held.journal.base == 0, "nothing is in a file yet"
    files.spill.not_written(writes, "no room")
    cluster.tick()
    assert held.journal.base == 0
    assert files.write() > 0
    cluster.tick()
    assert held.spilled is not None
    assert held.journal.base == held.spilled.through > 0


def test_what_is_not_committed_stays_in_memory(cluster: Spilling) -> None:
    cluster.put(1)
    unit = cluster.units["a#1"]
    for op in range(2, 40):
        unit.submit(one(kinds.PUT, 0, value=VALUE, op=op))
    unit.tick()
    files = cluster.files["a#1"]
    files.write()
    held = cluster.held("a#1")
    assert held.spilled is None or held.spilled.through <= held.commit == 2
    held.validate()


def test_the_pump_reads_everything_in_order_with_little_in_memory(
    cluster: Spilling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_spill, "READ_BYTES_MAX", 4500)
    cluster.fill(1, 120)
    sequences = []
    source = UnitPumpSource(cluster.units["a#1"])
    spill = cluster.files["a#1"].spill
    for sequence, record in stored(cluster, "a#1", 0):
        sequences.append(sequence)
        if record[1]:
            assert record[5][0][1] == b"k%d" % (record[2] % 40)
        assert sum(extent.size for extent in spill._read) <= 4500
        source.persisted(0, 1, sequence)
    assert sequences == list(range(1, cluster.held("a#1").commit + 1))


def test_only_what_the_store_has_lets_files_go(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    source = UnitPumpSource(cluster.units["a#1"])
    held, files = cluster.held("a#1"), cluster.files["a#1"]
    assert held.spilled is not None
    second = held.spilled.extents[1]
    before = len(files.held)
    source.persisted(0, 1, second.through - 1)
    cluster.turn()
    assert len(files.held) == before - 1
    assert source.base(0) == second.after
    source.persisted(0, 1, held.commit)
    cluster.turn()
    cluster.turn()
    for name in ("a#1", "b#2"):
        assert cluster.held(name).spilled is None
        assert cluster.files[name].held == {}
        assert cluster.files[name].spill.bytes == 0
    assert cluster.put(300, target="kept").codes[0] == 0


@pytest.mark.parametrize("who", ["a#1", "b#2"])
def test_a_disk_that_takes_nothing_stops_writes_with_its_words(cluster: Spilling, who: str) -> None:
    """Of the primary, or of its backup."""
    cluster.fill(1, 60)
    cluster.files[who].error = "disk: No space left on device"
    codes = []
    for op in range(60, 200):
        codes.append(cluster.put(op).codes[0])
        cluster.turn()
    assert codes[-1] == ResultCode.OVERLOADED
    assert max(cluster.held(n).journal.bytes for n in ("a#1", "b#2")) < 1.2 * BOUND
    assert "No space left" in cluster.put(300).errors[0].message
    cluster.files[who].error = ""
    cluster.turn()
    cluster.turn()
    assert cluster.put(301).codes[0] == 0
    assert [n for n, _ in stored(cluster, "a#1", 0)] == list(
        range(1, cluster.held("a#1").commit + 1)
    )


def test_above_spill_bytes_max_writes_are_refused_and_nothing_is_lost() -> None:
    cluster = Spilling(bytes_max=10_000)
    codes = []
    for op in range(1, 200):
        codes.append(cluster.put(op).codes[0])
        cluster.turn()
    assert codes[-1] == ResultCode.OVERLOADED
    assert "spill_bytes_max=10000" in cluster.put(300).errors[0].message
    assert cluster.files["a#1"].spill.bytes < 20_000
    acknowledged = [op for op, code in enumerate(codes, 1) if code == 0]
    found = [record[2] for _, record in stored(cluster, "a#1", 0) if record[1]]
    assert found == acknowledged


def test_a_backup_that_takes_over_feeds_the_pump_from_its_own_files(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    commit = cluster.held("b#2").commit
    cluster.dead.add("a#1")
    config = cluster.table[0].config
    cluster.set(0, PartitionConfig(config.epoch + 1, "b#2", config.in_sync))
    cluster.publish()
    cluster.clock.seconds += 3
    cluster.tick()
    found = list(stored(cluster, "b#2", 0))
    assert [sequence for sequence, _ in found][:commit] == list(range(1, commit + 1))
    assert [record[2] for _, record in found if record[1]] == list(range(1, 100))


def join(cluster: Spilling) -> None:
    config = cluster.table[0].config
    cluster.set(0, PartitionConfig(config.epoch, config.primary, config.in_sync, learner="c#3"))
    cluster.publish()


def test_a_learner_gets_what_is_in_files_a_piece_at_a_time(
    cluster: Spilling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_spill, "INCOMING_BYTES_MAX", 3000)
    cluster.fill(1, 120)
    tail = cluster.held("a#1").spilled
    assert tail is not None
    extents = len(tail.extents)
    assert extents > 10
    join(cluster)
    waiting = []
    for _ in range(3 * extents):
        cluster.files["a#1"].read()
        cluster.settle()
        if "c#3" in cluster.table[0].config.in_sync:
            break
        waiting.append(sum(extent.size for extent in cluster.files["c#3"].spill._incoming))
        cluster.files["c#3"].write()
        cluster.tick()
    assert "c#3" in cluster.table[0].config.in_sync
    assert max(waiting) < 3000 + 2 * 2600, "received, and in no file"
    learner = cluster.held("c#3")
    assert learner.digest() == cluster.held("a#1").digest()
    learner.validate()
    assert learner.journal_after == 0
    ours = [record for _, record in stored(cluster, "a#1", 0)]
    cluster.dead |= {"a#1", "b#2"}
    cluster.set(0, PartitionConfig(2, "c#3", ("a#1", "b#2", "c#3")))
    cluster.publish()
    cluster.clock.seconds += 3
    cluster.tick()
    theirs = [record for _, record in stored(cluster, "c#3", 0)]
    assert theirs[: len(ours)] == ours


def test_a_learner_whose_disk_is_full_waits_and_joins_when_there_is_room(
    cluster: Spilling,
) -> None:
    cluster.fill(1, 100)
    cluster.files["c#3"].error = "no room"
    join(cluster)
    for _ in range(60):
        cluster.turn()
    assert "c#3" not in cluster.table[0].config.in_sync
    assert sum(extent.size for extent in cluster.files["c#3"].spill._incoming) < 8000
    cluster.files["c#3"].error = ""
    for _ in range(200):
        cluster.turn()
    assert "c#3" in cluster.table[0].config.in_sync
    assert cluster.held("c#3").digest() == cluster.held("a#1").digest()


def test_a_learner_that_is_full_joins_when_the_store_has_what_fills_it(cluster: Spilling) -> None:
    """Nobody else tells it that it may let go: it follows no journal yet."""
    cluster.fill(1, 100)
    cluster.files["c#3"].spill.bytes_max = 5000
    join(cluster)
    for _ in range(60):
        cluster.turn()
    assert "spill_bytes_max" in cluster.files["c#3"].spill.trouble
    assert "c#3" not in cluster.table[0].config.in_sync
    source = UnitPumpSource(cluster.units["a#1"])
    held = cluster.held("a#1")
    assert held.spilled is not None
    for stored_through in (held.spilled.extents[-2].after, held.commit):
        source.persisted(0, 1, stored_through)
        for _ in range(10):
            cluster.turn()
        assert "c#3" in cluster.table[0].config.in_sync
        cluster.held("c#3").validate()


def test_what_is_stored_while_a_learner_is_sent_it_is_left_out(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    join(cluster)
    for _ in range(4):
        cluster.turn()
    tail = cluster.held("a#1").spilled
    assert tail is not None
    UnitPumpSource(cluster.units["a#1"]).persisted(0, 1, tail.extents[-2].through)
    for _ in range(40):
        cluster.turn()
    assert "c#3" in cluster.table[0].config.in_sync
    learner = cluster.held("c#3")
    learner.validate()
    assert learner.journal_after <= learner.persisted


def test_files_of_a_replica_that_is_dropped_go(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    assert cluster.files["b#2"].held
    config = cluster.table[0].config
    cluster.set(0, PartitionConfig(config.epoch, "a#1", ("a#1",)))
    cluster.publish()
    cluster.turn()
    assert 0 not in cluster.units["b#2"].replicas
    assert cluster.files["b#2"].held == {}
