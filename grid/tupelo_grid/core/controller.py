"""The controller's decisions: creating the table, fail-over, repair, balance. No I/O, no clock.

    view = reader.read(snapshot)            # of the whole store
    for txn in controller.step(view, now):  # then send them, in any order, each at most once
        ...

Every decision is a compare-and-swap on exactly what it was made from, so a stale view, a second
controller, or an answer that was lost do no harm: the swap fails, and the next step sees why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from tupelo_grid.config import GridConfig
from tupelo_grid.core.balance import Balancer
from tupelo_grid.core.failover import (
    JournalLengths,
    depose_dead,
    fence_dead,
    forget_fenced,
    promote_returned,
    reload_lost,
)
from tupelo_grid.core.learners import GivenUp
from tupelo_grid.core.membership import LeaseObserver
from tupelo_grid.core.placement import UnitInfo, place
from tupelo_grid.core.statestore import TXN_OPERATIONS_MAX, Txn
from tupelo_grid.core.table import (
    PART_PREFIX,
    GridInfo,
    PartitionConfig,
    PartitionState,
    encode,
    part_key,
)
from tupelo_grid.core.view import Members, View, members_of

# Deaths that were seen and are remembered; a forgotten one costs the wait for the lease.
SEEN_DEAD_MAX = 1024


class ControllerSettings(msgspec.Struct, frozen=True):
    """See GridConfig for the meaning of each; times in seconds."""

    units: int = 3
    lease_s: float = 3.0
    lease_margin: float = 0.04
    settle_s: float = 1.0
    moves_per_unit_max: int = 8
    learner_retry_s: float = 10.0
    in_memory: bool = True  # what a unit holds goes with its process

    @classmethod
    def of(cls, config: GridConfig) -> ControllerSettings:
        return cls(
            units=config.units,
            lease_s=config.lease_s,
            lease_margin=config.lease_margin,
            settle_s=config.settle_s,
            moves_per_unit_max=config.moves_per_unit_max,
            learner_retry_s=config.learner_retry_s,
            in_memory=config.durability == "memory",
        )


class Controller:
    """Decides by what it is shown. Remembers only observations, which a restart may lose.

    Attributes:
        creates: partitions that are not there are created. Not before the whole grid is known to
            start: with a start that fails nothing is created, so that nothing can be lost.
    """

    def __init__(self, settings: ControllerSettings) -> None:
        self._settings = settings
        self.creates = True
        self._observer = LeaseObserver(settings.lease_s, settings.lease_margin)
        self._seen_dead: dict[str, None] = {}
        self._given_up = GivenUp(settings.learner_retry_s)
        self._alive: frozenset[str] = frozenset()
        self._steady_since = 0.0
        self._placed_for: tuple[int, int, tuple[UnitInfo, ...]] | None = None
        self._placed: list[tuple[str, ...]] = []
        self._at_rest: tuple[object, ...] | None = None

    def saw_death(self, incarnation: str) -> None:
        """Its process has ended, and an incarnation never comes back: deposed at the next step."""
        self._seen_dead[incarnation] = None
        while len(self._seen_dead) > SEEN_DEAD_MAX:
            del self._seen_dead[next(iter(self._seen_dead))]

    def step(self, view: View, now: float, lengths: JournalLengths | None = None) -> list[Txn]:
        """`now`: taken after `view` was read, on a clock that runs on in suspend."""
        members = self.members(view, now)
        if view.grid is None:
            return []
        self._given_up.observe(view.parts, now)
        basis = _basis(view, members)
        if basis == self._at_rest:
            return []
        targets = self._targets(view.grid.partitions, view.grid.backups, members.placeable)
        txns = self._create(view, members, targets, now)
        balancer = Balancer(
            view, members, targets, self._settings.moves_per_unit_max, self._given_up
        )
        txns += decide(view, members, balancer, lengths or {})
        waits = not members.steady or self._given_up or not _is_whole(view, view.grid)
        self._at_rest = None if txns or waits else basis
        return txns

    def candidates(self, view: View, now: float) -> frozenset[str]:
        """Those of whom `step` would promote one of several: their journals' lengths are worth
        asking for. Who is not live is not among them, and would keep the answer waiting."""
        live = self.members(view, now).live
        found: set[str] = set()
        for part in view.parts.values():
            if part.config.primary not in live:
                able = [member for member in part.config.in_sync if member in live]
                if len(able) > 1:
                    found.update(able)
        return frozenset(found)

    def renewed(self, incarnation: str, revision: int, now: float) -> None:
        """A watch told of a lease's renewal; `now` is taken after that."""
        self._observer.heard(incarnation, revision, now)

    def overdue_in_s(self, now: float) -> float:
        """When `step` is worth calling even if nothing changes: the next lease is overdue then."""
        return min((self._observer.left_s(one, now) for one in self._alive), default=math.inf)

    def members(self, view: View, now: float) -> Members:
        """Takes `view` as an observation; who lives by it."""
        self._observer.observe(view.lease_revisions(), now)
        members = members_of(view, self._observer, self._seen_dead, now)
        alive = frozenset(members.live)
        if alive != self._alive:
            self._alive = alive
            self._steady_since = now
        steady = now - self._steady_since >= self._settings.settle_s
        ended = frozenset(self._seen_dead) if self._settings.in_memory else frozenset()
        return replace(members, steady=steady, ended=ended)

    def _create(
        self, view: View, members: Members, targets: Sequence[tuple[str, ...]], now: float
    ) -> list[Txn]:
        assert view.grid is not None
        missing = [
            partition
            for partition in range(view.grid.partitions)
            if partition not in view.parts and part_key(partition) not in view.malformed
        ]
        if not missing or not members.placeable or not self.creates:
            return []
        # Units start within moments of each other; those that never come are not waited for.
        waited = now - self._steady_since >= max(self._settings.settle_s, self._settings.lease_s)
        begun = bool(view.parts)
        if len(members.placeable) < self._settings.units and not waited and not begun:
            return []
        return create(missing, targets, members, view.grid)

    def _targets(
        self, partitions: int, backups: int, placeable: tuple[UnitInfo, ...]
    ) -> list[tuple[str, ...]]:
        wanted = (partitions, backups, placeable)
        if wanted != self._placed_for:
            self._placed = place(partitions, placeable, backups) if placeable else []
            self._placed_for = wanted
        return self._placed


def _basis(view: View, members: Members) -> tuple[object, ...]:
    """Everything that decisions rest on, but for time and the revisions of leases, which change
    with every renewal: neither matters to a whole table with steady members."""
    leases = {
        incarnation: (held.lease.fenced, held.lease.draining, held.lease.unit, held.lease.zone)
        for incarnation, held in view.leases.items()
    }
    who = (frozenset(members.live), members.steady, members.ended)
    return (view.grid, view.parts, view.malformed, leases, who)


def _is_whole(view: View, grid: GridInfo) -> bool:
    """Nothing is missing, and nothing may return."""
    lost = any(part.config.state is PartitionState.LOST for part in view.parts.values())
    return not lost and len(view.parts) == grid.partitions


def create(
    missing: Sequence[int],
    targets: Sequence[tuple[str, ...]],
    members: Members,
    grid: GridInfo,
) -> list[Txn]:
    """The first configuration of partitions that never had one; their replicas are all empty.

    Conditional on the keys' absence alone, and they are deleted only by a clean shutdown, when no
    unit is left, so each partition begins once, whoever else creates. The leases need no
    condition: a member that was fenced or died meanwhile holds nothing yet, is named only in an
    epoch that never served with it, and is deposed like any other dead primary, or taken out of
    the set like any silent backup.
    """
    txns = []
    for start in range(0, len(missing), TXN_OPERATIONS_MAX):
        chunk = missing[start : start + TXN_OPERATIONS_MAX]
        puts = {}
        for partition in chunk:
            holders = tuple(members.incarnations[unit] for unit in targets[partition])
            load = grid.epoch_base > 0 and not grid.empty
            first = PartitionConfig(grid.epoch_base + 1, holders[0], holders, load=load)
            puts[part_key(partition)] = encode(first)
        conditions = [(part_key(partition), 0) for partition in chunk]
        txns.append(Txn(conditions, puts, (), f"create {len(chunk)} partitions"))
    return txns


def decide(
    view: View,
    members: Members,
    balancer: Balancer,
    lengths: JournalLengths,
) -> list[Txn]:
    """Everything to be done about a table that exists. No two transactions change one key."""
    txns = [
        *depose_dead(view, members, lengths),
        *promote_returned(view, members, lengths),
        *reload_lost(view, members),
        *fence_dead(view, members),
        *forget_fenced(view),
    ]
    return txns + balancer.run(skip=_partitions_of(txns))


def _partitions_of(txns: Sequence[Txn]) -> set[int]:
    keys: list[Mapping[str, bytes]] = [txn.puts for txn in txns]
    return {
        int(key[len(PART_PREFIX) :]) for puts in keys for key in puts if key.startswith(PART_PREFIX)
    }
