"""What a controller sees: the decoded state store, and which of its members live."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tupelo_grid.core.membership import LeaseObserver
from tupelo_grid.core.placement import UnitInfo
from tupelo_grid.core.statestore import KeyValue, Snapshot
from tupelo_grid.core.table import (
    DRAINED_PREFIX,
    EMPTY_PREFIX,
    GRID_KEY,
    LEASE_PREFIX,
    MALFORMED,
    PART_PREFIX,
    STORED_PREFIX,
    GridInfo,
    Lease,
    PartitionConfig,
    Versioned,
    decode_config,
    decode_drained,
    decode_grid,
    decode_lease,
)


@dataclass(frozen=True, slots=True)
class VersionedLease:
    lease: Lease
    revision: int


@dataclass(frozen=True, slots=True)
class View:
    """The state store as of one revision.

    Attributes:
        malformed: keys that could not be decoded.
        stored: by partition, epochs whose primary has stopped with all of it in the store.
        words: incarnations that have left marks of their stopping.
    """

    revision: int
    grid: GridInfo | None
    parts: Mapping[int, Versioned]
    leases: Mapping[str, VersionedLease]
    malformed: tuple[str, ...] = ()
    stored: Mapping[int, Collection[int]] = field(default_factory=dict)
    words: Collection[str] = ()

    def lease_revisions(self) -> dict[str, int]:
        return {incarnation: held.revision for incarnation, held in self.leases.items()}


class ViewReader:
    """Makes views of snapshots; decodes only what changed since the last one."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[KeyValue, Versioned]] = {}
        self._leases: dict[str, tuple[KeyValue, VersionedLease]] = {}

    def read(self, snapshot: Snapshot) -> View:
        """Of a snapshot with the prefix ""."""
        parts: dict[int, Versioned] = {}
        leases: dict[str, VersionedLease] = {}
        grid: GridInfo | None = None
        malformed: list[str] = []
        stored: dict[int, set[int]] = {}
        words: set[str] = set()
        for key in sorted(snapshot.entries):
            kv = snapshot.entries[key]
            try:
                if key.startswith(PART_PREFIX):
                    parts[int(key[len(PART_PREFIX) :])] = self._part(key, kv)
                elif key.startswith(LEASE_PREFIX):
                    leases[key[len(LEASE_PREFIX) :]] = self._lease(key, kv)
                elif key == GRID_KEY:
                    grid = decode_grid(kv.value)
                elif key.startswith(STORED_PREFIX):
                    for partition, epoch in decode_drained(kv.value).items():
                        stored.setdefault(partition, set()).add(epoch)
                if key.startswith((STORED_PREFIX, DRAINED_PREFIX, EMPTY_PREFIX)):
                    words.add(key.partition("/")[2])
            except MALFORMED:
                malformed.append(key)
        self._parts = {k: v for k, v in self._parts.items() if k in snapshot.entries}
        self._leases = {k: v for k, v in self._leases.items() if k in snapshot.entries}
        return View(snapshot.revision, grid, parts, leases, tuple(malformed), stored, words)

    def _part(self, key: str, kv: KeyValue) -> Versioned:
        known = self._parts.get(key)
        if known is None or known[0] != kv:
            known = (kv, Versioned(decode_config(kv.value), kv.revision))
            self._parts[key] = known
        return known[1]

    def _lease(self, key: str, kv: KeyValue) -> VersionedLease:
        known = self._leases.get(key)
        if known is None or known[0] != kv:
            known = (kv, VersionedLease(decode_lease(kv.value), kv.revision))
            self._leases[key] = known
        return known[1]


@dataclass(frozen=True, slots=True)
class Members:
    """Who lives, by one view and one controller's observations.

    Attributes:
        live: incarnations whose lease is neither fenced nor overdue, and that were not seen dead.
        incarnations: by unit name, its newest live incarnation.
        placeable: units that may be given partitions: live and not draining.
        steady: the live ones have been the same for the settle time.
        ended: incarnations whose process was seen to end, and with it what they held.
    """

    live: Mapping[str, VersionedLease]
    incarnations: Mapping[str, str]
    placeable: tuple[UnitInfo, ...]
    steady: bool = field(default=False)
    ended: Collection[str] = ()

    def draining(self, incarnation: str) -> bool:
        held = self.live.get(incarnation)
        return held is not None and held.lease.draining


def members_of(
    view: View, observer: LeaseObserver, seen_dead: Collection[str], now: float
) -> Members:
    live = {
        incarnation: held
        for incarnation, held in view.leases.items()
        if not held.lease.fenced
        and incarnation not in seen_dead
        and not observer.overdue(incarnation, now)
    }
    newest: dict[str, str] = {}
    for incarnation, held in live.items():
        unit = held.lease.unit
        if unit not in newest or number_of(newest[unit]) < number_of(incarnation):
            newest[unit] = incarnation
    placeable = tuple(
        UnitInfo(unit, live[incarnation].lease.zone)
        for unit, incarnation in sorted(newest.items())
        if not live[incarnation].lease.draining
    )
    return Members(live, newest, placeable)


def number_of(incarnation: str) -> int:
    """7 for "unit-1#7"; 0 for what is not an incarnation."""
    number = incarnation.rpartition("#")[2]
    return int(number) if number.isdecimal() else 0


def holders(config: PartitionConfig) -> set[str]:
    """Everybody that a configuration mentions."""
    named = {config.primary, config.learner, config.next_primary, config.leaving}
    return (named | set(config.in_sync)) - {""}
