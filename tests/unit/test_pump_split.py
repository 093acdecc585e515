"""A frame for each partition: when it leaves, and that each waits for its own answer."""

from __future__ import annotations

from tupelo_grid.core.pump_frames import Answer, PumpAck, PumpFrame
from tupelo_grid.core.pump_port import PumpLimits
from tupelo_grid.core.pump_split import SplitPump, subject_of

from tests.unit.pump_source import FakeSource, put


def make(source: FakeSource, records: int = 3, frames: int = 100) -> SplitPump:
    return SplitPump(source, PumpLimits(records, 10_000, 1.0, frames), {})


def send(pump: SplitPump, now: float, flush: bool = False) -> list[PumpFrame]:
    pump.observe(now)
    frames = pump.next_frames(now, flush)
    pump.validate()
    return frames


def answer(pump: SplitPump, frame: PumpFrame, kind: Answer, cursor: int) -> bool:
    partition, epoch, _, _ = subject_of(frame)
    done = pump.on_ack(PumpAck(frame.position, [(partition, epoch, cursor, kind)]))
    pump.validate()
    return done


def claimed(pump: SplitPump, partitions: int) -> None:
    frames = send(pump, 0.0)
    assert [subject_of(frame)[0] for frame in frames] == list(range(partitions))
    for frame in frames:
        assert answer(pump, frame, Answer.CLAIMED, 0)


def test_partitions_wait_for_their_own_answer_only() -> None:
    source = FakeSource({0: 1, 1: 1})
    pump = make(source)
    claimed(pump, 2)
    source.commit(0, put("a", "1"))
    source.commit(1, put("b", "1"))
    first, second = send(pump, 0.0, flush=True)
    assert [subject_of(frame) for frame in (first, second)] == [(0, 1, 0, 1), (1, 1, 0, 1)]
    assert pump.in_flight == 2
    answer(pump, second, Answer.PERSISTED, 1)
    source.commit(0, put("a", "2"))
    source.commit(1, put("b", "2"))
    assert [subject_of(frame) for frame in send(pump, 0.0, flush=True)] == [(1, 1, 1, 2)]
    answer(pump, first, Answer.PERSISTED, 1)
    assert [subject_of(frame) for frame in send(pump, 0.0, flush=True)] == [(0, 1, 1, 2)]


def test_a_partition_is_sent_when_it_has_enough_or_waited_enough() -> None:
    source = FakeSource({0: 1, 1: 1})
    pump = make(source)
    claimed(pump, 2)
    source.commit(0, put("a", "1"))
    source.commit(1, put("b", "1"), put("b", "2"), put("b", "3"))
    assert [subject_of(frame)[0] for frame in send(pump, 0.0)] == [1]
    assert send(pump, 0.9) == []
    assert [subject_of(frame)[0] for frame in send(pump, 1.0)] == [0]
    assert pump.in_flight == 2


def test_what_waits_keeps_its_turn() -> None:
    source = FakeSource(dict.fromkeys(range(4), 1))
    pump = make(source, records=2)
    claimed(pump, 4)
    for partition in (2, 0, 3):
        source.commit(partition, put("a", "1"))
        assert send(pump, 0.0) == []
    source.commit(1, put("a", "1"), put("a", "2"))
    assert [subject_of(frame)[0] for frame in send(pump, 0.0)] == [1]
    # Two changes a turn, those that wait longest first.
    assert [subject_of(frame)[0] for frame in send(pump, 1.0)] == [2, 0]
    assert [subject_of(frame)[0] for frame in send(pump, 1.0)] == [3]


def test_the_bound_is_on_partitions() -> None:
    source = FakeSource(dict.fromkeys(range(6), 1))
    pump = make(source, records=2, frames=3)
    frames = send(pump, 0.0)
    assert len(frames) == 6, "a turn is not divided"
    for frame in frames[:3]:
        answer(pump, frame, Answer.CLAIMED, 0)
    for partition in range(6):
        source.commit(partition, put("a", "1"))
    assert send(pump, 0.0, flush=True) == []
    answer(pump, frames[3], Answer.CLAIMED, 0)
    assert len(send(pump, 0.0, flush=True)) == 2


def test_one_that_is_to_be_sent_again_is_claimed_again_and_the_others_are_not() -> None:
    source = FakeSource({0: 1, 1: 1})
    pump = make(source)
    claimed(pump, 2)
    source.commit(0, put("a", "1"))
    source.commit(1, put("b", "1"))
    first, second = send(pump, 0.0, flush=True)
    assert not answer(pump, first, Answer.RETRY, 0)
    (again,) = send(pump, 0.0, flush=True)
    assert again.claims == [(0, 1)]
    answer(pump, second, Answer.PERSISTED, 1)
    answer(pump, again, Answer.CLAIMED, 1)
    assert pump.lag_records() == 0
