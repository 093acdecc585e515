"""`tupelo.testing`: the parts that the tests of commands do not touch."""

from typing import Any

import pytest
from tupelo.errors import InvalidArgument, UnknownSpace
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
