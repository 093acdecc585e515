"""Plays every scenario of testdata/ and compares.

After an intended change: TUPELO_REWRITE=1 pytest tests/scenarios, then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scenarios.script import play

SCENARIOS = sorted((Path(__file__).parent / "testdata").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_it_goes_as_written(path: Path) -> None:
    played = play(path)
    if os.environ.get("TUPELO_REWRITE"):
        path.write_text(played)
    assert played == path.read_text()


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 5
