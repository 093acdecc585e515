"""Pump frames on the wire: what goes in comes out, and nonsense is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tupelo.v1 import pump_pb2
from tupelo_grid.core.pump_frames import Answer, PartitionBatch, PumpAck, PumpFrame
from tupelo_grid.messaging.pump_wire import (
    BadFrame,
    decode_ack,
    decode_frame,
    encode_ack,
    encode_frame,
)

FRAME = PumpFrame(
    9,
    [(4, 2)],
    [
        PartitionBatch(1, 3, 5, 9, [("s", b"k", b"v", 6, 0), ("t", b"k", None, 9, 0)]),
        PartitionBatch(2, 3, 0, 1, []),
        PartitionBatch(7, 1, 0, 2, [("s", b"", b"", 2, 99)]),
    ],
)


def wire(change: Callable[[pump_pb2.PumpFrame], object] | None = None) -> pump_pb2.PumpFrame:
    message = encode_frame(FRAME, b"g" * 16, "unit-1#1")
    copy = pump_pb2.PumpFrame.FromString(message.SerializeToString())
    if change is not None:
        change(copy)
    return copy


def test_a_frame_comes_back() -> None:
    assert decode_frame(wire()) == FRAME


def test_an_answer_comes_back() -> None:
    ack = PumpAck(3, [(1, 2, 9, Answer.PERSISTED), (2, 2, 0, Answer.RETRY)], 4, "away")
    assert decode_ack(encode_ack(ack)) == ack


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.ClearField("position"), "position"),
        (lambda m: m.claim_epochs.pop(), "claim_epochs"),
        (lambda m: m.changes.epochs.pop(), "epochs"),
        (lambda m: m.changes.counts.append(1), "counts"),
        (lambda m: m.changes.keys.pop(), "keys"),
        (lambda m: m.changes.values.append(b""), "values"),
        (lambda m: setattr(m.changes, "deleted", b"\0"), "deleted"),
        (lambda m: m.changes.versions.pop(), "versions"),
        (lambda m: m.changes.deadlines_ms.append(1), "deadlines_ms"),
        (lambda m: m.changes.space_index.__setitem__(0, 2), "space_index 2 of 2"),
        (lambda m: m.changes.versions.__setitem__(0, 5), "version outside"),
        (lambda m: m.changes.versions.__setitem__(0, 10), "version outside"),
        (lambda m: m.changes.to_sequences.__setitem__(1, 0), "from sequence 0 to 0"),
        (lambda m: m.changes.partitions.__setitem__(1, 1), "twice"),
        (lambda m: m.claim_partitions.__setitem__(0, 1), "twice"),
    ],
)
def test_a_frame_that_contradicts_itself_is_refused(
    change: Callable[[pump_pb2.PumpFrame], object], words: str
) -> None:
    with pytest.raises(BadFrame, match=words):
        decode_frame(wire(change))


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(BadFrame, match="status"):
        decode_ack(
            pump_pb2.PumpAck(position=1, partitions=[1], epochs=[1], cursors=[1], statuses=b"\x09")
        )
