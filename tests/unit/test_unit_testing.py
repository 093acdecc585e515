"""`tupelo.testing`: the parts that the tests of commands do not touch."""

from typing import Any

import pytest
from tupelo.errors import CommandFailed, InvalidArgument, UnknownSpace
from tupelo.testing import LocalGrid
from tupelo.unit import Entry, ProcessingUnit


class Thing(Entry, frozen=True):
    key: int
    text: str = ""


def test_a_space_as_a_client_sees_it() -> None:
    unit = ProcessingUnit("u")
    things = unit.space("things", Thing, key="key", ttl_s=10)
    grid = LocalGrid(unit)
    space = grid.space(things)
    assert space.put_many(Thing(key) for key in range(100)) == 100
    assert space.put(Thing(5, "again"), ttl_s=20) > 1
    assert space.get(5) == Thing(5, "again")
    assert space.delete(6)
    assert not space.delete(6)
    assert space.get(6) is None
    assert space.count() == 99
    grid.advance(10)
    assert space.values() == [Thing(5, "again")]


@pytest.mark.parametrize(("key", "text"), [(1, 2), (1, None), ("1", "x")])
def test_an_entry_of_the_wrong_type_is_refused(key: Any, text: Any) -> None:
    unit = ProcessingUnit("u")
    things = unit.space("things", Thing, key="key")
    space = LocalGrid(unit).space(things)
    with pytest.raises(InvalidArgument, match=f"entry {key!r} does not fit space 'things'"):
        space.put(Thing(key, text))
    assert space.count() == 0


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1, "x", True])
def test_a_wrong_time_to_live_is_refused(wrong: Any) -> None:
    unit = ProcessingUnit("u")
    things = unit.space("things", Thing, key="key")

    @unit.command(route="key")
    def put(key: int) -> None:
        things.put(Thing(key), ttl_s=wrong)

    grid = LocalGrid(unit)
    with pytest.raises(InvalidArgument, match="ttl_s is a number of seconds"):
        grid.space(things).put(Thing(1), ttl_s=wrong)
    with pytest.raises(CommandFailed, match="ttl_s is seconds to live"):
        grid.call(put, 1)
    with pytest.raises(ValueError, match="ttl_s of space 'others' must be above 0"):
        unit.space("others", Thing, key="key", ttl_s=wrong)
    assert grid.space(things).count() == 0


def test_the_clock_goes_forward_only() -> None:
    grid = LocalGrid()
    before = grid.now
    grid.advance(1.5)
    assert (grid.now - before).total_seconds() == 1.5
    with pytest.raises(ValueError, match="forward only"):
        grid.advance(-1)


def test_a_space_of_another_unit_is_unknown() -> None:
    stranger = ProcessingUnit("stranger").space("things", Thing, key="key")
    with pytest.raises(UnknownSpace, match="declared by none of the units"):
        LocalGrid(ProcessingUnit("u")).space(stranger)
