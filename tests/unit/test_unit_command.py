"""Commands: arguments, results, reads and writes, all or nothing, times to live."""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tupelo._unit import context
from tupelo._unit.executor import CommandExecutor
from tupelo.codec import encode_key, partition_of
from tupelo.errors import CommandFailed, InvalidArgument, ResultCode
from tupelo.testing import LocalGrid, LocalPartition
from tupelo.unit import (
    CommandLimits,
    EntryNotFound,
    now,
)

from tests.unit.ticketing import (
    LIMITS,
    Basket,
    Seat,
    SeatTaken,
    baskets,
    hold,
    inside,
    loaded,
    pairs,
    seats,
    twofold,
    unit,
)


@pytest.fixture
def grid() -> LocalGrid:
    return loaded()


# -- arguments and results


def test_a_call_is_typed_end_to_end(grid: LocalGrid) -> None:
    assert grid.call(hold, "e1", 1, customer="ann") == Seat("e1", 1, "ann")
    assert grid.space(seats).get(("e1", 1)) == Seat("e1", 1, "ann")
    assert grid.call(hold, event="e1", number=2).holder == "nobody"
    assert grid.call(hold, "e1", 2, "bob", again=True).holder == "bob"


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        (("e1",), {}, "missing argument 'number'"),
        (("e1", 1), {"seat": 2}, "unknown argument 'seat'"),
        (("e1", 1), {"number": 2}, "argument `number` given twice"),
        (("e1", 1, "ann", True), {}, "takes 3 positional arguments, not 4"),
        (("e1", "one"), {}, "Expected `int`, got `str` - in argument `number`"),
        ((["e1"], 1), {}, "cannot be a key|Expected `str`"),
        (("e1", object()), {}, "cannot be sent as MessagePack"),
        ((float("nan"), 1), {}, "NaN"),
    ],
)
def test_wrong_arguments_are_named(
    grid: LocalGrid, args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    call: Any = grid.call
    with pytest.raises(InvalidArgument, match=words):
        call(hold, *args, **kwargs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (b"", "truncated"),
        (b"\xc1", "ticketing.hold"),
        (msgspec.msgpack.encode([1]), "Expected `object`"),
        (msgspec.msgpack.encode({"event": "e1"}), "missing argument `number`"),
        (msgspec.msgpack.encode({"event": "e1", "number": 1, "x": 1}), "unknown argument `x`"),
    ],
)
def test_malformed_arguments_are_an_answer(arguments: bytes, words: str) -> None:
    executor = CommandExecutor([hold], partitions=1, limits=LIMITS)
    outcome = executor.run(hold.name, arguments, LocalPartition(0))
    assert outcome.code == ResultCode.INVALID_ARGUMENT
    assert words in msgspec.msgpack.decode(outcome.value)
    assert outcome.mutations == ()


def test_an_unknown_command_and_a_wrong_partition_are_answers() -> None:
    executor = CommandExecutor([hold], partitions=16, limits=LIMITS)
    assert executor.knows("ticketing.hold")
    assert not executor.knows("hold")
    assert executor.run("hold", b"\x80", LocalPartition(0)).code == ResultCode.INVALID_ARGUMENT
    arguments, route = hold.encode_call(("e1", 1), {})
    assert arguments == hold.encode_arguments(("e1", 1), {})
    home = partition_of(route, 16)
    outcome = executor.run(hold.name, arguments, LocalPartition((home + 1) % 16))
    assert outcome.code == ResultCode.INVALID_ARGUMENT
    assert f"belongs to partition {home}" in msgspec.msgpack.decode(outcome.value)


def test_a_result_of_another_version_says_so() -> None:
    with pytest.raises(InvalidArgument, match="the version of the processing unit"):
        hold.decode_result(msgspec.msgpack.encode(3))


def test_the_route_of_a_call_is_the_route_of_the_keys() -> None:
    _, route = twofold.encode_call(("e1", 2), {})
    assert route == encode_key(("e1", 2))
    _, route = hold.encode_call(("e1", 2), {})
    assert route == encode_key("e1")


def test_several_route_values(grid: LocalGrid) -> None:
    assert grid.call(twofold, "e1", 7) == 1
    with pytest.raises(CommandFailed, match=r"routed by 1 value\(s\) and space 'pairs' by 2"):
        inside(grid, lambda: pairs.get(("e1", 7)))


# -- reads and writes


def test_a_command_sees_its_own_writes_and_nobody_else_does(grid: LocalGrid) -> None:
    def steps() -> Any:
        assert seats.put(Seat("e1", 4)) == Seat("e1", 4)
        seats.put(Seat("e1", 1, "ann"))
        assert seats.delete(("e1", 2))
        assert not seats.delete(("e1", 2))
        assert seats["e1", 1].holder == "ann"
        assert seats.get(("e1", 2)) is None
        assert ("e1", 2) not in seats
        assert ("e1", 4) in seats
        assert {seat.number for seat in seats.values()} == {1, 3, 4}
        assert {key: seat.holder for key, seat in seats.items()} == {
            ("e1", 1): "ann",
            ("e1", 3): None,
            ("e1", 4): None,
        }
        assert grid.space(seats).count() == 3
        assert grid.space(seats).get(("e1", 1)) == Seat("e1", 1)

    inside(grid, steps)
    assert {seat.number for seat in grid.space(seats).values()} == {1, 3, 4}


def test_an_exception_discards_every_write(grid: LocalGrid) -> None:
    def steps() -> None:
        seats.put(Seat("e1", 4))
        seats.delete(("e1", 1))
        raise SeatTaken("e1", 9)

    with pytest.raises(SeatTaken):
        inside(grid, steps)
    assert {seat.number for seat in grid.space(seats).values()} == {1, 2, 3}
    # What was decoded for the discarded writes must not come back either.
    assert inside(grid, lambda: seats["e1", 1]) == msgspec.to_builtins(Seat("e1", 1))


def test_put_if_absent_and_versions(grid: LocalGrid) -> None:
    def steps() -> list[Any]:
        before = seats.version(("e1", 1))
        seats.put(Seat("e1", 1, "ann"))
        return [
            seats.put_if_absent(Seat("e1", 1)),
            seats.put_if_absent(Seat("e1", 4)),
            seats.put_if_absent(Seat("e1", 4, "bob")),
            seats.version(("e1", 1)) == before > 0,
            seats.version(("e1", 4)),
        ]

    assert inside(grid, steps) == [False, True, False, True, 0]
    assert grid.space(seats).get(("e1", 4)) == Seat("e1", 4)


def test_a_put_that_is_taken_back_writes_nothing(grid: LocalGrid) -> None:
    def steps() -> int:
        seats.put(Seat("e1", 9))
        assert seats.delete(("e1", 9))
        assert not seats.delete(("e1", 8))
        return len(context.current("this").mutations())

    assert inside(grid, steps) == 0


def test_an_absent_entry_reaches_the_caller_as_itself(grid: LocalGrid) -> None:
    with pytest.raises(EntryNotFound) as caught:
        grid.call(hold, "e1", 99)
    assert isinstance(caught.value, KeyError)
    assert caught.value.fields == {"space": "seats", "key": ["e1", 99]}
    assert str(caught.value) == "space 'seats' has no entry ('e1', 99)"


def test_live_objects_are_shared_and_follow_the_bytes(grid: LocalGrid) -> None:
    seen: list[Seat] = []

    def steps() -> None:
        seen.append(seats["e1", 1])

    inside(grid, steps)
    inside(grid, steps)
    assert seen[0] is seen[1]
    grid.space(seats).put(Seat("e1", 1, "ann"))
    inside(grid, steps)
    assert seen[2].holder == "ann"


def test_the_objects_kept_are_bounded() -> None:
    grid = LocalGrid(unit, limits=CommandLimits(decoded_entries_max=2))
    grid.space(seats).put_many(Seat("e1", number) for number in range(10))
    assert inside(grid, lambda: len(list(seats.values()))) == 10
    assert len(grid._executor._decoded["seats"]) == 2


def test_an_entry_with_something_mutable_in_it_is_never_shared(grid: LocalGrid) -> None:
    def steps() -> None:
        baskets.put(Basket("e1", ["a"])).items.append("b")
        baskets["e1"].items.append("c")
        next(baskets.values()).items.append("d")
        assert baskets["e1"].items == ["a"]

    inside(grid, steps)
    assert inside(grid, lambda: baskets["e1"].items.append("d")) is None
    assert grid.space(baskets).get("e1") == Basket("e1", ["a"])


def test_times_to_live_are_counted_from_the_command(grid: LocalGrid) -> None:
    grid.advance(0.5)

    def steps() -> list[Any]:
        baskets.put(Basket("e1", []))
        seats.put(Seat("e1", 1), ttl_s=0.25)
        return [now()]

    assert inside(grid, steps) == [datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)]
    grid.advance(0.249)
    assert grid.space(seats).get(("e1", 1)) is not None
    grid.advance(0.001)
    assert grid.space(seats).get(("e1", 1)) is None
    assert inside(grid, lambda: ("e1", 1) in seats) is False
    grid.advance(9.749)
    assert grid.space(baskets).get("e1") is not None
    inside(grid, lambda: baskets.put(Basket("e1", []), ttl_s=0))
    grid.advance(1e6)
    assert grid.space(baskets).get("e1") is not None
    for wrong in (-1, math.inf, math.nan):
        with pytest.raises(CommandFailed, match="ttl_s is seconds to live"):
            inside(grid, lambda ttl_s=wrong: baskets.put(Basket("e1", []), ttl_s=ttl_s))
