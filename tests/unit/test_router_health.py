"""Which partitions a router takes for reachable, in pretended time."""

from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.core.table import GridInfo, PartitionConfig, PartitionTable, Versioned
from tupelo_grid.messaging.router_health import Reach


def grid(*primaries: str) -> GridState:
    parts = {
        number: Versioned(PartitionConfig(1, name, (name,) if name else ()), 1)
        for number, name in enumerate(primaries)
    }
    return GridState(grid=GridInfo("00", len(primaries)), table=PartitionTable(1, parts))


def test_a_partition_counts_while_its_primary_says_that_it_serves_it() -> None:
    reach = Reach(5.0)
    state = grid("a#1", "a#1", "b#2")
    assert reach.unreachable(state, 0.0) == [0, 1, 2], "not before it was seen once"
    reach.answered(state, {"a#1": [0, 1], "b#2": [2]}, 10.0)
    assert reach.unreachable(state, 15.0) == []
    reach.answered(state, {"a#1": [0], "b#2": [2]}, 12.0)
    assert reach.unreachable(state, 15.0) == [], "a fail-over takes a while"
    assert reach.unreachable(state, 15.1) == [1]


def test_only_the_primary_of_the_table_counts() -> None:
    reach = Reach(5.0)
    state = grid("a#1", "")
    reach.answered(state, {"b#2": [0, 1], "a#0": [0]}, 10.0)
    assert reach.unreachable(state, 10.0) == [0, 1]
