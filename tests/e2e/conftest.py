"""`grid`: a running grid of three units with the airline unit, one for all tests of a module."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution import install
from tests.e2e.grids import ROOT, Grid

AIRLINE = ROOT / "processing-units" / "airline"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """With a unit from a folder and one that is installed.

    Do not kill what other tests of the module need; `own_grid` is for that.
    """
    site = tmp_path_factory.mktemp("site")
    install(site, "plugged", {"plugged": "plugged.unit:unit"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        units = ("--unit", str(AIRLINE), "--unit", "plugged")
        started = Grid.start(tmp_path_factory.mktemp("grid"), *units)
        yield started
    started.stop()


@pytest.fixture
def own_grid(tmp_path: Path) -> Iterator[Grid]:
    """Three units without application code, for one test alone."""
    started = Grid.start(tmp_path, "--space", "carts")
    yield started
    started.stop()
