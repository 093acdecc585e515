"""Bulk writes of one frame as one batch, and their answers apart again."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BatchResult
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk, BulkOutcome, OpError, Pending
from tupelo_grid.transport.joining import Joined, join

Group = tuple[int, list[bytes]]
"""(partition, keys)"""


def batch_of(
    groups: Sequence[Group],
    first: int = 1,
    session: int = 7,
    space: str = "s",
    kind: int = kinds.PUT,
    ttl_ms: int = 0,
    floor: int = 0,
) -> Batch:
    """Its operations have the numbers from `first` on; the value of a key ends in its number."""
    bulk = Bulk(
        kind,
        space,
        [partition for partition, _ in groups],
        [len(keys) for _, keys in groups],
        list(range(first, first + len(groups))) if kind != kinds.GET else [],
        [key for _, keys in groups for key in keys],
        [b"%s=%d" % (key, n) for n, (_, keys) in enumerate(groups, first) for key in keys]
        if kind == kinds.PUT
        else [],
        ttl_ms,
    )
    return Batch(
        session, floor, b"", [], [], None, [], None, None, deadline=float(first), bulk=bulk
    )


def carried_out(batch: Batch) -> Pending:
    """As if each operation's version were its number, and each epoch its partition."""
    pending, bulk = Pending(batch), batch.bulk
    assert bulk is not None
    pending.bulk = BulkOutcome(
        bytearray(len(bulk.partitions)),
        list(bulk.op_numbers),
        [],
        list(bulk.partitions),
        bytearray(b"\x02" * len(bulk.partitions)),
    )
    return pending


def only(batches: Sequence[Batch | BatchResult]) -> Joined:
    [joined] = join(batches)
    assert isinstance(joined, Joined)
    return joined


def test_groups_of_one_partition_follow_one_another() -> None:
    joined = only([batch_of([(3, [b"a"]), (1, [b"b", b"c"])]), batch_of([(1, [b"d"])], first=9)])
    bulk = joined.batch.bulk
    assert bulk is not None
    assert (bulk.partitions, bulk.counts) == ([1, 1, 3], [2, 1, 1])
    assert bulk.op_numbers == [2, 9, 1]
    assert bulk.keys == [b"b", b"c", b"d", b"a"]
    assert bulk.values == [b"b=2", b"c=2", b"d=9", b"a=1"]


def test_each_has_its_own_answer_back() -> None:
    joined = only([batch_of([(3, [b"a"]), (1, [b"b"])]), batch_of([(1, [b"d"])], first=9)])
    pending = carried_out(joined.batch)
    assert pending.bulk is not None
    place = joined.batch.bulk.op_numbers.index(9) if joined.batch.bulk else -1
    pending.bulk.codes[place] = ResultCode.STALE_TOKEN
    pending.errors.append(OpError(place, int(ResultCode.STALE_TOKEN), "answered before"))
    first, second = joined.results(pending)
    assert list(first.bulk.versions) == [1, 2]
    assert list(first.bulk.epochs) == [3, 1]
    assert first.bulk.codes == b"\0\0"
    assert not first.errors
    assert list(second.bulk.versions) == [9]
    assert second.bulk.codes == bytes([ResultCode.STALE_TOKEN])
    assert list(second.error_ops) == [0]
    assert second.errors[0].message == "answered before"


def test_what_is_wrong_with_all_is_told_to_each() -> None:
    joined = only([batch_of([(3, [b"a"]), (1, [b"b"])]), batch_of([(2, [b"c"])], first=9)])
    pending = Pending(joined.batch)
    pending.refuse_all(int(ResultCode.OVERLOADED), "no room")
    for result, groups in zip(joined.results(pending), (2, 1), strict=True):
        assert result.bulk.codes == bytes([ResultCode.OVERLOADED]) * groups
        assert [error.message for error in result.errors] == ["no room"]


def test_faults_stay_with_their_groups() -> None:
    first, second = batch_of([(5, [b"a"]), (2, [b"b"])]), batch_of([(2, [b"c"]), (0, [b"d"])], 9)
    second.faults = {0: (int(ResultCode.KEY_TOO_LARGE), "c is too large")}
    joined = only([first, second])
    bulk, faults = joined.batch.bulk, joined.batch.faults
    assert bulk is not None
    assert faults is not None
    [(place, (code, _))] = faults.items()
    assert bulk.op_numbers[place] == 9
    assert code == ResultCode.KEY_TOO_LARGE


def test_the_lowest_floor_and_the_last_deadline_count() -> None:
    joined = only([batch_of([(0, [b"a"])], 4, floor=4), batch_of([(0, [b"b"])], 6, floor=2)])
    assert (joined.batch.acked_below, joined.batch.deadline) == (2, 6.0)


def test_only_what_is_alike_goes_together() -> None:
    groups: list[Group] = [(0, [b"a"])]
    alone = [
        batch_of(groups),
        batch_of(groups, session=8),
        batch_of(groups, space="t"),
        batch_of(groups, ttl_ms=5),
        batch_of(groups, kind=kinds.DELETE),
        batch_of(groups, kind=kinds.GET),
        batch_of(groups, kind=kinds.GET),
    ]
    assert list(join(alone)) == alone
    refused = BatchResult()
    assert list(join([alone[0], refused, alone[0]])) == [alone[0], refused, alone[0]]
    mixed = batch_of(groups)
    mixed.kinds = bytes([kinds.PUT])
    assert list(join([mixed, mixed])) == [mixed, mixed]


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 4), st.lists(st.binary(max_size=2), min_size=1, max_size=3)),
            min_size=1,
            max_size=4,
        ),
        min_size=2,
        max_size=5,
    )
)
def test_nothing_is_lost_on_the_way(calls: list[list[Group]]) -> None:
    batches = [batch_of(groups, 100 * place) for place, groups in enumerate(calls, 1)]
    joined = only(batches)
    bulk = joined.batch.bulk
    assert bulk is not None
    assert bulk.partitions == sorted(bulk.partitions)
    end, entries = 0, {}
    for number, count in zip(bulk.op_numbers, bulk.counts, strict=True):
        start, end = end, end + count
        entries[number] = list(zip(bulk.keys[start:end], bulk.values[start:end], strict=True))
    for batch, result in zip(batches, joined.results(carried_out(joined.batch)), strict=True):
        assert batch.bulk is not None
        assert list(result.bulk.versions) == batch.bulk.op_numbers
        assert list(result.bulk.epochs) == batch.bulk.partitions
    for place, groups in enumerate(calls, 1):
        for number, (_, keys) in enumerate(groups, 100 * place):
            assert entries[number] == [(key, b"%s=%d" % (key, number)) for key in keys]
