"""Commands that break, misuse a space, exceed a limit, or raise errors of their own."""

from collections.abc import Callable
from typing import Any

import pytest
from tupelo._unit import context
from tupelo.codec import encode_key, partition_of
from tupelo.errors import ApplicationError, CommandFailed, TooLarge
from tupelo.testing import LocalGrid
from tupelo.unit import (
    CommandMisuse,
    OtherPartition,
    now,
)

from tests.unit.ticketing import (
    LIMITS,
    Basket,
    Seat,
    SeatTaken,
    Undeclared,
    baskets,
    hold,
    inside,
    loaded,
    look,
    seats,
    unit,
)


@pytest.fixture
def grid() -> LocalGrid:
    return loaded()


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


def test_another_route_in_the_same_partition_is_refused_too(grid: LocalGrid) -> None:
    home = partition_of(encode_key("e1"), 16)
    other = next(f"e{n}" for n in range(2, 99) if partition_of(encode_key(f"e{n}"), 16) == home)
    with pytest.raises(CommandFailed, match="another route, in the same partition by chance"):
        inside(grid, lambda: seats.get((other, 1)))
    grid.space(seats).put(Seat(other, 1, "ann"))
    found = inside(grid, lambda: [seats[key].event for key, _ in seats.items()])
    assert other in found, "what a command lists is its own"


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
        (lambda: seats.put(Seat("e1", 1, 5)), r"wrong type.*field `.*\(entry \('e1', 1\)"),
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
    long = "e" * 200
    with pytest.raises(CommandFailed, match="key_bytes_max allows 100") as caught:
        inside(grid, lambda: baskets.put(Basket(long, [])), event=long)
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
