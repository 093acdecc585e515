"""Splitting and joining batches: nothing gets lost, doubled or out of place."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BatchResult, BulkBatch, BulkResult, ErrorDetail, OpBatch
from tupelo_grid.messaging.router_batch import Columns, Merger, Piece, settled

UNKNOWN = int(ResultCode.OUTCOME_UNKNOWN)
NOT_READY = int(ResultCode.NOT_READY)
WRONG_OWNER = int(ResultCode.WRONG_OWNER)
ADDRESSES = ["a:1", "b:1", "c:1", "a:1", "b:1", "a:1", "c:1", "d:1"]


def make(seed: int, ops: int, groups: int, bulk_kind: int) -> OpBatch:
    chance = random.Random(seed)
    batch = OpBatch(session=9, acked_below=3, strict=True, grid_id=b"g")
    if ops:
        batch.targets.extend(["x", "y"])
        batch.kinds = bytes(chance.choice([1, 3, 6]) for _ in range(ops))
        batch.partitions.extend(chance.randrange(8) for _ in range(ops))
        batch.target_index.extend(chance.randrange(2) for _ in range(ops))
        batch.keys.extend(b"k%d" % number for number in range(ops))
        batch.values.extend(b"v%d" % number for number in range(ops))
        batch.op_numbers.extend(range(1, ops + 1))
        batch.ttls_ms.extend(range(ops))
        batch.expected_versions.extend(range(100, 100 + ops))
    if groups:
        counts = [chance.randrange(1, 4) for _ in range(groups)]
        entries = sum(counts)
        batch.bulk.CopyFrom(
            BulkBatch(
                kind=bulk_kind,
                space="z",
                partitions=[chance.randrange(8) for _ in range(groups)],
                counts=counts,
                op_numbers=range(1000, 1000 + groups) if bulk_kind != 1 else (),
                keys=[b"b%d" % number for number in range(entries)],
                values=[b"w%d" % number for number in range(entries)] if bulk_kind == 3 else (),
                ttl_ms=7,
            )
        )
    return batch


def answer(batch: OpBatch, failing: frozenset[bytes] = frozenset()) -> BatchResult:
    """A unit's answer in which every element can be told from every other by its key."""
    codes = bytes(NOT_READY if key in failing else 0 for key in batch.keys)
    result = BatchResult(
        codes=codes,
        versions=[int(key[1:]) + 1 for key in batch.keys],
        values=[b"r" + key for key in batch.keys],
        epochs=[5] * len(batch.keys),
        copies=b"\x02" * len(batch.keys),
    )
    for index, key in enumerate(batch.keys):
        if key in failing:
            result.error_ops.append(index)
            result.errors.append(ErrorDetail(code=NOT_READY, message=str(key)))
    bulk = batch.bulk
    if bulk.partitions:
        read = bulk.kind == 1
        names = [int(key[1:]) for key in bulk.keys]
        result.bulk.CopyFrom(
            BulkResult(
                codes=bytes(len(bulk.partitions)),
                versions=[name + 1 for name in names] if read else bulk.op_numbers,
                values=[b"q%d" % name for name in names] if read else (),
                epochs=() if read else [5] * len(bulk.partitions),
                copies=b"" if read else b"\x02" * len(bulk.partitions),
            )
        )
    return result


def split(columns: Columns, left: tuple[list[int], list[int]]) -> list[Piece]:
    return [columns.piece(*part) for part in columns.owners(ADDRESSES, *left).values()]


@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(0, 6), st.sampled_from([1, 3, 7]))
def test_pieces_hold_everything_once_and_join_to_the_whole(
    seed: int, ops: int, groups: int, bulk_kind: int
) -> None:
    batch = make(seed, ops, groups, bulk_kind)
    columns = Columns(batch)
    merger = Merger(columns)
    pieces = split(columns, merger.left())
    seen = [
        (piece.batch.targets[target], key, value, number, ttl, expected)
        for piece in pieces
        for target, key, value, number, ttl, expected in zip(
            piece.batch.target_index,
            piece.batch.keys,
            piece.batch.values,
            piece.batch.op_numbers,
            piece.batch.ttls_ms,
            piece.batch.expected_versions,
            strict=True,
        )
    ]
    assert sorted(seen) == sorted(
        (batch.targets[batch.target_index[n]], b"k%d" % n, b"v%d" % n, n + 1, n, 100 + n)
        for n in range(ops)
    )
    for piece in pieces:
        where = {ADDRESSES[number] for number in piece.batch.partitions}
        where |= {ADDRESSES[number] for number in piece.batch.bulk.partitions}
        assert len(where) == 1
        assert (piece.batch.session, piece.batch.acked_below, piece.batch.strict) == (9, 3, True)
        assert sum(piece.batch.bulk.counts) == len(piece.batch.bulk.keys)
        merger.take(piece, answer(piece.batch))
    assert merger.left() == ([], [])
    assert merger.result() == answer(batch) if (ops or groups) else True


@given(st.integers(0, 10_000), st.sets(st.integers(0, 9)))
def test_what_failed_is_tried_again_alone(seed: int, failing: set[int]) -> None:
    batch = make(seed, 10, 0, 3)
    columns = Columns(batch)
    merger = Merger(columns)
    fails = frozenset(b"k%d" % number for number in failing)
    for piece in split(columns, merger.left()):
        merger.take(piece, answer(piece.batch, fails))
    assert merger.left() == (sorted(failing), [])
    assert settled(batch, merger.result()) == (not failing)
    for piece in split(columns, merger.left()):
        assert {int(key[1:]) for key in piece.batch.keys} <= failing
        merger.take(piece, answer(piece.batch))
    assert merger.result() == answer(batch)


def merged(*attempts: Any) -> BatchResult:
    """The result of [get, put] + a bulk put after attempts that end whole with a code, or well."""
    batch = make(1, 2, 1, 3)
    batch.kinds = b"\x01\x03"
    columns = Columns(batch)
    merger = Merger(columns)
    whole = columns.piece([0, 1], [0])
    for attempt in attempts:
        if attempt == 0:
            merger.take(whole, answer(whole.batch))
        elif attempt == "refused":
            merger.take(whole, BatchResult(refused=ErrorDetail(code=25, message="bad")))
        elif attempt == "garbled":
            merger.take(whole, BatchResult(codes=b"\0"))
        else:
            merger.fail(whole, ErrorDetail(code=attempt, message=f"said {attempt}"))
    return merger.result()


@pytest.mark.parametrize(
    ("attempts", "codes", "groups"),
    [
        ([0], [0, 0], [0]),
        ([UNKNOWN], [NOT_READY, UNKNOWN], [UNKNOWN]),
        (["garbled"], [NOT_READY, UNKNOWN], [UNKNOWN]),
        ([UNKNOWN, 0], [0, 0], [0]),
        ([UNKNOWN, NOT_READY], [NOT_READY, UNKNOWN], [UNKNOWN]),
        ([UNKNOWN, 19], [19, UNKNOWN], [UNKNOWN]),
        ([WRONG_OWNER, 19], [19, 19], [19]),
        (["refused"], [25, 25], [25]),
        ([UNKNOWN, "refused"], [25, UNKNOWN], [UNKNOWN]),
    ],
)
def test_what_may_have_been_done_is_never_called_failed(
    attempts: list[Any], codes: list[int], groups: list[int]
) -> None:
    result = merged(*attempts)
    assert list(result.codes) == codes
    assert list(result.bulk.codes) == groups
    failed = [index for index, code in enumerate(codes + groups) if code >= 16]
    assert list(result.error_ops) == failed
    assert all(error.message for error in result.errors)


def test_too_large_an_answer_leaves_writes_open() -> None:
    batch = make(1, 2, 0, 3)
    batch.kinds = b"\x01\x03"
    columns = Columns(batch)
    merger = Merger(columns)
    detail = ErrorDetail(code=27, message="too large")
    merger.fail(columns.piece([0, 1], []), detail, maybe=True)
    assert merger.left() == ([], [])
    assert list(merger.result().codes) == [27, UNKNOWN]
