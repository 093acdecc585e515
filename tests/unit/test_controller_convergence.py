"""Whatever happens to members, controllers and answers: afterwards placement is satisfied.

The rules that hold at every step are asserted by the grid itself (`Grid._check`).
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tupelo_grid.core.controller import Controller
from tupelo_grid.core.table import PartitionState

from tests.unit.controller_grid import SETTINGS, Grid, started


def disturb(grid: Grid, rng: random.Random, zones: int) -> None:
    """One thing that happens in a grid's life. At least one unit stays."""
    running = grid.running
    match rng.randrange(8):
        case 0 | 1:
            if len(running) < 6:
                zone = f"z{rng.randrange(zones)}" if zones else ""
                grid.join(f"unit-{rng.randrange(1, 9)}", zone)
        case 2 if len(running) > 2:
            grid.kill(rng.choice(running), seen=rng.random() < 0.5)
        case 3 if len(running) > 2:
            grid.drain(rng.choice(running))
        case 4 if len(running) > 2:
            grid.units[rng.choice(running)].paused = True
        case 5:
            for unit in grid.units.values():
                unit.paused = False
        case 6:
            grid.controllers[rng.randrange(len(grid.controllers))] = Controller(SETTINGS)
        case _:
            grid.now += rng.choice([0.6, 1.5, 4.0])


def finish(grid: Grid) -> None:
    """Faults end; what drained is gone by now, as the deployment manager would see to."""
    for incarnation, unit in grid.units.items():
        unit.paused = False
        if unit.lease.draining and unit.alive:
            holds = any(incarnation in v.config.in_sync for v in grid.view().parts.values())
            if not holds:
                grid.kill(incarnation, seen=True)
    if not any(unit.alive and not unit.lease.draining for unit in grid.units.values()):
        grid.join("unit-9")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    backups=st.integers(0, 2),
    zones=st.sampled_from([0, 2]),
    controllers=st.sampled_from([1, 2]),
)
def test_it_always_ends_with_placement_satisfied(
    seed: int, backups: int, zones: int, controllers: int
) -> None:
    rng = random.Random(seed)
    grid = Grid(partitions=12, backups=backups)
    grid.controllers = [Controller(SETTINGS) for _ in range(controllers)]
    for n in range(1, 4):
        grid.join(f"unit-{n}", f"z{n % zones}" if zones else "")
    grid.tick()
    stale = grid.view()
    for _ in range(40):
        if rng.random() < 0.3:
            disturb(grid, rng, zones)
        if rng.random() < 0.2:
            grid.control(stale, which=rng.randrange(controllers))
        if rng.random() < 0.3:
            stale = grid.view()
        grid.tick(rng.choice([0.05, 0.25, 0.4]))
    finish(grid)
    grid.run(40)
    lost = [p for p, v in grid.view().parts.items() if v.config.state is PartitionState.LOST]
    for partition in lost:
        config = grid.part(partition)
        assert config.primary == ""
        assert not any(grid.units[member].alive for member in config.in_sync)
    if not lost:
        grid.settled()
        grid.reasons.clear()
        grid.run(5)
        assert grid.reasons == []


def test_it_says_when_the_next_lease_is_overdue_and_hears_of_renewals() -> None:
    grid, (first, *_) = started()
    grid.kill(first)
    grid.control()
    (controller,) = grid.controllers
    overdue_s = SETTINGS.lease_s * (1 + SETTINGS.lease_margin)
    left_s = controller.overdue_in_s(grid.now)
    assert 0 < left_s <= overdue_s
    revision = grid.view().lease_revisions()[first]
    controller.renewed(first, revision + 1, grid.now + left_s)
    others = controller.overdue_in_s(grid.now)
    assert left_s <= others <= overdue_s
