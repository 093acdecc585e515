"""The counted loop does what it says, and the comparison lets small changes pass only."""

from __future__ import annotations

import pytest

from benchmarks.instructions import compare
from benchmarks.micro.core_loop import FRAME_OPS, SHAPES, VALUE, filled


@pytest.mark.parametrize("shape", SHAPES)
def test_a_frame_is_carried_out_by_primary_and_backup(shape: str) -> None:
    make, _ = SHAPES[shape]
    pair = filled()
    pending = pair.run(make(pair, 0))
    assert pending.done
    assert not pending.errors
    if shape == "get":
        assert pending.values == [VALUE] * FRAME_OPS
    elif shape == "put":
        assert set(pending.copies) == {2}
    else:
        assert pending.bulk is not None
        assert set(pending.bulk.copies) == {2}


def test_more_than_the_tolerance_is_named() -> None:
    baseline = {"put": 10_000.0, "get": 1_000.0}
    assert compare({"put": 10_190.0, "get": 500.0, "put_many": 1.0}, baseline) == []
    (problem,) = compare({"put": 10_300.0, "get": 1_000.0}, baseline)
    assert problem == ("put: 10,300 instructions an operation, +3.0% of 10,000; 2% is allowed")
