"""Leases: how a unit keeps its own, and how a controller sees that one is over. No I/O, no clock.

PROTOCOL section 3. A lease is a key of the state store that its unit changes every eighth of its
duration D. Only results of transactions count. For the unit the lease lasts D from the moment the
winning renewal was *sent*; for a controller it is over when the key stayed the same for D * (1 + e)
of its own clock. Deposing always writes the lease as fenced in the same transaction, so that a unit
that was deposed finds its next renewal refused.

Wiring of `LeaseKeeper`: call `step` with each event and carry out the effects in order.

    Tick                 every D/16 or so, from the event loop that serves; may come late
    DropRoles       ->   stop being primary of anything, at once; forget tables read before
    ReadTogether    ->   read leases and table in one read (prefix ""); answer with ReadDone, or
                         with ReadFailed when the store gave no snapshot
    SendRenewal     ->   send the transaction at once, in a task of its own with a deadline; answer
                         with RenewalDone, RenewalInDoubt or RenewalAway
    ActOnTable      ->   the table of that ReadTogether may be acted on, and later reads too

Reads of the table that were begun while `generation` was another must not be acted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

from tupelo_grid.core.statestore import KeyValue, TxnResult
from tupelo_grid.core.table import FENCED, Lease, decode_lease, encode, lease_key

# Renewals whose fate is unknown. More need not be remembered: to forget one that won is to be
# fenced by oneself, which costs a read and no safety.
OUTSTANDING_MAX = 64
RENEWALS_PER_LEASE = 8


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `nonce`: never used before; becomes the lease's value if a renewal is due."""

    nonce: str


@dataclass(frozen=True, slots=True)
class ReadDone:
    """The answer to ReadTogether. `lease`: this incarnation's own, None when the store has none."""

    ticket: int
    lease: KeyValue | None
    nonce: str


@dataclass(frozen=True, slots=True)
class ReadFailed:
    ticket: int


@dataclass(frozen=True, slots=True)
class RenewalDone:
    nonce: str
    result: TxnResult


@dataclass(frozen=True, slots=True)
class RenewalInDoubt:
    """It may have been applied, or may still be."""

    nonce: str


@dataclass(frozen=True, slots=True)
class RenewalAway:
    """It certainly was not applied."""

    nonce: str


@dataclass(frozen=True, slots=True)
class DrainWanted:
    """From now on the lease says `draining`; renewed with the next tick."""


Event = Tick | ReadDone | ReadFailed | RenewalDone | RenewalInDoubt | RenewalAway | DrainWanted


@dataclass(frozen=True, slots=True)
class DropRoles:
    reason: str


@dataclass(frozen=True, slots=True)
class ReadTogether:
    ticket: int


@dataclass(frozen=True, slots=True)
class SendRenewal:
    """A transaction: put `value` at `key` where the key still has `revision` (0: where absent)."""

    nonce: str
    key: str
    revision: int
    value: bytes


@dataclass(frozen=True, slots=True)
class ActOnTable:
    ticket: int


Effect = DropRoles | ReadTogether | SendRenewal | ActOnTable


class Phase(Enum):
    READING = "reads leases and table together"
    CREATING = "the store has no lease yet; one is being put"
    CONFIRMING = "renews on the revision just read; acts on that table afterwards"
    HELD = "renews"


class LeaseKeeper:
    """A unit's own lease.

    It begins as if it had been fenced: reads, creates the lease where there is none, reads again,
    renews on the revision read, and only then allows to act. The creation itself never allows it:
    "absent" is a state that can come back, after the lease of a dead incarnation was removed, so a
    swap on it does not prove that nothing happened since the read; a swap on a revision does.

    Args:
        incarnation: whose lease this is.
        lease: what is published; its nonce is replaced at each renewal.
        duration_s: D.
    """

    def __init__(self, incarnation: str, lease: Lease, duration_s: float) -> None:
        self.incarnation = incarnation
        self.lease = lease
        self.phase = Phase.READING
        self.lease_until = -math.inf
        self.generation = 0
        self._key = lease_key(incarnation)
        self._duration_s = duration_s
        self._revision = 0
        self._ticket = 0
        self._due = -math.inf
        # Of the renewals on `_revision` whose fate is unknown: when each was sent.
        self._outstanding: dict[str, float] = {}

    @property
    def held(self) -> bool:
        """Not fenced as far as is known. Roles may be held; for lease reads see `leased`."""
        return self.phase is Phase.HELD

    def leased(self, now: float) -> bool:
        """Whether a value taken before `now` was read may be answered without asking anybody."""
        return self.phase is Phase.HELD and now < self.lease_until

    def step(self, event: Event, now: float) -> list[Effect]:
        match event:
            case Tick(nonce):
                return self._on_tick(nonce, now)
            case ReadDone(ticket, lease, nonce):
                return self._on_read(ticket, lease, nonce, now)
            case RenewalDone(nonce, result):
                return self._on_result(nonce, result, now)
            case RenewalAway(nonce):
                self._outstanding.pop(nonce, None)
            case DrainWanted():
                self.lease = msgspec.structs.replace(self.lease, draining=True)
                self._due = -math.inf
            case ReadFailed() | RenewalInDoubt():
                # Nothing is known: the lease lasts as long as it did, the nonce stays outstanding,
                # and the next due tick tries again.
                pass
        return []

    def validate(self, now: float) -> None:
        """Asserts what must hold between steps."""
        assert len(self._outstanding) <= OUTSTANDING_MAX
        assert self.lease_until <= now + self._duration_s
        assert self.phase is Phase.HELD or self.lease_until == -math.inf
        assert all(sent <= now for sent in self._outstanding.values())
        assert self.phase is not Phase.READING or not self._outstanding

    def _on_tick(self, nonce: str, now: float) -> list[Effect]:
        if now < self._due:
            return []
        if self.phase in (Phase.READING, Phase.CREATING):
            # The answer is late or lost; whatever a creation did, the next read shows.
            return [self._read(now)]
        return [self._renew(nonce, now)]

    def _read(self, now: float) -> Effect:
        self.phase = Phase.READING
        self._outstanding.clear()
        self._ticket += 1
        self._due = now + self._duration_s / RENEWALS_PER_LEASE
        return ReadTogether(self._ticket)

    def _on_read(self, ticket: int, lease: KeyValue | None, nonce: str, now: float) -> list[Effect]:
        if self.phase is not Phase.READING or ticket != self._ticket:
            return []
        self._revision = lease.revision if lease else 0
        self.phase = Phase.CONFIRMING if lease else Phase.CREATING
        return [self._renew(nonce, now)]

    def _renew(self, nonce: str, now: float) -> Effect:
        if nonce == FENCED or nonce in self._outstanding:
            raise ValueError(f"{nonce!r} is not a fresh nonce")
        while len(self._outstanding) >= OUTSTANDING_MAX:
            del self._outstanding[next(iter(self._outstanding))]
        self._outstanding[nonce] = now
        self._due = now + self._duration_s / RENEWALS_PER_LEASE
        self.lease = msgspec.structs.replace(self.lease, nonce=nonce)
        return SendRenewal(nonce, self._key, self._revision, encode(self.lease))

    def _on_result(self, nonce: str, result: TxnResult, now: float) -> list[Effect]:
        if nonce not in self._outstanding:
            return []  # about a revision that has been left behind since
        if self.phase is Phase.CREATING:
            return [self._read(now)]
        if result.succeeded:
            return self._won(nonce, result.revision)
        current = result.current.get(self._key)
        stored = decode_lease(current.value).nonce if current else FENCED
        if current is not None and stored in self._outstanding:
            # An earlier renewal, in doubt until now. It was conditional on the same revision, so
            # nothing came between; the lease lasts from when *it* was sent.
            return self._won(stored, current.revision)
        return self._fenced(now)

    def _won(self, nonce: str, revision: int) -> list[Effect]:
        """`nonce` is the lease's value. Every other outstanding renewal has lost with that."""
        was, self.phase = self.phase, Phase.HELD
        self.lease_until = max(self.lease_until, self._outstanding[nonce] + self._duration_s)
        self._revision = revision
        self._outstanding.clear()
        return [ActOnTable(self._ticket)] if was is Phase.CONFIRMING else []

    def _fenced(self, now: float) -> list[Effect]:
        drop: list[Effect] = []
        if self.phase is Phase.HELD:
            self.generation += 1
            drop = [DropRoles("the lease was fenced: another unit may be primary by now")]
        self.lease_until = -math.inf
        return [*drop, self._read(now)]


class LeaseObserver:
    """Which leases are over, by this controller's own clock and observations.

    A lease is known by its revision: the same revision means that it was not renewed since it was
    first seen. Observations start when the observer does, so that a controller that has just
    started deposes nobody for a full lease. They start again after a gap in them: then the
    controller itself, and perhaps the store, was stopped, and units could not have renewed.
    """

    def __init__(self, duration_s: float, margin: float) -> None:
        self._overdue_s = duration_s * (1 + margin)
        self._gap_s = duration_s / 2
        self._seen: dict[str, tuple[int, float]] = {}
        self._observed_at = -math.inf

    def observe(self, revisions: Mapping[str, int], now: float) -> None:
        """`revisions`: of all leases, by incarnation. `now`: taken after they were read."""
        gap = now - self._observed_at > self._gap_s
        seen = self._seen
        self._seen = {
            incarnation: seen[incarnation]
            if not gap and incarnation in seen and seen[incarnation][0] == revision
            else (revision, now)
            for incarnation, revision in revisions.items()
        }
        self._observed_at = now

    def heard(self, incarnation: str, revision: int, now: float) -> None:
        """A watch told of a renewal, between two observations: it was made before `now`."""
        seen = self._seen.get(incarnation)
        if seen is not None and seen[0] < revision:
            self._seen[incarnation] = (revision, now)

    def overdue(self, incarnation: str, now: float) -> bool:
        """Whether the lease, as last observed, was not renewed for D * (1 + e)."""
        seen = self._seen.get(incarnation)
        return seen is not None and now - seen[1] > self._overdue_s

    def left_s(self, incarnation: str, now: float) -> float:
        """How long until it is overdue, if it is not renewed; below 0 when it is."""
        seen = self._seen.get(incarnation)
        return math.inf if seen is None else seen[1] + self._overdue_s - now
