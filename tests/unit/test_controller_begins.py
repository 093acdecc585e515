"""When the table is created, and whether its partitions have something to load."""

from __future__ import annotations

import pytest
from tupelo_grid.core.table import GRID_KEY, GridInfo, encode

from tests.unit.controller_grid import Grid


def test_nothing_is_created_before_the_whole_grid_has_started() -> None:
    """A start that fails leaves no table, so nothing of it is lost."""
    grid = Grid()
    [controller] = grid.controllers
    controller.creates = False
    for number in (1, 2, 3):
        grid.join(f"unit-{number}")
    grid.run(5.0)
    assert not grid.view().parts
    controller.creates = True
    grid.tick()
    assert len(grid.view().parts) == 24


@pytest.mark.parametrize(
    ("info", "epoch", "load"),
    [
        (GridInfo("00" * 16, 24), 1, False),
        (GridInfo("00" * 16, 24, epoch_base=7), 8, True),
        (GridInfo("00" * 16, 24, epoch_base=7, empty=True), 8, False),
    ],
)
def test_only_a_grid_that_was_written_to_is_loaded(info: GridInfo, epoch: int, load: bool) -> None:
    grid = Grid()
    grid.state.txn([], {GRID_KEY: encode(info)})
    for number in (1, 2, 3):
        grid.join(f"unit-{number}")
    grid.tick()
    configs = [versioned.config for versioned in grid.view().parts.values()]
    assert len(configs) == 24
    assert {(config.epoch, config.load) for config in configs} == {(epoch, load)}
