"""Replicas that come back from the disk of a unit that was restarted. Pure.

A restarted unit is a new incarnation. If its disk has everything that an earlier one acknowledged,
it may take that one's place in in-sync sets: a compare-and-swap for each partition, which also
fences the earlier one, whose process is certainly gone, as its journal folder was free. The primary
then meets the new incarnation as it would any replica, and a LOST partition returns as it does when
a member of its set moves its lease again: by the controller.

A disk that is synced now and then only (fsync = "interval") may lack the newest records after a
loss of power. What comes from it is marked as `behind`, takes a place in LOST partitions only, and
is promoted only when every member of the set is back, the most advanced one alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from tupelo_grid.core.statestore import Txn
from tupelo_grid.core.table import (
    FENCED,
    Lease,
    PartitionConfig,
    PartitionState,
    encode,
    lease_key,
    part_key,
    unit_of,
)
from tupelo_grid.core.view import View

# Of one transaction; it may be in vain when one of them changes meanwhile.
PARTS_PER_TXN = 64

Ends = Mapping[int, tuple[int, int]]
"""By partition, epoch and sequence of the newest record that was recovered."""


@dataclass(frozen=True, slots=True)
class Place:
    """Who wants to take whose place. `earlier`: incarnations that wrote the same disk; `behind`:
    those of them that may have acknowledged what it does not have."""

    me: str
    earlier: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()

    def lacks(self, config: PartitionConfig) -> bool:
        return any(one in config.in_sync for one in self.behind) or any(
            one[0] in self.earlier for one in config.behind
        )


def named(config: PartitionConfig, place: Place) -> bool:
    """The disk is that of a recorded member."""
    return any(one in config.in_sync for one in place.earlier)


def rejoin(view: View, place: Place, ends: Ends) -> Txn | None:
    """The next transaction to try; None when there is nothing to do for the moment.

    A partition whose primary was one of `earlier` is left to the controller, which deposes it.
    """
    puts: dict[str, bytes] = {}
    conditions: list[tuple[str, int]] = []
    replaced: set[str] = set()
    for number, (epoch, last) in sorted(ends.items()):
        versioned = view.parts.get(number)
        if versioned is None or len(puts) >= PARTS_PER_TXN:
            continue
        config = versioned.config
        if not named(config, place) or config.primary in place.earlier:
            continue
        if place.lacks(config) and config.state is not PartitionState.LOST:
            continue
        puts[part_key(number)] = encode(_replaced(config, place, epoch, last))
        conditions.append((part_key(number), versioned.revision))
        replaced |= set(config.in_sync) & set(place.earlier)
    if not puts:
        return None
    reason = f"{place.me} is back with {len(puts)} partitions of {', '.join(sorted(replaced))}"
    for one in sorted(replaced):
        held = view.leases.get(one)
        if held is None or not held.lease.fenced:
            lease = held.lease if held else Lease(unit_of(one), "", "", FENCED)
            conditions.append((lease_key(one), held.revision if held else 0))
            puts[lease_key(one)] = encode(replace(lease, nonce=FENCED))
    return Txn(conditions, puts, reason=reason)


def _replaced(config: PartitionConfig, place: Place, epoch: int, last: int) -> PartitionConfig:
    in_sync: list[str] = []
    for member in config.in_sync:
        member = place.me if member in place.earlier else member
        if member not in in_sync:
            in_sync.append(member)
    gone = (place.me, *place.earlier)
    behind = [one for one in config.behind if one[0] not in gone]
    if place.lacks(config):
        behind.append((place.me, epoch, last))
    return replace(
        config,
        in_sync=tuple(in_sync),
        behind=tuple(behind),
        learner="" if config.learner in gone else config.learner,
    )


def without_behind(
    config: PartitionConfig, back: Sequence[str]
) -> tuple[PartitionConfig, list[str]]:
    """A LOST partition with the members that may be promoted, of those that are `back`.

    Who lacks nothing goes first, and then those that do are members no more. If only they are
    left, and all of them are back, the most advanced one goes on alone.
    """
    ends = {name: (epoch, last) for name, epoch, last in config.behind}
    whole = [name for name in back if name not in ends]
    if whole or not ends:
        members = tuple([one for one in config.in_sync if one not in ends])
        return replace(config, in_sync=members, behind=()), whole
    if len(back) < len(config.in_sync):
        return config, []
    best = max(back, key=lambda name: ends[name])
    return replace(config, in_sync=(best,), behind=()), [best]
