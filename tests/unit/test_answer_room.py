"""Answers that are too large for one message."""

from __future__ import annotations

from tupelo.errors import ResultCode
from tupelo.kinds import GET
from tupelo.pieces import Bulk, Group
from tupelo.retry import Failure
from tupelo.v1.data_pb2 import BatchResult, BulkBatch, BulkResult, OpBatch, OpKind
from tupelo_grid.transport.answer_room import FULL, Room, bound


def plain(*sizes: int) -> tuple[BatchResult, OpBatch]:
    values = [b"x" * size for size in sizes]
    count = len(sizes)
    result = BatchResult(codes=bytes(count), versions=[1] * count, values=values)
    return result, OpBatch(kinds=bytes([GET]) * count)


def groups(counts: list[int], size: int) -> tuple[BatchResult, OpBatch]:
    total = sum(counts)
    bulk = BulkResult(codes=bytes(len(counts)), versions=[7] * total, values=[b"x" * size] * total)
    kind = OpKind.Name(GET)
    return BatchResult(bulk=bulk), OpBatch(bulk=BulkBatch(kind=kind, counts=counts))


def test_what_has_no_room_is_taken_out_and_its_operation_told_so() -> None:
    result, batch = plain(60, 50, 0, 40)
    bound([result], [batch], Room(200))
    assert list(result.codes) == [0, FULL, 0, 0]
    assert [len(value) for value in result.values] == [60, 0, 0, 40]


def test_one_value_always_has_room() -> None:
    result, batch = plain(500, 1)
    bound([result], [batch], Room(200))
    assert list(result.codes) == [0, FULL]


def test_all_results_of_a_response_share_the_room() -> None:
    first, second = plain(60, 30), plain(30, 5)
    bound([first[0], second[0]], [first[1], second[1]], Room(200))
    assert list(first[0].codes) == [0, 0]
    assert list(second[0].codes) == [FULL, 0]


def test_a_groups_values_stay_together() -> None:
    result, batch = groups([2, 2, 1], 30)
    bound([result], [batch], Room(200))
    assert list(result.bulk.codes) == [0, FULL, 0]
    assert [len(value) for value in result.bulk.values] == [30, 30, 0, 0, 30]
    assert list(result.bulk.versions) == [7, 7, 0, 0, 7]


def test_a_group_that_no_message_holds_is_asked_for_in_parts() -> None:
    result, batch = groups([4, 1], 30)
    bound([result], [batch], Room(200))
    assert list(result.bulk.codes) == [FULL, 0], "even where it would be the first"

    group = Group(0, {bytes([n]): b"" for n in range(5)}, 5)
    work = Bulk(GET, "s")
    failure = Failure(FULL)
    halves = group.smaller(failure)
    assert [half.operations for half in halves] == [3, 2]
    for half in halves:
        count = half.operations
        values = [b"v"] * count
        answer = BulkResult(codes=b"\0", versions=[1] * count, values=values)
        assert work.read([half], BatchResult(bulk=answer)) == []
    assert sorted(group.found) == [(bytes([n]), b"v") for n in range(5)]
    [single] = Group(0, {b"k": b""}, 1).smaller(failure)
    assert single.operations == 1
    assert list(group.smaller(Failure(int(ResultCode.NOT_READY)))) == [group]
