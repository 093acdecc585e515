"""The pump's decisions: what it claims, sends, repeats, and when it stops."""

from __future__ import annotations

from tupelo.schema import SpaceSchema
from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_frames import Answer, PumpAck, PumpFrame
from tupelo_grid.core.pump_port import PumpLimits

from tests.unit.pump_source import NOOP_RECORD, FakeSource, keys_of, load, put, remove, write


def make(
    source: FakeSource,
    records: int = 10,
    size: int = 1000,
    frames: int = 1,
    *schemas: SpaceSchema,
) -> Pump:
    named = {schema.name: schema for schema in schemas}
    return Pump(source, PumpLimits(records, size, 1.0, frames), named)


def send(pump: Pump, now: float = 0.0, flush: bool = True) -> PumpFrame:
    pump.observe(now)
    frame = pump.next_frame(now, flush)
    pump.validate()
    assert frame is not None
    return frame


def answer(pump: Pump, frame: PumpFrame, kind: Answer | None = None, cursor: int = 0) -> bool:
    """Every claim granted at `cursor`, every batch persisted, unless `kind` says otherwise."""
    answers = [(p, e, cursor, kind or Answer.CLAIMED) for p, e in frame.claims]
    answers += [
        (b.partition, b.epoch, cursor if kind else b.to_sequence, kind or Answer.PERSISTED)
        for b in frame.batches
    ]
    done = pump.on_ack(PumpAck(frame.position, answers))
    pump.validate()
    return done


def claimed(pump: Pump, cursor: int = 0) -> None:
    frame = send(pump)
    assert frame.claims
    assert not frame.batches
    answer(pump, frame, cursor=cursor)


def test_claims_first_and_starts_after_the_stores_cursor() -> None:
    source = FakeSource({3: 7})
    source.commit(3, put("a", "1"), put("b", "2"), put("c", "3"))
    pump = make(source)
    frame = send(pump)
    assert frame.claims == [(3, 7)]
    assert pump.lag_records() == 3
    answer(pump, frame, cursor=1)
    assert source.told == [(3, 7, 1)]
    [batch] = send(pump).batches
    assert (batch.from_sequence, batch.to_sequence) == (1, 3)
    assert keys_of(batch) == [(b"b", b"2", 2), (b"c", b"3", 3)]


def test_persisted_is_told_and_lag_goes_to_zero() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"), NOOP_RECORD)
    pump = make(source)
    claimed(pump)
    assert pump.lag_s(2.5) == 2.5
    answer(pump, send(pump))
    assert source.told == [(0, 1, 2)]
    assert pump.lag_records() == 0
    assert pump.lag_s(9.0) == 0.0
    assert pump.persisted_records == 2
    assert pump.next_frame(9.0, flush=True) is None


def test_waits_for_a_full_frame_or_for_its_time() -> None:
    source = FakeSource({0: 1})
    pump = make(source, records=3)
    claimed(pump)
    source.commit(0, put("a", "1"), put("b", "1"))
    pump.observe(5.0)
    assert pump.next_frame(5.9) is None
    assert send(pump, 6.0, flush=False).batches
    pump.on_stream_lost()
    claimed(pump)
    source.commit(0, put("c", "1"))
    assert len(send(pump, 6.0, flush=False).batches[0].changes) == 3


def test_what_has_waited_half_its_time_leaves_with_what_is_due() -> None:
    source = FakeSource({0: 1, 1: 1, 2: 1, 3: 1})
    pump = make(source, records=2, frames=9)
    claimed(pump)
    for partition, at in ((0, 5.0), (1, 5.4), (2, 5.5), (3, 5.6)):
        source.commit(partition, put("a", "1"))
        pump.observe(at)
    assert pump.next_frame(5.9) is None
    frames = [send(pump, 6.1, flush=False) for _ in range(2)]
    sent = [[batch.partition for batch in frame.batches] for frame in frames]
    assert sent == [[0, 1], [2, 3]], "the last goes along, since there is room"
    for frame in frames:
        answer(pump, frame)
    source.commit(0, put("a", "2"), put("b", "2"))
    source.commit(1, put("a", "2"))
    pump.observe(6.1)
    assert [b.partition for b in send(pump, 6.1, flush=False).batches] == [0], "it is full"
    assert pump.next_frame(6.5) is None, "those that have just come wait on"
    assert [b.partition for b in send(pump, 7.1, flush=False).batches] == [1]


def test_one_frame_in_flight_and_a_partition_only_once_with_more() -> None:
    source = FakeSource({0: 1, 1: 1})
    pump = make(source, frames=2)
    claimed(pump)
    source.commit(0, put("a", "1"))
    first = send(pump)
    source.commit(0, put("b", "1"))
    source.commit(1, put("c", "1"))
    second = send(pump)
    assert [batch.partition for batch in second.batches] == [1]
    assert pump.next_frame(0.0, flush=True) is None
    answer(pump, first)
    assert [b.from_sequence for b in send(pump).batches] == [1]


def test_coalesces_per_key_unless_the_space_says_no() -> None:
    source = FakeSource({0: 1})
    audited = SpaceSchema("audit", coalesce=False)
    pump = make(source, 10, 1000, 1, audited)
    claimed(pump)
    source.commit(0, put("a", "1"), put("a", "2"), remove("a"))
    source.commit(0, put("x", "1", "audit"), put("x", "2", "audit"))
    source.commit(0, write(("audit", b"y", b"1", 0), ("audit", b"y", None, 0)))
    [batch] = send(pump).batches
    assert keys_of(batch) == [
        (b"a", None, 3),
        (b"x", b"1", 4),
        (b"x", b"2", 5),
        (b"y", None, 6),
    ]


def test_spaces_that_are_not_persisted_only_move_the_cursor() -> None:
    source = FakeSource({0: 1})
    pump = make(source, 10, 1000, 1, SpaceSchema("cache", persist=False))
    claimed(pump)
    source.commit(0, put("a", "1", "cache"), load("l", "1"), NOOP_RECORD)
    [batch] = send(pump).batches
    assert (batch.changes, batch.to_sequence) == ([], 3)


def test_frames_are_bounded_in_changes_and_bytes_but_never_divide_a_record() -> None:
    source = FakeSource({0: 1})
    pump = make(source, records=3, size=10)
    claimed(pump)
    big = write(*[("s", f"k{i}".encode(), b"v" * 10, 0) for i in range(5)])
    source.commit(0, put("a", "1"), big, put("b", "1"), put("c", "x" * 9))
    pump.observe(0.0)
    sizes = []
    while pump.lag_records():
        frame = send(pump)
        sizes.append([len(batch.changes) for batch in frame.batches])
        answer(pump, frame)
    assert sizes == [[1], [5], [1], [1]]


def test_partitions_take_turns() -> None:
    source = FakeSource({0: 1, 1: 1})
    pump = make(source, records=2)
    claimed(pump)
    source.commit(0, *[put(f"a{i}", "1") for i in range(6)])
    source.commit(1, put("b", "1"))
    pump.observe(0.0)
    order = []
    while pump.lag_records():
        frame = send(pump)
        order.append([batch.partition for batch in frame.batches])
        answer(pump, frame)
    assert order == [[0], [1, 0], [0], [0]]


def test_retry_claims_again_and_resends_from_what_the_store_has() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"), put("b", "1"))
    pump = make(source)
    claimed(pump)
    assert answer(pump, send(pump), Answer.RETRY) is False
    frame = send(pump)
    assert frame.claims == [(0, 1)]
    assert not frame.batches
    # The transaction that answered RETRY had committed after all.
    answer(pump, frame, cursor=2)
    assert pump.lag_records() == 0
    assert source.told[-1] == (0, 1, 2)


def test_a_lost_stream_claims_everything_again_and_ignores_late_answers() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    pump = make(source)
    claimed(pump)
    old = send(pump)
    pump.on_stream_lost()
    pump.validate()
    answer(pump, old)
    assert pump.lag_records() == 1
    assert send(pump).claims == [(0, 1)]


def test_a_batch_not_applied_goes_on_from_the_stores_cursor() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"), put("b", "1"))
    pump = make(source)
    claimed(pump)
    assert answer(pump, send(pump), Answer.CLAIMED, cursor=1)
    assert send(pump).batches[0].from_sequence == 1


def test_partitions_left_out_of_an_answer_are_claimed_again() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    pump = make(source)
    claimed(pump)
    pump.on_ack(PumpAck(send(pump).position, []))
    pump.validate()
    assert send(pump).claims == [(0, 1)]


def test_fenced_stops_until_the_next_epoch() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    pump = make(source)
    claimed(pump)
    answer(pump, send(pump), Answer.FENCED, cursor=0)
    assert pump.fenced() == [0]
    assert pump.lag_records() == 0
    source.commit(0, put("b", "1"))
    pump.observe(0.0)
    pump.reconcile(5.0)
    assert pump.next_frame(5.0, flush=True) is None
    source.become(0, 3)
    assert send(pump, 6.0).claims == [(0, 3)]


def test_a_role_that_ends_is_forgotten_also_in_flight() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    pump = make(source)
    claimed(pump)
    frame = send(pump)
    del source.roles[0]
    pump.reconcile(1.0)
    answer(pump, frame)
    assert source.told == []
    assert pump.lag_records() == 0
    # The same epoch again, as after a hand-over that was certainly lost: only the store knows.
    source.become(0, 1)
    assert send(pump).claims == [(0, 1)]


def test_a_cursor_beyond_the_journal_is_a_problem_and_nothing_is_sent() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    pump = make(source)
    claimed(pump, cursor=5)
    assert "up to 5" in pump.problems[0]
    assert pump.next_frame(9.0, flush=True) is None
    assert pump.lag_records() == 1
    pump.reconcile(10.0)
    answer(pump, send(pump, 10.0), cursor=1)
    assert pump.problems == {}


def test_a_cursor_before_the_journal_is_a_problem_and_nothing_is_skipped() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"), put("b", "1"), put("c", "1"))
    source.bases[0] = 2
    pump = make(source)
    claimed(pump, cursor=0)
    assert pump.next_frame(9.0, flush=True) is None
    assert "older copy" in pump.problems[0]
    assert source.told == []
    pump.reconcile(10.0)
    answer(pump, send(pump, 10.0), cursor=2)
    assert keys_of(send(pump).batches[0]) == [(b"c", b"1", 3)]


def test_age_is_of_the_oldest_record_still_waiting() -> None:
    source = FakeSource({0: 1})
    pump = make(source, records=1)
    claimed(pump)
    for second in range(3):
        source.commit(0, put(f"k{second}", "1"))
        pump.observe(float(second))
    assert pump.lag_s(10.0) == 10.0
    answer(pump, send(pump))
    assert pump.lag_s(10.0) == 9.0
    for second in range(3, 500):
        source.commit(0, put(f"k{second}", "1"))
        pump.observe(float(second))
    assert pump.lag_s(500.0) == 499.0


def test_a_journal_that_is_gone_is_not_read() -> None:
    source = FakeSource({0: 1})
    source.commit(0, put("a", "1"))
    pump = make(source)
    claimed(pump)
    pump.observe(0.0)
    del source.roles[0]
    assert pump.next_frame(0.0, flush=True) is None
    pump.validate()
    assert pump.lag_records() == 0


def test_a_store_that_lacks_only_no_ops_lacks_nothing() -> None:
    """So an empty grid stops at once, and its status worries nobody, also without a store."""
    source = FakeSource({3: 7})
    source.commit(3, NOOP_RECORD)
    pump = make(source)
    pump.observe(0.0)
    assert (pump.lag_records(), pump.lag_s(9.0), pump.lag_bytes()) == (0, 0.0, 0)
    [lag] = pump.lags(9.0)
    assert (lag.records, lag.known) == (0, True)
    claimed(pump)
    # They are sent all the same, so that the cursor moves on.
    assert [batch.to_sequence for batch in send(pump).batches] == [1]
    source.commit(3, put("a", "1"), NOOP_RECORD)
    pump.observe(1.0)
    assert pump.lag_records() == 3
    assert pump.lag_s(9.0) == 9.0


def test_what_cannot_be_looked_at_counts_as_changes() -> None:
    source = FakeSource({3: 7, 4: 7, 5: 7})
    for partition in (3, 4, 5):
        source.commit(partition, *[NOOP_RECORD] * 9)
    source.bases = {3: 5, 4: 8}
    pump = make(source)
    pump.observe(0.0)
    # Trimmed away before the store was asked; more than is looked at.
    assert {lag.partition: lag.records for lag in pump.lags(0.0)} == {3: 9, 4: 9, 5: 9}
    answer(pump, send(pump), cursor=8)
    assert {lag.partition: lag.records for lag in pump.lags(0.0)} == {3: 0, 4: 0, 5: 1}
