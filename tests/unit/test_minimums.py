"""How many in-sync replicas a write takes, space by space."""

from __future__ import annotations

import msgspec
import pytest
from tupelo.errors import ResultCode
from tupelo.schema import SpaceSchema, decode_schema, encode_schema
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk
from tupelo_grid.core.commands import PartitionView
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.minimums import Minimums, impossible
from tupelo_grid.core.records import Mutation, Result
from tupelo_grid.core.table import PartitionConfig, Versioned
from tupelo_grid.core.unit import Unit

from tests.unit.test_core_unit import FakeClock

SPACES = {"loose": 0, "strict": 0, "other": 0}
OK, FEW = int(ResultCode.OK), int(ResultCode.NOT_ENOUGH_REPLICAS)


class Writing:
    """A command's name says which spaces it writes to."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def knows(self, command: str) -> bool:
        return True

    def run(
        self, command: str, arguments: bytes, view: PartitionView
    ) -> tuple[Result, tuple[Mutation, ...]]:
        self.ran.append(command)
        spaces = [space for space in command.split("+") if space in SPACES]
        return (0, 0, msgspec.msgpack.encode(None)), tuple((s, b"k", b"v", 0) for s in spaces)


class Alone:
    """The only member of partition 0."""

    def __init__(self, grid: int, **spaces: int) -> None:
        self.commands = Writing()
        self.unit = Unit("a#1", FakeClock(), Limits(min_in_sync=grid), self.commands, SPACES)
        self.follow(**spaces)
        self.unit.renewed(1000.0)
        self.unit.set_table({0: Versioned(PartitionConfig(1, "a#1", ("a#1",)), 1)})
        self.numbers = 0

    def follow(self, **spaces: int) -> None:
        self.unit.minimums.follow(spaces, self.unit.primaries.values())

    def do(self, kind: int, target: str) -> int:
        self.numbers += 1
        batch = Batch(
            1, 0, bytes([kind]), [0], [target], None, [b"k"], [b"v"], [self.numbers], deadline=1e9
        )
        pending = self.unit.submit(batch)
        assert pending.done
        return pending.codes[0]

    def bulk(self, space: str) -> int:
        self.numbers += 1
        group = Bulk(kinds.PUT, space, [0], [1], [self.numbers], [b"k"], [b"v"])
        pending = self.unit.submit(
            Batch(1, 0, b"", [], [], None, [], None, None, bulk=group, deadline=1e9)
        )
        assert pending.bulk is not None
        return pending.bulk.codes[0]


def test_a_space_that_wants_more_copies_is_refused_and_others_of_the_partition_are_served() -> None:
    one = Alone(1, strict=2)
    last = one.unit.replicas[0].journal.last
    assert one.do(kinds.PUT, "strict") == FEW
    assert one.do(kinds.PUT_IF_ABSENT, "strict") == FEW
    assert one.bulk("strict") == FEW
    assert one.unit.replicas[0].journal.last == last
    assert one.do(kinds.GET, "strict") == int(ResultCode.NOT_FOUND)
    for space in ("loose", "other"):
        assert one.do(kinds.PUT, space) == OK
        assert one.bulk(space) == OK


def test_a_space_may_want_fewer_than_the_grid() -> None:
    one = Alone(2, loose=1)
    assert one.do(kinds.PUT, "loose") == OK
    assert one.bulk("loose") == OK
    assert one.do(kinds.PUT, "other") == FEW
    assert one.bulk("other") == FEW


def test_a_command_needs_the_most_of_the_spaces_that_it_writes_to() -> None:
    one = Alone(1, strict=2)
    assert one.do(kinds.CALL, "loose+other") == OK
    last = one.unit.replicas[0].journal.last
    assert one.do(kinds.CALL, "loose+strict") == FEW
    assert one.unit.replicas[0].journal.last == last
    assert one.do(kinds.GET, "strict") == int(ResultCode.NOT_FOUND)
    assert one.do(kinds.CALL, "nothing") == OK


def test_a_command_that_wrote_nothing_needs_what_the_grid_says() -> None:
    one = Alone(2, loose=1)
    assert one.do(kinds.CALL, "loose") == OK
    assert one.do(kinds.CALL, "nothing") == FEW


def test_a_command_is_not_run_where_it_could_write_nothing() -> None:
    one = Alone(2, strict=3)
    assert one.do(kinds.CALL, "loose") == FEW
    assert one.commands.ran == []


def test_a_space_that_is_declared_later_counts_at_once() -> None:
    one = Alone(1)
    primary = one.unit.primaries[0]
    assert primary.writable
    one.follow(loose=0, strict=1)
    assert primary.writable
    one.follow(strict=2)
    assert not primary.writable
    assert one.do(kinds.PUT, "strict") == FEW
    one.follow()
    assert primary.writable


def test_what_a_grid_cannot_have_is_named() -> None:
    assert impossible("carts", 2, 1) == ""
    assert "min_in_sync of space 'carts' must be 1 to 2, not 3" in impossible("carts", 3, 1)
    with pytest.raises(ValueError, match="must be 1 to 4"):
        SpaceSchema("carts", min_in_sync=5)


def test_a_declaration_keeps_its_number_and_an_older_one_has_none() -> None:
    schema = SpaceSchema("carts", min_in_sync=2)
    assert decode_schema(encode_schema(schema)) == schema
    assert decode_schema(b'{"name":"carts"}').min_in_sync == 0


def test_the_numbers_of_several_spaces() -> None:
    minimums = Minimums(2)
    minimums.follow({"a": 1, "b": 3, "c": 0}, ())
    assert (minimums.least, minimums.most) == (1, 3)
    assert [minimums.of(name) for name in "abcd"] == [1, 3, 2, 2]
    assert minimums.of_all(["a", "b"]) == 3
    assert minimums.of_all([]) == 2
