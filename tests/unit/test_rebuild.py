"""What running units know is put together again, and what they cannot know is left LOST."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from tupelo_grid.core.rebuild import NOBODY, Held, RebuildRefused, Rebuilt, Report, rebuild
from tupelo_grid.core.statestore import KeyValue
from tupelo_grid.core.table import (
    FENCED,
    GRID_KEY,
    NEXT_INCARNATION_KEY,
    GridInfo,
    Lease,
    PartitionConfig,
    PartitionState,
    decode_config,
    decode_grid,
    decode_lease,
    encode,
    lease_key,
    part_key,
    unit_of,
)

A, B, C = "unit-1#1", "unit-2#2", "unit-3#3"
GRID = GridInfo("00" * 16, 1)
SERVED = PartitionConfig(4, A, (A, B))


def lease(incarnation: str, nonce: str = "n") -> bytes:
    return encode(Lease(unit_of(incarnation), "h:1", "h:2", nonce))


def report(
    incarnation: str,
    view: PartitionConfig = SERVED,
    held: Held | None = None,
    revision: int = 50,
    grid: GridInfo = GRID,
    more: Mapping[str, KeyValue] | None = None,
) -> Report:
    known = {
        GRID_KEY: KeyValue(encode(grid), 1),
        part_key(0): KeyValue(encode(view), revision),
        lease_key(incarnation): KeyValue(lease(incarnation), revision + 1),
    }
    return Report(incarnation, {0: held} if held else {}, known | dict(more or {}))


def part(rebuilt: Rebuilt) -> PartitionConfig:
    return decode_config(rebuilt.entries[part_key(0)])


def test_the_acting_primary_knows_and_stale_views_do_not_count() -> None:
    acting = Held(4, 10, 4, config=PartitionConfig(4, A, (A, B), learner=C))
    stale = report(C, PartitionConfig(3, C, (C, A)), revision=20)
    rebuilt = rebuild([report(A, held=acting), report(B, held=Held(4, 10, 4)), stale])
    assert rebuilt.lost == {}
    assert part(rebuilt) == acting.config
    assert rebuilt.revision > 51 + 1_000_000
    assert int(rebuilt.entries[NEXT_INCARNATION_KEY]) > 3
    assert decode_grid(rebuilt.entries[GRID_KEY]) == GRID
    for incarnation in (A, B, C):
        assert not decode_lease(rebuilt.entries[lease_key(incarnation)]).fenced


def test_the_primary_of_the_highest_epoch_wins_over_one_that_was_paused() -> None:
    paused = report(A, held=Held(4, 12, 4, config=SERVED))
    after = PartitionConfig(5, B, (B,))
    rebuilt = rebuild([paused, report(B, after, Held(5, 11, 5, config=after))])
    assert part(rebuilt) == after


def test_a_member_that_does_not_run_may_have_gone_on_alone() -> None:
    rebuilt = rebuild([report(A, held=Held(4, 10, 4, config=SERVED)), report(C)])
    config = part(rebuilt)
    assert config.state is PartitionState.LOST
    assert config.primary == ""
    assert config.learner == A  # keeps what it has, for the operator
    assert config.in_sync == (B,)  # nobody who runs: it would be promoted by itself
    assert config.epoch > 1000
    assert B in rebuilt.lost[0]


def test_a_swap_in_doubt_may_have_made_another_member() -> None:
    acting = Held(4, 10, 4, config=SERVED, swap=PartitionConfig(4, A, (A, B, C)))
    both = [report(A, held=acting), report(B, held=Held(4, 10, 4))]
    assert C in rebuild(both).lost[0]
    assert rebuild([*both, report(C)]).lost == {}


def test_a_later_epoch_whose_primary_is_gone_makes_the_partition_lost() -> None:
    known = Held(6, 9, 4)  # a primary of epoch 6 has spoken to it
    rebuilt = rebuild([report(A, held=Held(4, 10, 4, config=SERVED)), report(B, held=known)])
    config = part(rebuilt)
    assert "epoch 6" in rebuilt.lost[0]
    assert (config.learner, config.in_sync) == (A, (NOBODY,))
    assert config.epoch == 1006


def test_a_partition_whose_holders_are_all_dead_is_lost() -> None:
    rebuilt = rebuild([report(C)])
    assert part(rebuilt).in_sync == (A, B)
    assert part(rebuilt).learner == ""


def test_declarations_come_from_whoever_saw_them_last() -> None:
    early = {"space/s": KeyValue(b"{}", 3), "command/c": KeyValue(b"old", 3)}
    late = {"command/c": KeyValue(b"new", 9), "drained/x#1": KeyValue(b"{}", 9)}
    acting = Held(4, config=SERVED)
    rebuilt = rebuild([report(A, held=acting, more=early), report(B, more=late)])
    assert rebuilt.entries["space/s"] == b"{}"
    assert rebuilt.entries["command/c"] == b"new"
    assert "drained/x#1" not in rebuilt.entries


def test_a_fenced_unit_that_runs_gets_a_lease_to_come_back_by() -> None:
    fenced = {lease_key(B): KeyValue(lease(B, FENCED), 90)}
    rebuilt = rebuild([report(A, held=Held(4, config=SERVED)), report(B, more=fenced)])
    assert not decode_lease(rebuilt.entries[lease_key(B)]).fenced


def test_what_cannot_be_rebuilt_is_refused() -> None:
    with pytest.raises(RebuildRefused, match="no unit runs"):
        rebuild([])
    other = msgspec.structs.replace(GRID, grid_id="11" * 16)
    with pytest.raises(RebuildRefused, match="different grids"):
        rebuild([report(A), report(B, grid=other)])
    larger = msgspec.structs.replace(GRID, partitions=2)
    with pytest.raises(RebuildRefused, match="partition 1"):
        rebuild([report(A, grid=larger)])
    nameless = report(A)
    with pytest.raises(RebuildRefused, match="lease of unit-1#1"):
        rebuild([Report(A, {}, {k: v for k, v in nameless.known.items() if k[:5] != "lease"})])
