"""`grid`: a running grid of three units with the airline unit, one for all tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.grids import ROOT, Grid

AIRLINE = ROOT / "processing-units" / "airline"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """Do not kill what other tests of the module need; `own_grid` is for that."""
    started = Grid.start(tmp_path_factory.mktemp("grid"), "--unit", str(AIRLINE))
    yield started
    started.stop()


@pytest.fixture
def own_grid(tmp_path: Path) -> Iterator[Grid]:
    """Three units without application code, for one test alone."""
    started = Grid.start(tmp_path, "--space", "carts")
    yield started
    started.stop()
