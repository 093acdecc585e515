"""`min_in_sync` holds for what is acknowledged, not only for what is begun."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tupelo.errors import ResultCode
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk, Pending

from tests.unit.test_core_unit import Cluster, one

UNKNOWN = int(ResultCode.OUTCOME_UNKNOWN)


def write(bulk: bool) -> Batch:
    if not bulk:
        return one(kinds.PUT, 0, value=b"v", op=1)
    batch = one(kinds.PUT, 0)
    batch.kinds, batch.partitions, batch.keys, batch.values = b"", [], [], []
    batch.op_numbers = None
    batch.bulk = Bulk(kinds.PUT, "default", [0], [1], [1], [b"k"], [b"v"])
    return batch


def codes(pending: Pending) -> list[int]:
    return list(pending.codes if pending.bulk is None else pending.bulk.codes)


@pytest.mark.parametrize("bulk", [False, True])
def test_a_write_whose_backup_dies_meanwhile_is_not_said_to_be_done(bulk: bool) -> None:
    cluster = Cluster(["a#1", "b#2", "c#3"], partitions=1)
    unit = cluster.units["a#1"]
    unit.minimums.follow({"default": 2}, unit.primaries.values())
    cluster.dead.add("b#2")
    first = unit.submit(write(bulk))
    assert not first.done
    cluster.publish()
    cluster.tick()
    assert cluster.table[0].config.in_sync == ("a#1",)
    assert codes(first) == [UNKNOWN], "one copy has it, two were asked for"
    assert "1 of the 2" in first.errors[0].message
    assert codes(cluster.run(0, write(bulk))) == [UNKNOWN], "nor is its repetition"

    cluster.set(0, replace(cluster.table[0].config, learner="c#3"))
    cluster.publish()
    for _ in range(4):
        cluster.tick()
    assert "c#3" in cluster.table[0].config.in_sync
    assert codes(cluster.run(0, write(bulk))) == [0]
    assert unit.replicas[0].spaces["default"][b"k"].value == b"v"
    assert unit.replicas[0].spaces["default"][b"k"].version == 2, "written once, after the no-op"


def test_other_spaces_of_the_partition_are_answered_as_ever() -> None:
    cluster = Cluster(["a#1", "b#2"], partitions=1)
    unit = cluster.units["a#1"]
    unit.minimums.follow({"strict": 2}, unit.primaries.values())
    cluster.dead.add("b#2")
    pending = unit.submit(write(bulk=False))
    cluster.publish()
    cluster.tick()
    assert codes(pending) == [0]
    assert list(pending.copies) == [1]


def adds(op: int) -> Batch:
    return one(kinds.CALL, 0, op=op, target="add")


@pytest.mark.parametrize("strict", ["strict", "default"])
def test_a_command_takes_what_the_spaces_take_that_it_wrote_to(strict: str) -> None:
    """`add` writes to "default"; another space of the partition is nothing to it."""
    cluster = Cluster(["a#1", "b#2"], partitions=1)
    unit = cluster.units["a#1"]
    before = cluster.run(0, adds(1))
    assert codes(before) == [0]
    unit.minimums.follow({strict: 2}, unit.primaries.values())
    cluster.dead.add("b#2")
    pending = unit.submit(adds(2))
    cluster.publish()
    cluster.tick()
    expected = UNKNOWN if strict == "default" else 0
    assert codes(pending) == [expected]
    again = cluster.run(0, adds(2))
    assert codes(again) == [expected]
    unit.minimums.follow({}, unit.primaries.values())
    first, second = cluster.run(0, adds(1)), cluster.run(0, adds(2))
    assert (first.values, first.versions) == (before.values, before.versions)
    assert second.versions[0] == before.versions[0] + 1, "its record's, as the first answer said"
