"""How the units of a grid on one machine are connected to one another."""

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.grids import Grid

CONNECTED = "03"


def connections() -> Counter[str]:
    """By the name that a unit listens under: who is connected to it."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    ours = [row for row in rows if len(row) > 7 and row[7].startswith("@tupelo/")]
    return Counter(row[7] for row in ours if row[5] == CONNECTED)


@pytest.mark.parametrize(("local", "accepted"), [("true", [2, 2, 2]), ("false", [])])
def test_units_of_one_machine_replicate_without_tcp(tmp_path, local, accepted):
    before = connections()
    grid = Grid.start(tmp_path, "--set", f"local_sockets={local}")
    try:
        grid.until_healthy()
        assert sorted((connections() - before).values()) == accepted
        assert grid.cli("put", "default", "k", "v").returncode == 0
    finally:
        grid.stop()
