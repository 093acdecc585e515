"""Placement: even, distinct, zone-aware, deterministic, and with few moves."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tupelo_grid.core.placement import UnitInfo, place


def units(count: int, zones: int = 0, first: int = 1) -> list[UnitInfo]:
    return [
        UnitInfo(f"unit-{n}", f"zone-{n % zones}" if zones else "")
        for n in range(first, first + count)
    ]


def moved_copies(before: list[tuple[str, ...]], after: list[tuple[str, ...]]) -> int:
    return sum(len(set(b) - set(a)) for a, b in zip(before, after, strict=True))


def moved_primaries(before: list[tuple[str, ...]], after: list[tuple[str, ...]]) -> int:
    return sum(a[0] != b[0] for a, b in zip(before, after, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    partitions=st.integers(1, 300),
    names=st.sets(st.integers(1, 99), min_size=1, max_size=9),
    backups=st.integers(0, 3),
    zones=st.integers(0, 4),
)
def test_even_distinct_and_complete(
    partitions: int, names: set[int], backups: int, zones: int
) -> None:
    members = [UnitInfo(f"unit-{n}", f"z{n % zones}" if zones else "") for n in sorted(names)]
    table = place(partitions, members, backups)
    assert len(table) == partitions
    copies = 1 + min(backups, len(members) - 1)
    for row in table:
        assert len(row) == len(set(row)) == copies
    primaries = Counter(row[0] for row in table)
    loads = [primaries[unit.name] for unit in members]
    assert max(loads) - min(loads) <= 1
    if backups == 1:
        share = -(-partitions // len(members))
        assert max(Counter(unit for row in table for unit in row[1:]).values(), default=0) <= share


@settings(max_examples=100, deadline=None)
@given(
    zone_of=st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=2, max_size=8),
    partitions=st.integers(1, 200),
)
def test_a_backup_shares_its_primarys_zone_only_when_the_others_are_full(
    zone_of: list[str], partitions: int
) -> None:
    members = [UnitInfo(f"unit-{n}", zone) for n, zone in enumerate(zone_of)]
    zones = {unit.name: unit.zone for unit in members}
    table = place(partitions, members, 1)
    load = Counter(backup for _, backup in table)
    share = -(-partitions // len(members))
    for primary, backup in table:
        if zones[primary] and zones[primary] == zones[backup]:
            others = [name for name in zones if zones[name] != zones[primary]]
            assert all(load[name] == share for name in others)


@pytest.mark.parametrize(("count", "zones"), [(4, 2), (6, 2), (6, 3), (9, 3)])
def test_even_zones_are_never_shared(count: int, zones: int) -> None:
    members = units(count, zones)
    zone = {unit.name: unit.zone for unit in members}
    assert all(zone[a] != zone[b] for a, b in place(256, members, 1))


def test_it_depends_on_nothing_but_its_arguments() -> None:
    members = units(7, 2)
    shuffled = members[:]
    random.Random(1).shuffle(shuffled)
    assert place(256, members, 2) == place(256, shuffled, 2)
    # Pinned: another order of moves would reshuffle every running grid at an upgrade.
    assert place(4, units(3), 1) == PINNED


PINNED = [("unit-2", "unit-1"), ("unit-1", "unit-3"), ("unit-1", "unit-2"), ("unit-3", "unit-1")]


def test_the_measured_example() -> None:
    """271 partitions on 8 units: 33 or 34 each; a ninth moves about 42 primaries (ideal 30)."""
    before = place(271, units(8), 1)
    assert set(Counter(row[0] for row in before).values()) == {33, 34}
    after = place(271, units(9), 1)
    assert 30 <= moved_primaries(before, after) <= 45
    assert moved_copies(before, after) <= 1.5 * 2 * 30


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("first", [1, 100, 700])
def test_joins_and_leaves_move_little_more_than_one_share(count: int, first: int) -> None:
    before = place(256, units(count, first=first), 1)
    after = place(256, units(count + 1, first=first), 1)
    ideal = 2 * 256 / (count + 1)
    assert moved_copies(before, after) <= 1.45 * ideal
    assert moved_copies(after, before) <= 1.45 * ideal


@pytest.mark.parametrize("count", [3, 5, 8])
def test_the_backup_follows_a_primary_that_leaves(count: int) -> None:
    members = units(count)
    for gone in members:
        before = place(256, members, 1)
        after = place(256, [unit for unit in members if unit != gone], 1)
        orphans = [(a, b) for a, b in zip(before, after, strict=True) if a[0] == gone.name]
        followed = sum(new[0] == old[1] for old, new in orphans)
        assert followed >= 0.75 * len(orphans)


def test_no_units_and_names_twice() -> None:
    assert place(3, [], 1) == [(), (), ()]
    with pytest.raises(ValueError, match="same name"):
        place(3, [UnitInfo("a"), UnitInfo("a")], 1)


def test_it_is_fast() -> None:
    best = min(_timed() for _ in range(3))
    assert best < 0.05


def _timed() -> float:
    started = time.perf_counter()
    place(256, units(8), 1)
    return time.perf_counter() - started
