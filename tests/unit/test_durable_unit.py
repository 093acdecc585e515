"""A unit that waits for its disk, and what it does with what it found there."""

from __future__ import annotations

from tupelo_grid.core.batch import PUT
from tupelo_grid.core.durable import DurableUnit
from tupelo_grid.core.frames import Frame
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.rejoin import Place
from tupelo_grid.core.table import PartitionConfig, PartitionState, Versioned

from tests.unit.test_core_unit import SPACES, CountingCommands, FakeClock, one

EARLIER = Place("a#7", ("a#1",))


def unit(*recovered: Partition, place: Place = EARLIER) -> DurableUnit:
    found = {held.number: held for held in recovered}
    made = DurableUnit(place, found, FakeClock(), Limits(), CountingCommands(), SPACES)
    made.renewed(200.0)
    return made


def found(number: int, records: int = 3) -> Partition:
    partition = Partition(number)
    for count in range(records):
        partition.append((1, 9, count, 0, None, (("default", b"k%d" % count, b"v", 0),)), 1)
    return partition


def table(config: PartitionConfig, revision: int = 2) -> dict[int, Versioned]:
    return {0: Versioned(config, revision)}


def write(durable: DurableUnit) -> None:
    batch = durable.disk.collect()
    if batch is not None:
        durable.synced(durable.disk.done(batch))


def test_a_primary_answers_when_its_own_disk_has_the_record() -> None:
    alone = unit()
    alone.set_table(table(PartitionConfig(1, "a#7", ("a#7",))))
    assert not alone.serving, "its first record is not on disk"
    write(alone)
    assert 0 in alone.serving
    pending = alone.submit(one(PUT, 0, value=b"v", op=1))
    assert not pending.done
    write(alone)
    assert pending.done
    assert alone.answers.completed == [pending]


def test_a_full_disk_refuses_writes_and_says_why() -> None:
    alone = unit()
    alone.set_table(table(PartitionConfig(1, "a#7", ("a#7",))))
    write(alone)
    alone.disk.trouble = "the disk is full"
    alone.tick()
    pending = alone.submit(one(PUT, 0, value=b"v", op=1))
    assert pending.done
    assert pending.errors[0].message == "the disk is full"
    alone.disk.trouble = ""
    alone.tick()
    assert not alone.submit(one(PUT, 0, value=b"v", op=2)).done


def test_what_was_found_is_used_when_the_table_names_this_incarnation() -> None:
    back = unit(found(0))
    lost = PartitionConfig(1, "", ("a#1",), state=PartitionState.LOST)
    back.set_table(table(lost))
    assert not back.replicas
    assert back.ends() == {0: (1, 3)}
    back.set_table(table(PartitionConfig(2, "a#7", ("a#7",)), 3))
    assert not back.recovered
    write(back)
    assert back.serving[0].partition.journal.last == 4, "what there was, and the new epoch's first"


def test_what_was_found_goes_when_nobody_who_wrote_it_is_a_member() -> None:
    back = unit(found(0))
    back.set_table(table(PartitionConfig(3, "b#1", ("b#1",), learner="a#7")))
    assert not back.recovered
    assert back.replicas[0].journal.last == 0, "it begins anew as a learner"


def test_nothing_is_begun_beside_what_waits_for_its_place() -> None:
    back = unit(found(0))
    back.set_table(table(PartitionConfig(3, "b#1", ("b#1", "a#1"), learner="a#7")))
    assert list(back.recovered) == [0]
    assert not back.replicas
    assert back.disk.collect() is None, "what is on disk stays as it is"


def test_a_primary_is_refused_until_it_is_known_what_becomes_of_what_was_found() -> None:
    back = unit(found(0))
    frame = Frame("b#1", "a#7", 1, 1, probes=[(0, 3, 2)])
    ack = back.receive(frame)
    assert ack is not None
    assert [one.refused for one in ack.positions] == [True]
    back.set_table(table(PartitionConfig(3, "b#1", ("b#1", "a#7")), 3))
    ack = back.receive(Frame("b#1", "a#7", 1, 2, probes=[(0, 3, 3)]))
    assert ack is not None
    assert [(one.refused, one.last) for one in ack.positions] == [(False, 3)]
