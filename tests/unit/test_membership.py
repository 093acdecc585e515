"""Leases: the unit's keeper and the controller's observer, alone and against each other."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tupelo_grid.core.membership import (
    OUTSTANDING_MAX,
    ActOnTable,
    DrainWanted,
    DropRoles,
    LeaseKeeper,
    LeaseObserver,
    ReadDone,
    ReadFailed,
    ReadTogether,
    RenewalAway,
    RenewalDone,
    RenewalInDoubt,
    SendRenewal,
    Tick,
)
from tupelo_grid.core.statestore import MemoryState, TxnResult
from tupelo_grid.core.table import FENCED, Lease, decode_lease, encode

D = 3.0
MARGIN = 0.04
KEY = "lease/unit-1#1"
LEASE = Lease("unit-1", "127.0.0.1:1", "127.0.0.1:2", "")


class Unit:
    """A keeper with a store that answers at once; the tests above lose what they want to lose."""

    def __init__(self, state: MemoryState | None = None) -> None:
        self.state = state or MemoryState()
        self.keeper = LeaseKeeper("unit-1#1", LEASE, D)
        self.nonces = 0

    def nonce(self) -> str:
        self.nonces += 1
        return f"n{self.nonces}"

    def tick(self, now: float) -> list[Any]:
        effects = self.keeper.step(Tick(self.nonce()), now)
        self.keeper.validate(now)
        return effects

    def read(self, effect: ReadTogether, now: float) -> list[Any]:
        kv = self.state.entries.get(KEY)
        effects = self.keeper.step(ReadDone(effect.ticket, kv, self.nonce()), now)
        self.keeper.validate(now)
        return effects

    def apply(self, effect: SendRenewal) -> TxnResult:
        return self.state.txn([(effect.key, effect.revision)], {effect.key: effect.value})

    def answer(self, effect: SendRenewal, result: TxnResult, now: float) -> list[Any]:
        effects = self.keeper.step(RenewalDone(effect.nonce, result), now)
        self.keeper.validate(now)
        return effects

    def fence(self) -> None:
        kv = self.state.entries[KEY]
        fenced = msgspec.structs.replace(decode_lease(kv.value), nonce=FENCED)
        assert self.state.txn([(KEY, kv.revision)], {KEY: encode(fenced)}).succeeded

    def run(self, effects: list[Any], now: float) -> list[Any]:
        """Carries out what is asked until nothing is; what else came out."""
        out = []
        while effects:
            effect = effects.pop(0)
            if isinstance(effect, ReadTogether):
                effects += self.read(effect, now)
            elif isinstance(effect, SendRenewal):
                effects += self.answer(effect, self.apply(effect), now)
            else:
                out.append(effect)
        return out

    def start(self, now: float = 100.0) -> None:
        out = self.run(self.tick(now), now)
        assert [type(effect) for effect in out] == [ActOnTable]
        assert self.keeper.held


def send(effects: list[Any]) -> SendRenewal:
    (effect,) = effects
    assert isinstance(effect, SendRenewal)
    return effect


def test_it_creates_then_reads_again_and_renews_before_it_allows_to_act() -> None:
    unit = Unit()
    (first,) = unit.tick(0.0)
    create = send(unit.read(first, 0.0))
    assert create.revision == 0
    (second,) = unit.answer(create, unit.apply(create), 0.1)
    assert isinstance(second, ReadTogether)
    assert unit.keeper.lease_until < 0
    renew = send(unit.read(second, 0.2))
    assert renew.revision == 1
    assert unit.answer(renew, unit.apply(renew), 0.3) == [ActOnTable(second.ticket)]
    assert unit.keeper.lease_until == pytest.approx(0.2 + D)


def test_the_lease_lasts_from_the_time_of_sending_not_of_the_reply() -> None:
    unit = Unit()
    unit.start(100.0)
    renewal = send(unit.tick(101.0))
    unit.answer(renewal, unit.apply(renewal), 102.9)
    assert unit.keeper.lease_until == 101.0 + D
    assert unit.keeper.leased(101.0 + D - 0.001)
    assert not unit.keeper.leased(101.0 + D)


def test_it_renews_every_eighth_and_not_more_often() -> None:
    unit = Unit()
    unit.start(100.0)
    assert unit.tick(100.0 + D / 8 - 0.01) == []
    assert send(unit.tick(100.0 + D / 8)).nonce
    assert unit.tick(100.0 + D / 8 + 0.1) == []


def test_every_renewal_has_a_fresh_nonce_and_is_conditional_on_the_last_revision() -> None:
    unit = Unit()
    unit.start()
    seen = set()
    for n in range(1, 10):
        renewal = send(unit.tick(100.0 + n))
        result = unit.apply(renewal)
        assert result.succeeded
        unit.answer(renewal, result, 100.0 + n)
        seen.add(unit.state.entries[KEY].value)
    assert len(seen) == 9


def test_a_fenced_unit_drops_its_roles_reads_renews_and_only_then_acts() -> None:
    unit = Unit()
    unit.start(100.0)
    generation = unit.keeper.generation
    unit.fence()
    renewal = send(unit.tick(101.0))
    drop, reading = unit.answer(renewal, unit.apply(renewal), 101.1)
    assert isinstance(drop, DropRoles)
    assert isinstance(reading, ReadTogether)
    assert not unit.keeper.leased(101.1)
    assert unit.keeper.generation == generation + 1
    again = send(unit.read(reading, 101.2))
    assert again.revision == unit.state.entries[KEY].revision
    assert not unit.keeper.held
    assert unit.answer(again, unit.apply(again), 101.3) == [ActOnTable(reading.ticket)]
    assert unit.keeper.lease_until == 101.2 + D


def test_fenced_again_between_read_and_renewal_the_table_read_is_not_acted_on() -> None:
    unit = Unit()
    unit.start(100.0)
    unit.fence()
    renewal = send(unit.tick(101.0))
    _, reading = unit.answer(renewal, unit.apply(renewal), 101.0)
    again = send(unit.read(reading, 101.1))
    unit.fence()  # another part of the table went to somebody else
    (third,) = unit.answer(again, unit.apply(again), 101.2)
    assert isinstance(third, ReadTogether)
    assert third.ticket > reading.ticket
    assert not unit.keeper.held


def test_an_earlier_renewal_in_doubt_that_won_is_adopted_from_its_own_sending() -> None:
    unit = Unit()
    unit.start(100.0)
    first = send(unit.tick(101.0))
    unit.apply(first)  # applied; the answer is lost
    unit.keeper.step(RenewalInDoubt(first.nonce), 102.0)
    assert unit.keeper.lease_until == 100.0 + D
    second = send(unit.tick(102.0))
    assert unit.answer(second, unit.apply(second), 102.1) == []
    assert unit.keeper.held
    assert unit.keeper.lease_until == 101.0 + D
    third = send(unit.tick(103.0))
    assert unit.apply(third).succeeded


def test_while_confirming_an_adopted_renewal_allows_to_act() -> None:
    unit = Unit()
    unit.start(100.0)
    unit.fence()
    renewal = send(unit.tick(101.0))
    _, reading = unit.answer(renewal, unit.apply(renewal), 101.0)
    first = send(unit.read(reading, 101.0))
    unit.apply(first)
    second = send(unit.tick(102.0))
    assert unit.answer(second, unit.apply(second), 102.0) == [ActOnTable(reading.ticket)]
    assert unit.keeper.lease_until == 101.0 + D


def test_a_renewal_of_a_revision_left_behind_is_not_recognised_as_won() -> None:
    """After a removal the key can be absent again, and a late creation may then succeed."""
    unit = Unit()
    (reading,) = unit.tick(0.0)
    lost = send(unit.read(reading, 0.0))  # delayed in the network
    unit.run(unit.tick(1.0), 1.0)
    assert unit.keeper.held
    assert unit.state.txn([], {}, [KEY]).succeeded  # fenced and removed as dead, in effect
    assert unit.apply(lost).succeeded  # the late one arrives
    renewal = send(unit.tick(2.0))
    effects = unit.answer(renewal, unit.apply(renewal), 2.0)
    assert [type(effect) for effect in effects] == [DropRoles, ReadTogether]


def test_a_late_answer_from_before_the_fencing_restores_nothing() -> None:
    unit = Unit()
    unit.start(100.0)
    first = send(unit.tick(101.0))
    late = unit.apply(first)
    unit.fence()
    second = send(unit.tick(102.0))
    effects = unit.answer(second, unit.apply(second), 102.0)
    assert isinstance(effects[0], DropRoles)
    assert unit.answer(first, late, 102.1) == []
    assert not unit.keeper.leased(102.1)


def test_a_late_read_is_not_used_after_a_newer_one_was_asked_for() -> None:
    unit = Unit()
    (first,) = unit.tick(0.0)
    assert unit.tick(0.1) == []
    (second,) = unit.tick(D / 4)
    assert unit.read(first, D / 4) == []
    assert send(unit.read(second, D / 4)).revision == 0


def test_away_and_in_doubt_keep_the_lease_and_try_again() -> None:
    unit = Unit()
    unit.start(100.0)
    for n in range(1, 4):
        renewal = send(unit.tick(100.0 + n * D / 4))
        kind = RenewalAway if n % 2 else RenewalInDoubt
        assert unit.keeper.step(kind(renewal.nonce), 100.0 + n * D / 4) == []
    assert unit.keeper.lease_until == 100.0 + D
    assert unit.keeper.held
    assert not unit.keeper.leased(100.0 + D)
    renewal = send(unit.tick(110.0))
    unit.answer(renewal, unit.apply(renewal), 110.0)
    assert unit.keeper.lease_until == 110.0 + D


def test_outstanding_renewals_are_bounded() -> None:
    unit = Unit()
    unit.start(100.0)
    first = send(unit.tick(101.0))
    result = unit.apply(first)
    for n in range(2, OUTSTANDING_MAX + 2):
        last = send(unit.tick(100.0 + n))
    assert unit.answer(first, result, 200.0) == []  # forgotten
    effects = unit.answer(last, unit.apply(last), 200.0)
    assert [type(effect) for effect in effects] == [DropRoles, ReadTogether]


def test_a_failed_read_is_asked_again() -> None:
    unit = Unit()
    (reading,) = unit.tick(0.0)
    unit.keeper.step(ReadFailed(reading.ticket), 0.1)
    assert unit.tick(0.2) == []
    (again,) = unit.tick(D / 4)
    assert isinstance(again, ReadTogether)


def test_draining_is_published_with_the_next_tick() -> None:
    unit = Unit()
    unit.start(100.0)
    unit.keeper.step(DrainWanted(), 100.1)
    renewal = send(unit.tick(100.1))
    assert decode_lease(renewal.value).draining


def test_a_nonce_that_says_fenced_or_was_used_is_a_mistake_of_the_caller() -> None:
    unit = Unit()
    unit.start(100.0)
    with pytest.raises(ValueError, match="fresh"):
        unit.keeper.step(Tick(FENCED), 101.0)
    renewal = send(unit.tick(102.0))
    with pytest.raises(ValueError, match="fresh"):
        unit.keeper.step(Tick(renewal.nonce), 104.0)


def observe(observer: LeaseObserver, until: float, step: float = 0.5, **revisions: int) -> None:
    now = observer._observed_at + step
    while now <= until + 1e-9:
        observer.observe(revisions, now)
        now += step


def test_a_lease_is_overdue_after_its_duration_and_the_margin() -> None:
    observer = LeaseObserver(D, MARGIN)
    observer.observe({"a": 5}, 0.0)
    observe(observer, 4.0, a=5)
    assert not observer.overdue("a", D)
    assert not observer.overdue("a", D * (1 + MARGIN))
    assert observer.overdue("a", D * (1 + MARGIN) + 0.001)


def test_a_renewed_lease_starts_anew_and_an_unknown_one_is_not_overdue() -> None:
    observer = LeaseObserver(D, MARGIN)
    observer.observe({"a": 5}, 0.0)
    observe(observer, 3.0, a=5)
    observe(observer, 6.0, a=6)
    assert not observer.overdue("a", 6.0)
    assert observer.overdue("a", 6.8)
    assert not observer.overdue("b", 100.0)


def test_a_controller_that_has_just_started_deposes_nobody_for_a_full_lease() -> None:
    observer = LeaseObserver(D, MARGIN)
    observer.observe({"a": 5}, 1000.0)
    assert not observer.overdue("a", 1000.0 + D)


def test_after_a_gap_in_its_own_observations_it_waits_again() -> None:
    """A control process that was stopped has kept the units from renewing."""
    observer = LeaseObserver(D, MARGIN)
    observer.observe({"a": 5}, 0.0)
    observe(observer, 2.0, a=5)
    observer.observe({"a": 5}, 12.0)
    assert not observer.overdue("a", 12.0)
    observe(observer, 16.0, a=5)
    assert observer.overdue("a", 16.0)


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 10**9), drift=st.sampled_from([0.98, 1.0, 1.02]))
def test_never_leased_once_deposed(seed: int, drift: float) -> None:
    """A unit against a controller: lost answers, delays, pauses, clocks 2 % apart.

    Whenever the controller fences by the observer's word, the unit must not be leased any more
    (by its own clock); and whoever may act, leased, has read the table after the last fencing.
    """
    rng = random.Random(seed)
    unit = Unit()
    observer = LeaseObserver(D, MARGIN)
    pending: list[tuple[float, Any]] = []  # (when it reaches the unit, event)
    in_network: list[tuple[float, SendRenewal]] = []  # (when it reaches the store, renewal)
    read_revision: dict[int, int] = {}
    fenced_at, paused_until = 0, 0.0
    now = 0.0

    def carry_out(effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, SendRenewal):
                in_network.append((now + rng.choice([0.0, 0.1, 1.0, 2.9, 5.0]), effect))
            elif isinstance(effect, ReadTogether):
                kv = unit.state.entries.get(KEY)
                read_revision[effect.ticket] = unit.state.revision
                delay = rng.choice([0.0, 0.2, 2.0])
                pending.append((now + delay, ReadDone(effect.ticket, kv, unit.nonce())))
            elif isinstance(effect, ActOnTable) and unit.keeper.leased(now * drift):
                # Only when leased: an answer that comes after the lease is over may bring a stale
                # table, but then no lease read is possible, and the next renewal tells.
                assert read_revision[effect.ticket] >= fenced_at

    for _ in range(400):
        now += rng.choice([0.05, 0.1, 0.3])
        for item in [i for i in in_network if i[0] <= now]:
            in_network.remove(item)
            fate = rng.random()
            if fate < 0.15:
                continue  # lost on the way
            result = unit.apply(item[1])
            answer: Any = RenewalDone(item[1].nonce, result)
            if fate < 0.3:
                answer = RenewalInDoubt(item[1].nonce)
            pending.append((now + rng.choice([0.0, 0.1, 2.0, 6.0]), answer))
        if rng.random() < 0.03:
            paused_until = now + rng.choice([1.0, 3.0, 3.3, 5.0])
        if now >= paused_until:
            for late in [p for p in pending if p[0] <= now]:
                pending.remove(late)
                carry_out(unit.keeper.step(late[1], now * drift))
                unit.keeper.validate(now * drift)
            carry_out(unit.tick(now * drift))
        kv = unit.state.entries.get(KEY)
        observer.observe({"unit-1#1": kv.revision} if kv else {}, now)
        if kv and observer.overdue("unit-1#1", now):
            assert not unit.keeper.leased(now * drift)
            if not decode_lease(kv.value).fenced:
                unit.fence()
                fenced_at = unit.state.revision
                if rng.random() < 0.3:
                    unit.state.txn([], {}, [KEY])
