"""The controller's decisions, one by one."""

from __future__ import annotations

import dataclasses
from collections import Counter

import msgspec
from tupelo_grid.core.controller import Controller
from tupelo_grid.core.failover import PARTS_PER_TXN, depose_dead
from tupelo_grid.core.statestore import TXN_OPERATIONS_MAX
from tupelo_grid.core.table import PartitionState, encode, lease_key, part_key

from tests.unit.controller_grid import SETTINGS, Grid, started

OVERDUE_S = SETTINGS.lease_s * (1 + SETTINGS.lease_margin)


# --- creation ---


def test_the_table_is_created_when_the_expected_units_have_come() -> None:
    grid = Grid(256)
    grid.join("unit-1")
    grid.join("unit-2")
    grid.tick()
    assert not grid.view().parts
    grid.join("unit-3")
    grid.tick()
    view = grid.view()
    assert len(view.parts) == 256
    primaries = Counter(v.config.primary for v in view.parts.values())
    assert max(primaries.values()) - min(primaries.values()) <= 1
    for versioned in view.parts.values():
        config = versioned.config
        assert (config.epoch, config.state) == (1, PartitionState.OK)
        assert config.primary == config.in_sync[0]
        assert len(set(config.in_sync)) == 2
    grid.settled()


def test_units_that_never_come_are_not_waited_for_for_ever() -> None:
    grid = Grid()
    grid.join("unit-1")
    grid.run(0.75)
    assert not grid.view().parts
    grid.run(1.0)
    assert len(grid.view().parts) == 24
    assert grid.part(0).in_sync == ("unit-1#1",)


def test_nothing_is_created_without_units_or_without_a_grid() -> None:
    grid = Grid()
    grid.run(10)
    assert not grid.view().parts
    grid.join("unit-1")
    bare = dataclasses.replace(grid.view(), grid=None)
    assert Controller(SETTINGS).step(bare, grid.now) == []


def test_a_creation_that_was_cut_short_is_finished_and_never_repeated() -> None:
    grid = Grid(300)
    for n in range(1, 4):
        grid.join(f"unit-{n}")
    first, *rest = grid.controllers[0].step(grid.view(), grid.now)
    assert len(rest) == 2
    assert all(len(t.puts) <= TXN_OPERATIONS_MAX for t in (first, *rest))
    grid.apply(first)
    other = Controller(SETTINGS)  # another coordinator goes on, with the units that are left
    grid.controllers = [other]
    grid.kill("unit-1#1", seen=True)
    for txn in other.step(grid.view(), grid.now):
        grid.apply(txn)
    assert len(grid.view().parts) == 300
    taken = grid.part(0)
    assert not any(grid.apply(txn).succeeded for txn in (first, *rest))
    assert grid.part(0) == taken


# --- fail-over ---


def test_a_dead_primary_is_deposed_after_its_lease_and_the_margin_not_before() -> None:
    grid, (first, *_) = started()
    died = grid.now
    grid.kill(first)
    while not grid.fenced(first):
        assert grid.now - died <= OVERDUE_S + 0.5
        grid.tick(0.05)
    assert grid.now - died > OVERDUE_S
    assert all(v.config.primary != first for v in grid.view().parts.values())


def test_a_death_that_was_seen_is_acted_on_at_once() -> None:
    grid, (first, *_) = started()
    before = grid.view()
    grid.kill(first, seen=True)
    grid.control()
    for partition, versioned in grid.view().parts.items():
        old, new = before.parts[partition].config, versioned.config
        if old.primary == first:
            assert new.epoch == old.epoch + 1
            # Its memory went with its process: it is nobody's last copy.
            assert new.in_sync == old.in_sync[1:]
            assert new.primary == old.in_sync[1]
    assert grid.fenced(first)


def test_whoever_may_come_back_from_its_disk_stays_in_the_set() -> None:
    """Should its successor be lost with its disk, what is on this one is the last copy."""
    settings = msgspec.structs.replace(SETTINGS, units=3, in_memory=False)
    grid = Grid(24, 1, settings)
    names = [grid.join(f"unit-{n}") for n in range(1, 4)]
    grid.tick()
    before = grid.view()
    grid.kill(names[0], seen=True)
    grid.control()
    assert grid.fenced(names[0])
    for partition, versioned in grid.view().parts.items():
        assert versioned.config.in_sync == before.parts[partition].config.in_sync


def test_whoever_only_seems_dead_stays_in_the_set() -> None:
    """If the promoted is dead as well, a paused old primary is the last copy."""
    grid, (first, *_) = started()
    before = grid.view()
    grid.kill(first)
    while not grid.fenced(first):
        grid.now += 0.1
        for name in grid.running:
            grid.renew(grid.units[name])
        grid.control()
    for partition, versioned in grid.view().parts.items():
        old, new = before.parts[partition].config, versioned.config
        assert new.in_sync == old.in_sync
        assert (new.primary != old.primary) == (old.primary == first)


def test_without_a_survivor_the_set_is_kept_as_it_was() -> None:
    """Somebody who seems dead may return, and is looked for there."""
    grid, names = started(units=2)
    before = grid.view()
    for name in names:
        grid.kill(name, seen=True)
    grid.control()
    for partition, versioned in grid.view().parts.items():
        assert versioned.config.state is PartitionState.LOST
        assert versioned.config.in_sync == before.parts[partition].config.in_sync


def test_only_in_sync_members_are_promoted() -> None:
    grid, (first, *_) = started(partitions=60)
    before = grid.view()
    grid.kill(first, seen=True)
    grid.control()
    for partition, versioned in grid.view().parts.items():
        assert versioned.config.primary in before.parts[partition].config.in_sync


def test_the_most_advanced_in_sync_member_is_promoted_where_lengths_are_known() -> None:
    grid, names = started(units=4, partitions=40, backups=2)
    view = grid.view()
    partition = next(p for p, v in view.parts.items() if v.config.primary == names[0])
    _, second, third = view.parts[partition].config.in_sync
    grid.kill(names[0], seen=True)
    lengths = {second: {partition: 7}, third: {partition: 9}}
    for txn in grid.controllers[0].step(view, grid.now, lengths):
        grid.apply(txn)
    assert grid.part(partition).primary == third


def test_a_draining_backup_is_promoted_only_when_there_is_no_other() -> None:
    grid, names = started(units=4, partitions=40, backups=2)
    view = grid.view()
    partition = next(p for p, v in view.parts.items() if v.config.primary == names[0])
    _, second, third = view.parts[partition].config.in_sync
    grid.drain(second)
    grid.kill(names[0], seen=True)
    grid.control()
    assert grid.part(partition).primary == third


def test_a_renewal_that_came_first_makes_the_deposing_fail() -> None:
    grid, (first, *_) = started()
    grid.units[first].paused = True
    for _ in range(20):
        grid.now += 0.1
        for name in grid.running:
            grid.renew(grid.units[name])
        stale = grid.view()
        txns = grid.controllers[0].step(stale, grid.now)
        if txns:
            break
    (depose,) = [txn for txn in txns if "depose" in txn.reason]
    grid.renew(grid.units[first])  # it woke up in time
    assert not grid.apply(depose).succeeded
    assert any(v.config.primary == first for v in grid.view().parts.values())


def test_what_does_not_fit_one_transaction_follows_and_always_changes_the_lease() -> None:
    grid, (first, *_) = started(units=2, partitions=300)
    mine = [p for p, v in grid.view().parts.items() if v.config.primary == first]
    assert len(mine) > PARTS_PER_TXN
    grid.kill(first, seen=True)
    revisions = []
    while grid.control():
        revisions.append(grid.view().leases[first].revision)
    assert len(set(revisions)) >= 2
    assert all(v.config.primary != first for v in grid.view().parts.values())


def test_a_unit_that_returns_between_two_parts_of_its_deposing_keeps_the_rest() -> None:
    grid, (first, *_) = started(units=2, partitions=300)
    view = grid.view()
    members = grid.controllers[0].members(view, grid.now)
    grid.kill(first, seen=True)
    members = grid.controllers[0].members(view, grid.now)
    grid.apply(depose_dead(view, members, {})[0])
    second = depose_dead(grid.view(), members, {})[0]
    # It reads leases and table together, renews on that revision, and acts on that table ...
    read = grid.view()
    kv = grid.state.entries[lease_key(first)]
    grid.state.txn([(lease_key(first), kv.revision)], {lease_key(first): b"{}"})
    # ... so no more of the table that it read may be taken on the strength of the old lease.
    assert not grid.apply(second).succeeded
    assert any(v.config.primary == first for v in read.parts.values())


def test_and_if_the_second_part_came_first_its_renewal_fails() -> None:
    grid, (first, *_) = started(units=2, partitions=300)
    grid.kill(first, seen=True)
    grid.control()
    kv = grid.state.entries[lease_key(first)]  # read together with the table
    grid.control()
    renewal = grid.state.txn([(lease_key(first), kv.revision)], {lease_key(first): b"{}"})
    assert not renewal.succeeded


def test_a_primary_without_any_lease_is_deposed_too() -> None:
    grid, (first, *_) = started()
    grid.kill(first)
    grid.state.txn([], {}, [lease_key(first)])
    grid.control()
    assert all(v.config.primary != first for v in grid.view().parts.values())
    assert grid.fenced(first)


def test_a_fenced_primary_is_deposed_by_a_controller_that_has_just_started() -> None:
    """What another controller began is finished; nobody else is touched for a full lease."""
    grid, (first, second, third) = started(units=3, partitions=400)
    grid.kill(first, seen=True)
    grid.apply(grid.controllers[0].step(grid.view(), grid.now)[0])
    grid.controllers = [Controller(SETTINGS)]
    while grid.control():
        pass
    assert all(v.config.primary != first for v in grid.view().parts.values())
    assert not grid.fenced(second)
    assert not grid.fenced(third)


def test_a_controller_that_has_just_started_deposes_nobody_for_a_full_lease() -> None:
    grid, names = started()
    for name in names:
        grid.units[name].paused = True
    grid.now += 100
    grid.controllers = [Controller(SETTINGS)]
    grid.control()
    grid.run(1.0)
    assert not any(grid.fenced(name) for name in names)
    grid.run(1.0)
    assert all(grid.fenced(name) for name in names)


def test_after_a_pause_of_its_own_it_deposes_nobody_either() -> None:
    grid, names = started()
    grid.now += 100
    grid.control()
    assert not any(grid.fenced(name) for name in names)


def test_a_dead_backup_stays_in_the_set_until_the_primary_takes_it_out() -> None:
    grid, (first, *_) = started()
    before = grid.view()
    grid.kill(first, seen=True)
    grid.control()
    assert grid.fenced(first)
    for partition, versioned in grid.view().parts.items():
        old = before.parts[partition].config
        if old.primary != first:
            assert versioned.config.in_sync == old.in_sync


def test_leases_of_the_dead_are_forgotten_once_nobody_mentions_them() -> None:
    grid, (first, *_) = started()
    grid.kill(first, seen=True)
    grid.control()
    grid.control()
    assert lease_key(first) in grid.state.entries  # still a member of in-sync sets
    grid.run(10)
    assert lease_key(first) not in grid.state.entries


# --- LOST ---


def test_without_a_living_member_a_partition_is_lost_and_says_so() -> None:
    grid, (first, second, third) = started()
    only_those = [
        p for p, v in grid.view().parts.items() if set(v.config.in_sync) <= {first, second}
    ]
    assert only_those
    epochs = {p: grid.part(p).epoch for p in only_those}
    grid.kill(first, seen=True)
    grid.kill(second, seen=True)
    grid.control()
    for partition in only_those:
        config = grid.part(partition)
        assert (config.state, config.primary) == (PartitionState.LOST, "")
        assert set(config.in_sync) == {first, second}
        assert config.epoch == epochs[partition] + 1
    grid.run(10)
    assert all(grid.part(p).state is PartitionState.LOST for p in only_those)
    assert all(third not in grid.part(p).in_sync for p in only_those)
    assert lease_key(first) in grid.state.entries  # still the name of a copy


def test_a_lost_partition_returns_with_a_member_whose_lease_moves_again() -> None:
    grid, (first, second, _) = started()
    lost = [p for p, v in grid.view().parts.items() if set(v.config.in_sync) <= {first, second}]
    grid.units[first].paused = True
    grid.units[second].paused = True
    grid.run(2)
    assert all(grid.part(p).state is PartitionState.LOST for p in lost)
    epochs = {p: grid.part(p).epoch for p in lost}
    grid.units[first].paused = False
    grid.tick()
    for partition in lost:
        config = grid.part(partition)
        assert (config.state, config.primary) == (PartitionState.OK, first)
        assert config.epoch == epochs[partition] + 1
        assert set(config.in_sync) == {first, second}
    grid.units[second].paused = False
    grid.run(20)
    grid.settled()


def test_a_lease_that_only_looks_alive_does_not_bring_a_lost_partition_back() -> None:
    grid, (first, second, _) = started()
    lost = [p for p, v in grid.view().parts.items() if set(v.config.in_sync) <= {first, second}]
    grid.kill(first)
    grid.kill(second)
    grid.run(3)
    # As left by an older version: dead, but not marked so. A new controller cannot know yet.
    lease = grid.units[first].lease
    grid.controllers = [Controller(SETTINGS)]
    grid.state.txn([], {lease_key(first): encode(lease)})
    for partition in lost:
        kv = grid.state.entries[part_key(partition)]
        grid.state.txn([], {part_key(partition): kv.value})
    grid.control()
    assert all(grid.part(p).state is PartitionState.LOST for p in lost)


# --- stale views, operators, damage ---


def test_a_stale_view_does_no_harm() -> None:
    grid, (first, *_) = started()
    grid.kill(first, seen=True)
    stale = grid.view()
    grid.run(5)
    before = grid.view()
    grid.control(stale)
    assert grid.view().parts == before.parts


def test_two_controllers_do_not_disturb_each_other() -> None:
    grid, (first, *_) = started(partitions=60)
    grid.controllers.append(Controller(SETTINGS))
    grid.run(2)
    grid.kill(first)
    grid.join("unit-9")
    grid.run(30)
    grid.settled()


def test_what_cannot_be_decoded_is_left_alone_and_named() -> None:
    grid, _ = started()
    grid.state.txn([], {"part/3": b"not json", "part/x": b"{}", "lease/y#1": b"[]", "other": b"?"})
    view = grid.view()
    assert set(view.malformed) == {"part/3", "part/x", "lease/y#1"}
    grid.run(5)
    assert grid.state.entries["part/3"].value == b"not json"


def test_remembered_deaths_are_bounded() -> None:
    controller = Controller(SETTINGS)
    for n in range(5000):
        controller.saw_death(f"unit-1#{n}")
    assert len(controller._seen_dead) <= 1024
