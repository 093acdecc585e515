"""Who waits for the store, what stops a partition, and how far the store is said to be behind."""

from __future__ import annotations

from tupelo.v1 import admin_pb2 as pb
from tupelo_grid.core.admission import Admission
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.persist_waits import PersistWaits, Wait, WaitEnd
from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_frames import Answer, DeadRow, PumpAck, PumpFrame
from tupelo_grid.core.pump_port import PumpLimits
from tupelo_grid.deployment.draining import look

from tests.unit.pump_source import FakeSource, put

LIMITS = PumpLimits(batch_records=10, batch_bytes=1000, batch_s=1.0)


def frame_of(pump: Pump, now: float = 0.0, flush: bool = True) -> PumpFrame | None:
    pump.observe(now)
    frame = pump.next_frame(now, flush)
    pump.validate()
    return frame


def claim_all(pump: Pump) -> None:
    frame = frame_of(pump)
    assert frame is not None
    answers = [(p, e, 0, Answer.CLAIMED) for p, e in frame.claims]
    assert pump.on_ack(PumpAck(frame.position, answers))


def persisted(pump: Pump, frame: PumpFrame | None, *dead: DeadRow) -> None:
    assert frame is not None
    answers = [(b.partition, b.epoch, b.to_sequence, Answer.PERSISTED) for b in frame.batches]
    assert pump.on_ack(PumpAck(frame.position, answers, len(dead), dead_rows=dead))
    pump.validate()


# A partition that cannot be stored.


def test_a_stopped_partition_rests_until_it_is_looked_at_again_and_others_go_on() -> None:
    source = FakeSource({0: 1, 1: 1})
    pump = Pump(source, LIMITS, {})
    claim_all(pump)
    source.commit(0, put("a", "1"))
    source.commit(1, put("b", "1"))
    frame = frame_of(pump)
    assert frame is not None
    answers = [(0, 1, 0, Answer.STOPPED), (1, 1, 1, Answer.PERSISTED)]
    # Nothing has to be sent again after a pause: the stream goes on at full speed.
    assert pump.on_ack(PumpAck(frame.position, answers, error="no room"))
    assert list(pump.stopped) == [0]
    assert "no room" in pump.stopped[0]
    source.commit(1, put("b", "2"))
    later = frame_of(pump)
    assert later is not None
    assert [batch.partition for batch in later.batches] == [1]
    persisted(pump, later)
    assert frame_of(pump) is None
    pump.reconcile(1.0)
    claim_all(pump)
    assert list(pump.stopped) == [0], "a claim alone stores nothing"
    persisted(pump, frame_of(pump))
    assert pump.stopped == {}
    assert pump.lag_records() == 0


def test_what_somebody_waits_for_does_not_wait_for_its_frame_to_fill() -> None:
    source = FakeSource({0: 1})
    pump = Pump(source, LIMITS, {})
    claim_all(pump)
    source.commit(0, put("a", "1"))
    assert frame_of(pump, 0.1, flush=False) is None
    pump.hurry({0, 99})
    persisted(pump, frame_of(pump, 0.1, flush=False))
    source.commit(0, put("a", "2"))
    assert frame_of(pump, 0.2, flush=False) is None, "nobody waits for this one"


def test_lags_are_told_by_partition() -> None:
    source = FakeSource({0: 1, 4: 2})
    pump = Pump(source, LIMITS, {})
    claim_all(pump)
    source.commit(4, put("a", "1"), put("b", "1"))
    pump.observe(10.0)
    quiet, busy = pump.lags(12.5)
    assert (quiet.partition, quiet.records, quiet.size, quiet.seconds) == (0, 0, 0, 0.0)
    assert (busy.partition, busy.epoch, busy.records) == (4, 2, 2)
    assert (busy.size, busy.seconds, busy.known) == (200, 2.5, True)
    assert pump.lag_bytes() == 200


# Waits.


class Told:
    def __init__(self) -> None:
        self.ends: list[tuple[WaitEnd, str]] = []

    def __call__(self, end: WaitEnd, why: str) -> None:
        self.ends.append((end, why))


def waiting(
    waits: PersistWaits, sequence: int, key: bytes = b"k", partition: int = 0
) -> tuple[Wait, Told]:
    told = Told()
    wait = Wait(partition, sequence, frozenset({("s", key)}), told)
    assert waits.add(wait)
    return wait, told


def test_a_wait_ends_with_the_cursor_and_only_once() -> None:
    waits = PersistWaits(10)
    _, early = waiting(waits, 3)
    _, late = waiting(waits, 5)
    _, elsewhere = waiting(waits, 1, partition=7)
    waits.persisted(0, 4)
    waits.persisted(0, 4)
    assert (early.ends, late.ends, elsewhere.ends) == ([(WaitEnd.STORED, "")], [], [])
    waits.dropped(0)
    assert late.ends == [(WaitEnd.WRONG_OWNER, "")]
    assert waits.count == 1


def test_waits_are_bounded_and_given_up() -> None:
    waits = PersistWaits(1)
    wait, told = waiting(waits, 1)
    assert not waits.add(Wait(0, 2, frozenset(), Told()))
    waits.discard(wait)
    waits.discard(wait)
    waits.persisted(0, 9)
    assert (told.ends, waits.count) == ([], 0)


def test_whoever_waits_for_a_refused_change_is_told_so_before_the_cursor_passes_it() -> None:
    source = FakeSource({0: 1})
    waits = PersistWaits(10)
    told: list[int] = []
    source.persisted = lambda p, e, c: (told.append(c), waits.persisted(p, c))  # type: ignore
    pump = Pump(source, LIMITS, {})
    pump.listener = waits
    claim_all(pump)
    source.commit(0, put("k", "1"), put("other", "1"), put("k", "2"))
    _, own = waiting(waits, 3)
    _, taken_along = waiting(waits, 1)
    _, other = waiting(waits, 2, b"other")
    persisted(pump, frame_of(pump), DeadRow(0, "s", b"k", 3, "too long"))
    assert own.ends == taken_along.ends == [(WaitEnd.DEAD_LETTER, "too long")]
    assert other.ends == [(WaitEnd.STORED, "")]
    # And to those who ask a little later.
    assert waits.refusal(0, 3, frozenset()) == "too long"
    assert waits.refusal(0, 1, frozenset({("s", b"k")})) == "too long"
    assert waits.refusal(0, 1, frozenset()) == ""
    assert waits.refusal(0, 2, frozenset({("s", b"other")})) == ""
    assert waits.refusal(0, 4, frozenset({("s", b"k")})) == ""
    assert waits.refusal(1, 3, frozenset()) == ""


# Words.


def test_overloaded_says_how_far_the_store_is_behind_and_why() -> None:
    admission = Admission({}, None, Limits(journal_bytes_max=100))  # type: ignore[arg-type]
    admission.watch(100, lambda: "never asked")
    assert admission.overloaded == ""
    admission.watch(101, lambda: "7 records (0.1 MiB) ... 61.2 s; last error: disk full")
    for word in ("101 bytes", "journal_bytes_max=100", "7 records", "61.2 s", "disk full"):
        assert word in admission.overloaded


def lag(partition: int, committed: int, cursor: int, epoch: int = 1, **more: object) -> object:
    given = {"known": True, **more}
    return pb.PartitionLag(
        partition=partition, epoch=epoch, committed=committed, cursor=cursor, **given
    )


def test_a_drain_waits_for_what_was_there_when_it_was_asked_and_for_no_more() -> None:
    goals: dict[int, int] = {}
    first = look(goals, {0: lag(0, 10, 4), 1: lag(1, 3, 3)})  # type: ignore[dict-item]
    assert (first.partitions_left, first.records_left) == (1, 6)
    later = look(goals, {0: lag(0, 50, 10), 1: lag(1, 9, 3)})  # type: ignore[dict-item]
    assert later.partitions_left == 0


def test_a_drain_waits_for_partitions_that_nobody_answers_for() -> None:
    goals: dict[int, int] = {}
    nobody = pb.PartitionLag(partition=0, problem="partition 0 has no primary that answers")
    assert look(goals, {0: nobody}).cause == nobody.problem
    unclaimed = lag(0, 5, 0, known=False)
    assert look(goals, {0: unclaimed}).partitions_left == 1  # type: ignore[dict-item]
    # Another unit leads it now: what was acknowledged is the same.
    assert look(goals, {0: lag(0, 5, 5, epoch=2)}).partitions_left == 0  # type: ignore[dict-item]
