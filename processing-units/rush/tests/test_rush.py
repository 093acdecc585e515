"""Selling seats in a rush: the airline's rules, and a board that always adds up."""

import random
from collections import Counter

import pytest
from rush import unit as rush
from rush.unit import (
    HOLD_S,
    NoSuchFlight,
    NoSuchSeat,
    NotHolder,
    SeatTaken,
    buy,
    hold,
    release,
    seat_map,
)
from tupelo.testing import LocalGrid

FLIGHT = "UA1-EWR"


def test_a_held_seat_is_the_holders_alone(grid: LocalGrid) -> None:
    grid.call(hold, FLIGHT, 2, "ann")
    assert grid.call(seat_map, FLIGHT).free == (1, 3)
    assert grid.call(seat_map, FLIGHT).held == (2,)
    for command in (hold, buy):
        with pytest.raises(SeatTaken):
            grid.call(command, FLIGHT, 2, "bob")
    sold = grid.call(buy, FLIGHT, 2, "ann")
    assert (sold.customer, sold.price) == ("ann", 207)
    assert grid.call(seat_map, FLIGHT).sold == 1


def test_a_sold_seat_stays_sold(grid: LocalGrid) -> None:
    grid.call(buy, FLIGHT, 1, "ann")
    for command in (hold, buy):
        for customer in ("ann", "bob"):
            with pytest.raises(SeatTaken):
                grid.call(command, FLIGHT, 1, customer)
    grid.advance(10 * HOLD_S)
    assert grid.call(seat_map, FLIGHT).free == (2, 3)
    assert grid.space(rush.sold).get((FLIGHT, 1)).customer == "ann"


def test_a_hold_runs_out(grid: LocalGrid) -> None:
    grid.call(hold, FLIGHT, 1, "ann")
    grid.advance(HOLD_S - 0.001)
    with pytest.raises(SeatTaken):
        grid.call(hold, FLIGHT, 1, "bob")
    grid.advance(0.001)
    assert grid.call(seat_map, FLIGHT).free == (1, 2, 3)
    assert grid.call(hold, FLIGHT, 1, "bob").customer == "bob"
    with pytest.raises(NotHolder):
        grid.call(release, FLIGHT, 1, "ann")


def test_holding_again_begins_anew(grid: LocalGrid) -> None:
    grid.call(hold, FLIGHT, 1, "ann")
    grid.advance(HOLD_S / 2)
    grid.call(hold, FLIGHT, 1, "ann")
    grid.advance(HOLD_S * 0.75)
    assert grid.call(seat_map, FLIGHT).held == (1,)
    grid.advance(HOLD_S * 0.25)
    assert grid.call(seat_map, FLIGHT).held == ()


def test_a_released_seat_is_free(grid: LocalGrid) -> None:
    grid.call(hold, FLIGHT, 2, "ann")
    with pytest.raises(NotHolder):
        grid.call(release, FLIGHT, 2, "bob")
    grid.call(release, FLIGHT, 2, "ann")
    assert grid.call(seat_map, FLIGHT).free == (1, 2, 3)


def test_what_does_not_exist(grid: LocalGrid) -> None:
    for command in (hold, buy):
        with pytest.raises(NoSuchSeat):
            grid.call(command, FLIGHT, 4, "ann")
        with pytest.raises(NoSuchFlight):
            grid.call(command, "UA2-EWR", 1, "ann")
    with pytest.raises(NoSuchFlight):
        grid.call(seat_map, "UA2-EWR")


def test_a_board_adds_up_whatever_is_done_to_it(grid: LocalGrid) -> None:
    chance = random.Random(1)
    bought: Counter[int] = Counter()
    for _ in range(300):
        command = chance.choice([hold, hold, buy, release])
        number = chance.randint(1, 3)
        customer = chance.choice("abc")
        try:
            grid.call(command, FLIGHT, number, customer)
        except (SeatTaken, NotHolder):
            pass  # as it may
        else:
            bought[number] += command is buy
        grid.advance(chance.choice([0.0, 0.0, HOLD_S / 3]))
        seen = grid.call(seat_map, FLIGHT)
        assert len(seen.free) + len(seen.held) + seen.sold == 3
        assert not set(seen.free) & set(seen.held)
        assert seen.sold == sum(bought.values())
    assert max(bought.values()) == 1
