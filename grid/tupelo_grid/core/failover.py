"""Deposing, promoting, fencing: what a controller does about members that died or returned. Pure.

Every transaction that takes a partition from its primary also writes that primary's lease as
fenced, even where it is fenced already. So the lease's revision changes with every part taken, and
a unit that read the table before cannot renew on the revision it read, and will not act on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tupelo_grid.core.rejoin import without_behind
from tupelo_grid.core.statestore import TXN_OPERATIONS_MAX, Txn
from tupelo_grid.core.table import (
    DRAINED_PREFIX,
    EMPTY_PREFIX,
    FENCED,
    STORED_PREFIX,
    Lease,
    PartitionConfig,
    PartitionState,
    encode,
    lease_key,
    part_key,
    unit_of,
)
from tupelo_grid.core.view import Members, View, holders

# By incarnation and partition: the last sequence number of its journal.
JournalLengths = Mapping[str, Mapping[int, int]]

PARTS_PER_TXN = TXN_OPERATIONS_MAX - 1


def depose_dead(view: View, members: Members, lengths: JournalLengths) -> list[Txn]:
    """One transaction for each dead primary; what does not fit follows in the next pass.

    Only one, because each changes the revision of the lease that the next is conditional on.
    """
    orphans: dict[str, list[int]] = {}
    for partition in sorted(view.parts):
        primary = view.parts[partition].config.primary
        if primary and primary not in members.live:
            orphans.setdefault(primary, []).append(partition)
    promoted: Counter[str] = Counter(v.config.primary for v in view.parts.values())
    txns = []
    for dead, partitions in orphans.items():
        chosen = partitions[:PARTS_PER_TXN]
        puts = {lease_key(dead): _fenced_lease(view, dead)}
        for partition in chosen:
            config = view.parts[partition].config
            candidate = _best(partition, config, members, lengths, promoted)
            promoted[candidate] += 1
            puts[part_key(partition)] = encode(_promoted(config, candidate, members))
        conditions = [(lease_key(dead), _lease_revision(view, dead))]
        conditions += [(part_key(p), view.parts[p].revision) for p in chosen]
        more = "" if len(chosen) == len(partitions) else f", {len(partitions)} to go"
        txns.append(Txn(conditions, puts, reason=f"depose {dead}: {_count(chosen)}{more}"))
    return txns


def promote_returned(view: View, members: Members, lengths: JournalLengths) -> list[Txn]:
    """LOST partitions of which an in-sync member moved its lease after they were declared lost."""
    txns = []
    promoted: Counter[str] = Counter()
    for partition, versioned in sorted(view.parts.items()):
        config = versioned.config
        if config.state is not PartitionState.LOST:
            continue
        back = [
            member
            for member in config.in_sync
            if member in members.live and members.live[member].revision > versioned.revision
        ]
        config, back = without_behind(config, back)
        if not back:
            continue
        returned = msgspec.structs.replace(config, in_sync=tuple(back))
        candidate = _best(partition, returned, members, lengths, promoted)
        promoted[candidate] += 1
        put = {part_key(partition): encode(_promoted(config, candidate, members))}
        reason = f"promote {candidate}, which returned: partition {partition} is no longer lost"
        txns.append(Txn([(part_key(partition), versioned.revision)], put, reason=reason))
    return txns


def reload_lost(view: View, members: Members) -> list[Txn]:
    """LOST partitions that are in the store as a whole, to be loaded by somebody.

    Either their load was broken off: nobody answers for a partition before its load is noted, so
    all that was ever acknowledged is in the store still. Or their last primary has stopped, and
    said when it answered nothing any more that the store has all of it; it was the primary of the
    epoch before the one that was lost, so nobody can have answered since. Nothing is given up. Who
    held the partition is fenced once more, as in `_forced`.
    """
    able = sorted(name for name in members.live if not members.draining(name))
    if not able:
        return []
    load = Counter(versioned.config.primary for versioned in view.parts.values())
    conditions: list[tuple[str, int]] = []
    puts: dict[str, bytes] = {}
    fenced: set[str] = set()
    for partition, versioned in sorted(view.parts.items()):
        config = versioned.config
        stored = config.load or config.epoch - 1 in view.stored.get(partition, ())
        if config.state is not PartitionState.LOST or not stored:
            continue
        gone = holders(config)
        if not all(_is_gone(view, members, one) and not load[one] for one in gone):
            continue  # it may return, or another transaction is about to fence it
        if len(puts) + 1 + len(fenced | gone) > TXN_OPERATIONS_MAX:
            break
        fenced |= gone
        candidate = min(able, key=lambda name: load[name])
        load[candidate] += 1
        conditions.append((part_key(partition), versioned.revision))
        again = PartitionConfig(config.epoch + 1, candidate, (candidate,), load=True)
        puts[part_key(partition)] = encode(again)
    if not puts:
        return []
    count = len(puts)
    for one in sorted(fenced):
        conditions.append((lease_key(one), _lease_revision(view, one)))
        puts[lease_key(one)] = _fenced_lease(view, one)
    return [Txn(conditions, puts, reason=f"load {count} partitions, which the store has whole")]


def _is_gone(view: View, members: Members, incarnation: str) -> bool:
    held = view.leases.get(incarnation)
    return incarnation not in members.live and (held is None or held.lease.fenced)


def fence_dead(view: View, members: Members) -> list[Txn]:
    """Dead members that are primary of nothing: fenced, so that nobody takes them for live."""
    primaries = {versioned.config.primary for versioned in view.parts.values()}
    return [
        Txn(
            [(lease_key(dead), held.revision)],
            {lease_key(dead): _fenced_lease(view, dead)},
            reason=f"fence {dead}: dead, primary of nothing",
        )
        for dead, held in sorted(view.leases.items())
        if dead not in members.live and not held.lease.fenced and dead not in primaries
    ]


def forget_fenced(view: View) -> list[Txn]:
    """Leases of dead incarnations that no partition mentions any more.

    Should one of them live after all, its renewal is refused and it begins anew.
    """
    mentioned: set[str] = set()
    for versioned in view.parts.values():
        mentioned |= holders(versioned.config)
    return [
        Txn([(lease_key(dead), held.revision)], {}, _keys_of(dead, view), f"forget {dead}")
        for dead, held in sorted(view.leases.items())
        if held.lease.fenced and dead not in mentioned
    ]


def _keys_of(dead: str, view: View) -> list[str]:
    words = [f"{prefix}{dead}" for prefix in (DRAINED_PREFIX, STORED_PREFIX, EMPTY_PREFIX)]
    return [lease_key(dead), *(words if dead in view.words else ())]


@dataclass(frozen=True, slots=True)
class ForcedPromotion:
    """`may_lose`: for a person, what this may cost."""

    txn: Txn
    candidate: str
    may_lose: str


def force(
    view: View,
    members: Members,
    partition: int,
    candidates: Sequence[str],
    lengths: JournalLengths,
    cursor: int = 0,
) -> ForcedPromotion:
    """Makes a replica outside the surviving in-sync set primary, at an operator's word.

    Takes the live candidate with the longest journal. `cursor`: up to there the store has
    everything; a journal that ends before it cannot go on, since what it would write next is taken
    already. Raises ValueError where it is not needed (an in-sync member lives) or not possible (no
    such partition, no live candidate, one that is behind the store).
    """
    config = _forceable(view, members, partition)
    alive = [candidate for candidate in candidates if candidate in members.live]
    if not alive:
        raise ValueError(f"none of the candidates for partition {partition} has a live lease")
    length = {candidate: lengths.get(candidate, {}).get(partition, 0) for candidate in alive}
    candidate = max(alive, key=lambda name: length[name])
    if length[candidate] < cursor:
        raise ValueError(
            f"{candidate} has {length[candidate]} records of partition {partition} and the store "
            f"has {cursor}: begin it anew from the store"
        )
    held = f"{length[candidate]} records" if length[candidate] else "nothing that is known of"
    return ForcedPromotion(
        _forced(view, partition, candidate, load=False),
        candidate,
        f"partition {partition}: {candidate} has {held}. Every acknowledged change that only "
        f"{', '.join(config.in_sync)} held is lost, also if one of them returns",
    )


def force_from_store(
    view: View, members: Members, partition: int, candidates: Sequence[str], cursor: int
) -> ForcedPromotion:
    """Has the first live candidate begin the partition anew with what the store has of it.

    Raises ValueError as `force` does.
    """
    config = _forceable(view, members, partition)
    alive = [candidate for candidate in candidates if candidate in members.live]
    if not alive:
        raise ValueError(f"none of the candidates for partition {partition} has a live lease")
    return ForcedPromotion(
        _forced(view, partition, alive[0], load=True),
        alive[0],
        f"partition {partition}: {alive[0]} loads what the store has, which ends at change "
        f"{cursor}. Every later change is lost, and entries of spaces that are not persisted are, "
        f"also if one of {', '.join(config.in_sync)} returns",
    )


def _forceable(view: View, members: Members, partition: int) -> PartitionConfig:
    """Raises ValueError where nothing has to be, or can be, forced."""
    versioned = view.parts.get(partition)
    if versioned is None:
        raise ValueError(f"there is no partition {partition}")
    living = [member for member in versioned.config.in_sync if member in members.live]
    if living:
        raise ValueError(
            f"partition {partition} needs no forcing: {', '.join(living)} lives and holds every "
            f"acknowledged change"
        )
    return versioned.config


def _forced(view: View, partition: int, candidate: str, load: bool) -> Txn:
    """Fences everybody else who holds the partition.

    They may hold what is given up now, and must not bring it back. A fenced unit reads the table
    before it acts again, and is a member of nothing that was decided before it did: so it sees
    that it has no part in this partition, and drops its replica, before it can be made a learner
    of the new history.
    """
    versioned = view.parts[partition]
    config = PartitionConfig(versioned.config.epoch + 1, candidate, (candidate,), load=load)
    conditions = [(part_key(partition), versioned.revision)]
    puts = {part_key(partition): encode(config)}
    for holder in sorted(holders(versioned.config) - {candidate}):
        conditions.append((lease_key(holder), _lease_revision(view, holder)))
        puts[lease_key(holder)] = _fenced_lease(view, holder)
    origin = ", loaded from the store" if load else ""
    return Txn(
        conditions, puts, reason=f"forced: {candidate} is primary of partition {partition}{origin}"
    )


def _best(
    partition: int,
    config: PartitionConfig,
    members: Members,
    lengths: JournalLengths,
    promoted: Mapping[str, int],
) -> str:
    """The in-sync member to promote; "" when none lives.

    Any of them holds every acknowledged change. The longest journal spares resync, a draining unit
    would only hand over again, and the rest spreads the load.
    """
    living = [member for member in config.in_sync if member in members.live]
    return min(
        living,
        key=lambda member: (
            -lengths.get(member, {}).get(partition, -1),
            members.draining(member),
            promoted.get(member, 0),
            config.in_sync.index(member),
        ),
        default="",
    )


def _promoted(config: PartitionConfig, candidate: str, members: Members) -> PartitionConfig:
    """The in-sync set keeps whoever may only seem dead: to shrink it is the new primary's business.

    If the candidate is dead too, a paused old primary in the set is the last copy. A process that
    was seen to end is no copy any more, and the new primary need not first take it out.
    """
    in_sync = tuple([m for m in config.in_sync if m not in members.ended])
    return msgspec.structs.replace(
        config,
        in_sync=in_sync if candidate else config.in_sync,
        epoch=config.epoch + 1,
        primary=candidate,
        learner=config.learner if candidate and config.learner in members.live else "",
        next_primary="",
        leaving="",
        state=PartitionState.OK if candidate else PartitionState.LOST,
    )


def _fenced_lease(view: View, incarnation: str) -> bytes:
    held = view.leases.get(incarnation)
    lease = held.lease if held else Lease(unit_of(incarnation), "", "", FENCED)
    return encode(msgspec.structs.replace(lease, nonce=FENCED))


def _lease_revision(view: View, incarnation: str) -> int:
    held = view.leases.get(incarnation)
    return held.revision if held else 0


def _count(partitions: Sequence[int]) -> str:
    return f"{len(partitions)} partition{'s' if len(partitions) != 1 else ''}"
