"""Which units should hold which partitions: pure, deterministic, even, with few moves.

Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998)
with a load cap of 1.0 (after Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded
loads", 2016): each partition ranks the units by a hash of both, partitions choose in order of their
numbers, and a unit that has its even share is passed over. A unit that joins or leaves so changes
little but its own share, and who ranked second, mostly the backup, follows a primary that leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import xxhash


class UnitInfo(msgspec.Struct, frozen=True):
    """A unit that may hold partitions. `zone`: what fails together, as a machine; "" for none."""

    name: str
    zone: str = ""


def rank(partition: int, units: Sequence[str]) -> list[str]:
    """The units by this partition's preference, best first."""
    prefix = b"%d/" % partition
    return sorted(
        units,
        key=lambda unit: (xxhash.xxh3_64_intdigest(prefix + unit.encode()), unit),
        reverse=True,
    )


def place(partitions: int, units: Sequence[UnitInfo], backups: int) -> list[tuple[str, ...]]:
    """The units of every partition, primary first.

    Primaries per unit differ by at most 1; backups per unit are at most the even share, rounded
    up. A partition's units are distinct, and in distinct zones as far as the shares leave room.
    With fewer units than copies every unit holds one. The order of `units` does not matter.
    Raises ValueError for units of the same name.
    """
    names = [unit.name for unit in units]
    if len(set(names)) != len(names):
        raise ValueError("two units have the same name")
    if not names:
        return [()] * partitions
    ranks = [rank(partition, names) for partition in range(partitions)]
    placed = [[unit] for unit in _place_primaries(ranks, names)]
    copies = min(backups, len(names) - 1)
    if copies:
        _BackupPlacement(ranks, units, placed, copies).run()
    return [tuple(row) for row in placed]


def _place_primaries(ranks: Sequence[Sequence[str]], names: Sequence[str]) -> list[str]:
    """Every unit has room for the even share rounded down; the remainder goes one to a unit."""
    share, remainder = divmod(len(ranks), len(names))
    load = dict.fromkeys(names, 0)
    primaries = []
    for preferred in ranks:
        for unit in preferred:
            if load[unit] < share or (load[unit] == share and remainder > 0):
                break
        remainder -= load[unit] == share
        load[unit] += 1
        primaries.append(unit)
    return primaries


class _BackupPlacement:
    """Gives each partition its backups, one round of partitions for each copy.

    Where no unit that suits has room, another partition's backup is moved from a unit that suits to
    one that has room; only then are zones given up, and last the share.
    """

    def __init__(
        self,
        ranks: Sequence[Sequence[str]],
        units: Sequence[UnitInfo],
        placed: list[list[str]],
        copies: int,
    ) -> None:
        self._ranks = ranks
        self._zone = {unit.name: unit.zone for unit in units}
        self._zoned = len({unit.zone for unit in units}) > 1
        self._placed = placed
        self._copies = copies
        self._share = 0
        self._load: dict[str, int] = {}
        self._held: dict[str, set[int]] = {}
        self._hopeless: set[tuple[str, ...]] = set()

    def run(self) -> None:
        # Each copy has a share of its own, so that all of them are even at the end of each round.
        self._share = -(-len(self._ranks) // len(self._zone))
        for _ in range(self._copies):
            self._load = dict.fromkeys(self._zone, 0)
            self._held = {unit: set() for unit in self._zone}
            self._hopeless.clear()
            for partition in range(len(self._ranks)):
                self._put(partition, self._choose(partition))

    def _choose(self, partition: int) -> str:
        for strict in (True, False) if self._zoned else (False,):
            suitable = [u for u in self._ranks[partition] if self._suits(partition, u, strict)]
            for unit in suitable:
                if self._load[unit] < self._share:
                    return unit
            swapped = self._make_room(partition, suitable, strict)
            if swapped:
                return swapped
        # Unreachable with one backup; with more, rather uneven than missing.
        return min(suitable, key=lambda unit: self._load[unit])

    def _suits(self, partition: int, unit: str, strict: bool) -> bool:
        """Not a unit the partition has; where `strict`, not a zone either. "" is no zone."""
        taken = self._placed[partition]
        if unit in taken:
            return False
        zone = self._zone[unit]
        return not (strict and zone and any(self._zone[other] == zone for other in taken))

    def _make_room(self, partition: int, suitable: Sequence[str], strict: bool) -> str:
        """Moves one backup off a full unit that suits; that unit, or "" when none can be moved."""
        key = (*sorted(self._placed[partition]), str(strict))
        if key in self._hopeless:
            return ""
        roomy = [unit for unit, load in self._load.items() if load < self._share]
        for unit in suitable:
            for other in sorted(self._held[unit]):
                row = self._placed[other]
                row.pop()  # the copy of this round
                for target in sorted(roomy, key=self._ranks[other].index):
                    if self._suits(other, target, strict):
                        self._load[unit] -= 1
                        self._held[unit].discard(other)
                        self._put(other, target)
                        return unit
                row.append(unit)
        self._hopeless.add(key)
        return ""

    def _put(self, partition: int, unit: str) -> None:
        self._placed[partition].append(unit)
        self._load[unit] += 1
        self._held[unit].add(partition)
