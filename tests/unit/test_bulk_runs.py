"""Groups of bulk writes that become one record, and those that may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tupelo.errors import ResultCode
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk, Pending
from tupelo_grid.core.bulk_runs import JOINT_ENTRIES_MAX, Run, runs
from tupelo_grid.core.records import JOINT, WRITE

from tests.unit.test_core_unit import Cluster

Groups = list[tuple[int, int, list[bytes]]]
"""(partition, operation number, keys)"""


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(["a#1", "b#2", "c#3"])


def bulk_of(groups: Groups, kind: int = kinds.PUT, mark: bytes = b"v") -> Bulk:
    keys = [key for _, _, some in groups for key in some]
    return Bulk(
        kind,
        "default",
        partitions=[partition for partition, _, _ in groups],
        counts=[len(some) for _, _, some in groups],
        op_numbers=[number for _, number, _ in groups] if kind != kinds.GET else [],
        keys=keys,
        values=[mark + key for key in keys] if kind == kinds.PUT else [],
    )


def batch_of(bulk: Bulk, floor: int = 0) -> Batch:
    return Batch(7, floor, b"", [], [], None, [], None, None, deadline=1e9, bulk=bulk)


def written(cluster: Cluster, groups: Groups, mark: bytes = b"v", floor: int = 0) -> list[int]:
    """The versions of the groups, all of which must have been carried out."""
    pending = cluster.run(0, batch_of(bulk_of(groups, mark=mark), floor))
    assert pending.done
    assert pending.bulk is not None
    assert not any(pending.bulk.codes), pending.errors
    return pending.bulk.versions


def last_of(cluster: Cluster) -> int:
    return cluster.primary(0).replicas[0].journal.last


def test_groups_of_one_partition_are_one_record_on_every_replica(cluster: Cluster) -> None:
    before = last_of(cluster)
    versions = written(cluster, [(0, 1, [b"a", b"b"]), (0, 2, [b"c"]), (0, 3, [b"d"])])
    assert versions == [before + 1] * 3
    for name in ("a#1", "b#2"):
        held = cluster.units[name].replicas[0]
        assert held.journal.at(before + 1)[0] == JOINT
        entries = held.spaces["default"]
        assert {key: entry.value for key, entry in entries.items()} == {
            key: b"v" + key for key in (b"a", b"b", b"c", b"d")
        }
        assert {entry.version for entry in entries.values()} == {before + 1}


def test_one_group_is_a_write_as_any_other(cluster: Cluster) -> None:
    [version] = written(cluster, [(0, 1, [b"a", b"b"])])
    assert cluster.primary(0).replicas[0].journal.at(version)[0] == WRITE


def test_each_operation_is_recognised_when_it_is_repeated_alone(cluster: Cluster) -> None:
    first = written(cluster, [(0, 1, [b"a"]), (0, 2, [b"b"]), (0, 3, [b"c"])])
    last = last_of(cluster)
    assert written(cluster, [(0, 2, [b"b"])], mark=b"again") == first[:1]
    assert written(cluster, [(0, 3, [b"c"]), (0, 1, [b"a"])], mark=b"again") == first[:2]
    assert last_of(cluster) == last
    cluster.dead.add("a#1")
    cluster.set(0, cluster.table[0].config.__class__(2, "b#2", ("b#2",)))
    cluster.publish()
    assert written(cluster, [(0, 2, [b"b"]), (0, 1, [b"a"])], mark=b"again") == first[:2]
    assert cluster.primary(0).replicas[0].spaces["default"][b"b"].value == b"vb"


def test_what_is_new_runs_beside_what_ran_before(cluster: Cluster) -> None:
    [first] = written(cluster, [(0, 1, [b"a"])])
    versions = written(cluster, [(0, 1, [b"a"]), (0, 2, [b"b"])], mark=b"again")
    assert versions == [first, first + 1]
    entries = cluster.primary(0).replicas[0].spaces["default"]
    assert (entries[b"a"].value, entries[b"b"].value) == (b"va", b"againb")


def test_an_operation_that_is_there_twice_runs_once(cluster: Cluster) -> None:
    before = last_of(cluster)
    assert written(cluster, [(0, 1, [b"a"]), (0, 1, [b"a"])]) == [before + 1] * 2
    assert last_of(cluster) == before + 1


def test_a_key_that_two_groups_write_has_a_version_for_each(cluster: Cluster) -> None:
    before = last_of(cluster)
    groups = [(0, 1, [b"a"]), (0, 2, [b"b"]), (0, 3, [b"a", b"c"]), (0, 4, [b"d"])]
    assert written(cluster, groups) == [before + 1, before + 1, before + 2, before + 2]


def test_operations_below_the_floor_are_refused_and_the_others_run(cluster: Cluster) -> None:
    written(cluster, [(0, 5, [b"a"])], floor=5)
    groups = [(0, 4, [b"b"]), (0, 6, [b"c"])]
    pending = cluster.run(0, batch_of(bulk_of(groups), floor=5))
    assert pending.bulk is not None
    assert list(pending.bulk.codes) == [ResultCode.STALE_TOKEN, 0]
    assert b"b" not in cluster.primary(0).replicas[0].spaces["default"]


def test_groups_that_are_found_wrong_are_refused_alone(cluster: Cluster) -> None:
    batch = batch_of(bulk_of([(0, 1, [b"a"]), (0, 2, [b"b"]), (0, 3, [b"c"])]))
    batch.faults = {1: (int(ResultCode.KEY_TOO_LARGE), "too large")}
    pending = cluster.run(0, batch)
    assert pending.bulk is not None
    assert list(pending.bulk.codes) == [0, ResultCode.KEY_TOO_LARGE, 0]
    assert sorted(cluster.primary(0).replicas[0].spaces["default"]) == [b"a", b"c"]


def test_a_partition_that_is_elsewhere_is_said_of_each_of_its_groups(cluster: Cluster) -> None:
    groups = [(1, 1, [b"a"]), (1, 2, [b"b"]), (0, 3, [b"c"])]
    pending: Pending = cluster.run(0, batch_of(bulk_of(groups)))
    assert pending.bulk is not None
    assert list(pending.bulk.codes) == [ResultCode.WRONG_OWNER] * 2 + [0]
    assert [error.index for error in pending.errors] == [0, 1]
    assert pending.stale


def test_a_record_is_bounded(cluster: Cluster) -> None:
    half = JOINT_ENTRIES_MAX // 2 + 1
    keys = [b"%d" % number for number in range(2 * half)]
    before = last_of(cluster)
    versions = written(cluster, [(0, 1, keys[:half]), (0, 2, keys[half:]), (0, 3, [b"x"])])
    assert versions == [before + 1, before + 2, before + 2]


GROUPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(1, 6),
        st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), min_size=1, max_size=3),
    ),
    max_size=12,
)


@given(GROUPS, st.booleans())
def test_runs_are_the_groups_in_their_order(groups: Groups, apart: bool) -> None:
    bulk = bulk_of(groups)
    found = list(runs(bulk, apart))
    assert [group for run in found for group in range(run.first, run.stop)] == list(
        range(len(groups))
    )
    end = 0
    for run in found:
        assert run.start == end
        end = run.end
        some = groups[run.first : run.stop]
        assert sum(len(keys) for _, _, keys in some) == run.end - run.start
        assert len({partition for partition, _, _ in some}) == 1
        if len(some) > 1:
            assert not apart
            keys = [key for _, _, group in some for key in group]
            assert len(set(keys)) == len(keys)
            assert len({number for _, number, _ in some}) == len(some)


def test_a_group_that_has_a_key_twice_stays_alone() -> None:
    groups: Groups = [(0, 1, [b"a"]), (0, 2, [b"b", b"b"]), (0, 3, [b"c"]), (0, 4, [b"d"])]
    found = runs(bulk_of(groups), apart=False)
    assert [(run.first, run.stop) for run in found] == [(0, 1), (1, 2), (2, 4)]
    twice = runs(bulk_of([groups[1], groups[2]]), apart=False)
    assert [(run.first, run.stop) for run in twice] == [(0, 1), (1, 2)]


def test_reads_of_one_partition_are_one_run() -> None:
    bulk = bulk_of([(0, 0, [b"a"]), (0, 0, [b"a"]), (1, 0, [b"c"])], kinds.GET)
    assert list(runs(bulk, apart=False)) == [Run(0, 2, 0, 2), Run(2, 3, 2, 3)]
