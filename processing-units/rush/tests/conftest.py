"""Makes the package importable; a grid loads it by its unit.toml."""

import sys
from decimal import Decimal
from pathlib import Path

import pytest
from tupelo.testing import LocalGrid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rush import unit as rush


@pytest.fixture
def grid() -> LocalGrid:
    found = LocalGrid(rush.unit)
    board = rush.Board("UA1-EWR", Decimal("207.00"), 3, free=(1, 2, 3))
    found.space(rush.boards).put(board)
    return found
