"""Journals that are full while the store is away: what goes to files, and who reads it back."""

from __future__ import annotations

import pytest
from tupelo.errors import ResultCode
from tupelo.schema import SpaceSchema, decode_schema, encode_schema
from tupelo_grid.core import batch as kinds
from tupelo_grid.core import spill as core_spill
from tupelo_grid.core.batch import Batch, Bulk
from tupelo_grid.core.journal import record_bytes
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.spilling_unit import SpillingUnit
from tupelo_grid.core.table import PartitionConfig

from tests.unit.spill_rig import BOUND, VALUE, Spilling, stored
from tests.unit.test_core_unit import one


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_spill, "EXTENT_BYTES", 2000)


@pytest.fixture
def cluster() -> Spilling:
    return Spilling()


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


def test_what_is_left_in_memory_is_counted_as_it_is(cluster: Spilling) -> None:
    """Small records go first, and large ones stay."""
    for op in range(1, 30):
        cluster.put(op)
    for op in range(30, 33):
        cluster.put(op, value=b"v" * 4000)
    cluster.tick()
    files, held = cluster.files["a#1"], cluster.held("a#1")
    for write in files.spill.collect()[:2]:
        files.spill.written(write, 1 + write.extent.after, 100)
    assert held.journal.base > 5
    records = held.journal.read(held.journal.base, 100)
    assert held.journal.bytes == sum(map(record_bytes, records))


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
            assert record[6] == b"k%d" % (record[2] % 40)
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


def test_files_of_a_replica_that_is_dropped_go(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    assert cluster.files["b#2"].held
    config = cluster.table[0].config
    cluster.set(0, PartitionConfig(config.epoch, "a#1", ("a#1",)))
    cluster.publish()
    cluster.turn()
    assert 0 not in cluster.units["b#2"].replicas
    assert cluster.files["b#2"].held == {}


def test_a_space_that_is_not_stored_has_nothing_to_spill() -> None:
    with pytest.raises(ValueError, match="nothing to spill"):
        SpaceSchema("s", persist=False, spill=True)
    schema = SpaceSchema("s", spill=True)
    assert decode_schema(encode_schema(schema)) == schema
    assert not decode_schema(b'{"name":"s"}').spill, "of a grid that knew no spilling"
