"""Where partitions should go: advice to their primaries, one step of one move at a time. Pure.

The controller writes advice (`learner`, `next_primary`, `leaving`) and the primary carries it out
by swaps of its own; see PartitionConfig. Order of a move: add, hand over, remove. So there are
never fewer copies than before, and at most one more than wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from tupelo_grid.core.learners import GivenUp
from tupelo_grid.core.statestore import Txn
from tupelo_grid.core.table import PartitionConfig, PartitionState, encode, part_key
from tupelo_grid.core.view import Members, View


class Balancer:
    """One pass over all partitions.

    Args:
        targets: of each partition, the units that should hold it, primary first; the result of
            `place` over `members.placeable`.
        moves_per_unit_max: partitions that a unit may be receiving, and as many that it may be
            taking over as primary.
        given_up: learners that primaries could not reach.
    """

    def __init__(
        self,
        view: View,
        members: Members,
        targets: Sequence[tuple[str, ...]],
        moves_per_unit_max: int,
        given_up: GivenUp | None = None,
    ) -> None:
        self._view = view
        self._members = members
        self._targets = targets
        self._max = moves_per_unit_max
        self._given_up = given_up or GivenUp(0.0)
        configs = [versioned.config for versioned in view.parts.values()]
        self._receiving = Counter(config.learner for config in configs if config.learner)
        self._taking_over = Counter(c.next_primary for c in configs if c.next_primary)

    def run(self, skip: Collection[int]) -> list[Txn]:
        """One transaction a partition, so that a conflict costs only its own. Not for `skip`."""
        txns = []
        # Partitions that lack a copy come first: lost redundancy is restored before anything moves.
        for partition in sorted(self._view.parts, key=lambda p: (not self._lacking(p), p)):
            versioned = self._view.parts[partition]
            if partition in skip or versioned.config.primary not in self._members.live:
                continue
            advised = self.advise(partition)
            if advised != versioned.config:
                condition = (part_key(partition), versioned.revision)
                reason = _describe(partition, versioned.config, advised)
                txns.append(Txn([condition], {part_key(partition): encode(advised)}, (), reason))
        return txns

    def advise(self, partition: int) -> PartitionConfig:
        """The partition's configuration with the advice it should carry now."""
        config = self._view.parts[partition].config
        learner = self._learner(partition, config)
        next_primary = leaving = ""
        if not learner and not self._lacking(partition):
            # What is under way is finished first: to change one's mind costs the primary a swap.
            leaving = self._leaving(partition, config) if config.leaving else ""
            next_primary = "" if leaving else self._next_primary(partition, config)
            if not next_primary:
                leaving = leaving or self._leaving(partition, config)
            if not next_primary and not leaving:
                learner = self._newcomer(partition, config)
        return msgspec.structs.replace(
            config, learner=learner, next_primary=next_primary, leaving=leaving
        )

    def _target(self, partition: int) -> list[str]:
        """The incarnations that should hold the partition, primary first."""
        if partition >= len(self._targets):
            return []
        return [self._members.incarnations[unit] for unit in self._targets[partition]]

    def _living(self, config: PartitionConfig) -> list[str]:
        return [member for member in config.in_sync if member in self._members.live]

    def _lacking(self, partition: int) -> bool:
        """Whether there are fewer living copies than there could be."""
        config = self._view.parts[partition].config
        if config.state is PartitionState.LOST:
            return False
        return len(self._living(config)) < len(self._target(partition))

    def _learner(self, partition: int, config: PartitionConfig) -> str:
        """Who is learning already, as long as it makes sense; a new one where copies are lacking.

        A pause shorter than a lease changes nothing here: the paused member counts as living.
        """
        target = self._target(partition)
        learner = config.learner
        able = learner in self._members.live and learner not in config.in_sync
        if able and (learner in target or self._lacking(partition)):
            return learner
        if learner:
            self._receiving[learner] -= 1
        if not self._lacking(partition):
            return ""
        given_up = self._given_up.of(partition)
        wanted = [member for member in target if member not in given_up]
        # Anybody is better than nobody; whom placement wants follows later, by a move.
        others = [m for m in self._elsewhere(target) if m not in given_up] if given_up else []
        return self._admit([*wanted, *others, *target], config)

    def _elsewhere(self, target: Sequence[str]) -> list[str]:
        """Members that placement does not want here, those with the least to do first."""
        members = [self._members.incarnations[unit.name] for unit in self._members.placeable]
        return sorted(set(members) - set(target), key=lambda m: (self._receiving[m], m))

    def _newcomer(self, partition: int, config: PartitionConfig) -> str:
        """A member that placement wants, once membership was steady and nothing is surplus."""
        target = self._target(partition)
        if not self._members.steady or len(self._living(config)) > len(target):
            return ""
        given_up = self._given_up.of(partition)
        return self._admit([member for member in target if member not in given_up], config)

    def _admit(self, target: Sequence[str], config: PartitionConfig) -> str:
        for member in target:
            if member not in config.in_sync and self._receiving[member] < self._max:
                self._receiving[member] += 1
                return member
        return ""

    def _next_primary(self, partition: int, config: PartitionConfig) -> str:
        target = self._target(partition)
        wanted = target[0] if target else ""
        current = config.next_primary
        useful = wanted != config.primary and wanted in config.in_sync
        if current and current == wanted and useful:
            return current
        if current:
            self._taking_over[current] -= 1
        if not (useful and self._members.steady and self._taking_over[wanted] < self._max):
            return ""
        self._taking_over[wanted] += 1
        return wanted

    def _leaving(self, partition: int, config: PartitionConfig) -> str:
        """A surplus member, never the primary, and only while enough living copies remain."""
        target = self._target(partition)
        living = self._living(config)
        if not target or len(living) <= len(target):
            return ""
        surplus = [m for m in living if m not in target and m != config.primary]
        if config.leaving in surplus:
            return config.leaving
        return surplus[0] if surplus and self._members.steady else ""


def _describe(partition: int, before: PartitionConfig, after: PartitionConfig) -> str:
    changes = []
    for field in ("learner", "next_primary", "leaving"):
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            changes.append(f"{field} {old or '-'} -> {new or '-'}")
    return f"partition {partition}: {', '.join(changes)}"
