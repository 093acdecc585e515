"""Makes the package importable; a grid loads it by its unit.toml."""

import sys
from pathlib import Path

import pytest
from tupelo.testing import LocalGrid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from airline import unit as airline


@pytest.fixture
def grid() -> LocalGrid:
    return LocalGrid(airline.unit)
