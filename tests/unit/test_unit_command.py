"""Commands: arguments, reads and writes, all or nothing, errors, limits."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tupelo._unit import context
from tupelo._unit.executor import CommandExecutor
from tupelo.codec import encode_key, partition_of
from tupelo.errors import ApplicationError, CommandFailed, InvalidArgument, ResultCode, TooLarge
from tupelo.testing import LocalGrid, LocalPartition
from tupelo.unit import (
    CommandLimits,
    CommandMisuse,
    Entry,
    EntryNotFound,
    OtherPartition,
    ProcessingUnit,
    now,
    replace,
)

unit = ProcessingUnit("ticketing")
LIMITS = CommandLimits(items_max=5, bytes_max=2000, key_bytes_max=100, value_bytes_max=1000)


class Seat(Entry, frozen=True):
    event: str
    number: int
    holder: str | None = None


class Basket(Entry, frozen=True):
    event: str
    items: list[str]


class Pair(Entry, frozen=True):
    event: str
    number: int


@unit.error
class SeatTaken(ApplicationError):
    def __init__(self, event: str, number: int) -> None:
        super().__init__(f"seat {number} of {event} is taken", event=event, number=number)


class Undeclared(ApplicationError):
    pass


seats = unit.space("seats", Seat, key=("event", "number"), route="event")
baskets = unit.space("baskets", Basket, key="event", ttl_s=10)
pairs = unit.space("pairs", Pair, key=("event", "number"))

body: Callable[[], Any] = lambda: None  # noqa: E731  what `run` does, set by each test


@unit.command(route="event")
def run(event: str) -> Any:
    return body()


@unit.command(route="event", read_only=True)
def look(event: str) -> Any:
    return body()


@unit.command(route="event")
def hold(event: str, number: int, customer: str = "nobody", *, again: bool = False) -> Seat:
    seat = seats[event, number]
    if seat.holder is not None and not again:
        raise SeatTaken(event, number)
    return seats.put(replace(seat, holder=customer))


@unit.command(route=("event", "number"))
def twofold(event: str, number: int) -> int:
    pairs.put(Pair(event, number))
    return len(list(pairs.values()))


@pytest.fixture
def grid() -> LocalGrid:
    grid = LocalGrid(unit, limits=LIMITS)
    grid.space(seats).put_many(Seat("e1", number) for number in (1, 2, 3))
    return grid


def inside(grid: LocalGrid, function: Callable[[], Any], command: Any = run) -> Any:
    global body
    body = function
    return grid.call(command, "e1")


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
    executor = CommandExecutor([run], partitions=1, limits=LIMITS)

    def steps() -> None:
        seats.put(Seat("e1", 9))
        assert seats.delete(("e1", 9))
        assert not seats.delete(("e1", 8))

    global body
    body = steps
    outcome = executor.run(run.name, run.encode_arguments(("e1",), {}), LocalPartition(0))
    assert (outcome.code, outcome.mutations) == (ResultCode.OK, ())


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


# -- misuse


def test_another_partition_is_named(grid: LocalGrid) -> None:
    home = partition_of(encode_key("e1"), 16)
    other = next(f"e{n}" for n in range(2, 99) if partition_of(encode_key(f"e{n}"), 16) != home)
    away = partition_of(encode_key(other), 16)
    for attempt in (
        lambda: seats.get((other, 1)),
        lambda: seats.put(Seat(other, 1)),
        lambda: seats.delete((other, 1)),
        lambda: seats.version((other, 1)),
    ):
        with pytest.raises(CommandFailed, match=f"runs in partition {home}.*partition {away}") as e:
            inside(grid, attempt)
        assert isinstance(e.value.__cause__, OtherPartition)


def test_a_read_only_command_cannot_write(grid: LocalGrid) -> None:
    assert inside(grid, lambda: seats["e1", 1].number, look) == 1
    for attempt in (
        lambda: seats.put(Seat("e1", 4)),
        lambda: seats.put_if_absent(Seat("e1", 4)),
        lambda: seats.delete(("e1", 1)),
        lambda: hold("e1", 1),
    ):
        with pytest.raises(CommandFailed, match="declared read_only and writes to space 'seats'"):
            inside(grid, attempt, look)


def test_commands_call_each_other_plainly(grid: LocalGrid) -> None:
    inside(grid, lambda: [hold("e1", 1, "ann"), hold("e1", 2, "ann")])
    assert [seat.holder for seat in grid.space(seats).values()].count("ann") == 2

    def caught() -> str:
        try:
            hold("e1", 1, "bob")
        except SeatTaken:
            return "taken"
        return "free"

    assert inside(grid, caught) == "taken"


def test_data_outside_of_a_command_is_out_of_reach() -> None:
    for attempt in (lambda: seats.get(("e1", 1)), now, lambda: seats.put(Seat("e1", 1))):
        with pytest.raises(CommandMisuse, match="inside a running command only"):
            attempt()


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: seats.get("e1"), "a tuple of 2 parts"),
        (lambda: seats.get(("e1", 1, 2)), "a tuple of 2 parts"),
        (lambda: seats.put(Basket("e1", [])), "is a Seat, not Basket"),
        (lambda: seats.put(Seat("e1", 1, 5)), "wrong type"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: exec("raise SystemExit(3)"), "SystemExit: 3"),
        (object, "TypeError"),
        (lambda: [seats.put(Seat("e1", n)) for n in range(6)], "more than 5 entries"),
        (lambda: seats.put(Seat("e1", 1, "x" * 1000)), "value_bytes_max allows 1000"),
        (lambda: [seats.put(Seat("e1", n, "x" * 900)) for n in (1, 2, 3)], "than 2000 bytes"),
        (lambda: "x" * 1001, "it returns 1004 bytes"),
    ],
)
def test_what_breaks_a_command_comes_back_with_words_and_writes_nothing(
    grid: LocalGrid, attempt: Callable[[], Any], words: str
) -> None:
    with pytest.raises(CommandFailed, match=words):
        inside(grid, attempt)
    assert {seat.holder for seat in grid.space(seats).values()} == {None}
    assert context.active is None


def test_too_large_a_key() -> None:
    grid = LocalGrid(unit, limits=LIMITS)
    global body
    body = lambda: baskets.put(Basket("e" * 200, []))  # noqa: E731
    with pytest.raises(CommandFailed, match="key_bytes_max allows 100") as caught:
        grid.call(run, "e" * 200)
    assert isinstance(caught.value.__cause__, TooLarge)


# -- the application's own errors


def test_declared_errors_come_back_as_their_class(grid: LocalGrid) -> None:
    grid.call(hold, "e1", 1, "ann")
    with pytest.raises(SeatTaken, match="seat 1 of e1 is taken") as caught:
        grid.call(hold, "e1", 1, "bob")
    assert (caught.value.event, caught.value.number) == ("e1", 1)


def test_undeclared_errors_come_back_by_their_code(grid: LocalGrid) -> None:
    def steps() -> None:
        raise Undeclared("no", why="because")

    with pytest.raises(ApplicationError, match="no") as caught:
        inside(grid, steps)
    assert type(caught.value) is ApplicationError
    assert (caught.value.error_code, caught.value.fields) == ("Undeclared", {"why": "because"})


def test_an_error_that_cannot_travel_is_a_failure_of_the_command(grid: LocalGrid) -> None:
    def steps() -> None:
        raise Undeclared("no", why=object())

    with pytest.raises(CommandFailed, match="TypeError"):
        inside(grid, steps)


def test_an_exception_without_words_is_reported_all_the_same(grid: LocalGrid) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    def steps() -> None:
        raise Mute

    with pytest.raises(CommandFailed, match=r"Mute: .an exception without text"):
        inside(grid, steps)
