"""The load: what customers do, what is reported of it, and that it does what it says."""

import random
from collections import Counter
from typing import Any

import pytest
from tupelo.errors import ApplicationError, CommandFailed, Overloaded
from tupelo.testing import LocalGrid

from loadtest.airline_package import schedule
from loadtest.airline_package import unit as airline
from loadtest.customers import Customer, Popularity
from loadtest.reported import EXPECTED, ReportedCalls

FLIGHTS = [flight for flight in schedule.load_flights() if flight.seats][:20]


class Fired(list[dict[str, Any]]):
    def __call__(self, **request: Any) -> None:
        self.append(request)


class FailingGrid:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def call(self, command: Any, /, **arguments: Any) -> Any:
        raise self.error


@pytest.fixture
def grid() -> LocalGrid:
    grid = LocalGrid(airline.unit)
    grid.space(airline.flights).put_many(FLIGHTS)
    for flight in FLIGHTS:
        grid.space(airline.seats).put_many(schedule.seats_of(flight))
    return grid


def test_customers_sell_out_nothing_twice_and_everything_is_reported(grid: LocalGrid) -> None:
    fired = Fired()
    calls = ReportedCalls(grid, fired)
    chance = random.Random(7)
    popularity = Popularity(FLIGHTS)
    customers = [Customer(f"c{n}", popularity, calls, chance) for n in range(5)]
    for _ in range(200):
        chance.choice(customers).visit()
        chance.choice(customers).look()
        grid.advance(1)
    assert calls.failures == 0
    counts = Counter(request["name"] for request in fired)
    assert counts["seat_map"] == 400
    assert 200 >= counts["hold"] > 150
    assert counts["buy"] > counts["release"] > 0
    assert all(request["exception"] is None for request in fired)
    assert all(request["request_type"] == "grpc" for request in fired)
    assert all(request["response_length"] > 0 for request in fired)
    assert all(request["response_time"] >= 0 for request in fired)
    sold = [seat for seat in grid.space(airline.seats).values() if seat.customer]
    assert len(sold) == counts["buy"]


def test_a_seat_that_is_taken_is_a_success_of_its_own(grid: LocalGrid) -> None:
    flight = FLIGHTS[0].flight
    grid.call(airline.buy, flight=flight, number=1, customer="ann")
    fired = Fired()
    calls = ReportedCalls(grid, fired)
    assert calls(airline.hold, flight=flight, number=1, customer="bob") is None
    assert calls(airline.release, flight=flight, number=1, customer="bob") is None
    assert [request["name"] for request in fired] == ["hold (taken)", "release (not held)"]
    assert [request["exception"] for request in fired] == [None, None]
    assert calls.failures == 0


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("too much"),
        CommandFailed("broken"),
        ApplicationError("odd"),
        airline.NoSuchFlight("X"),
    ],
)
def test_what_is_not_expected_is_a_failure(error: Exception) -> None:
    assert type(error) not in EXPECTED
    fired = Fired()
    calls = ReportedCalls(FailingGrid(error), fired)
    Customer("ann", Popularity(FLIGHTS), calls, random.Random(1)).visit()
    assert [(request["name"], request["exception"]) for request in fired] == [("seat_map", error)]
    assert calls.failures == 1


def test_busy_flights_are_drawn_more_often() -> None:
    chance = random.Random(3)
    popularity = Popularity(FLIGHTS)
    drawn = Counter(popularity.draw(chance) for _ in range(5000))
    ranked = sorted(FLIGHTS, key=lambda flight: (-(flight.seats or 0), flight.flight))
    assert drawn[ranked[0].flight] > 3 * drawn[ranked[-1].flight] > 0
    with pytest.raises(ValueError, match="no flight with seats"):
        Popularity([])


def test_a_flight_that_is_sold_out_is_left_alone(grid: LocalGrid) -> None:
    flight = FLIGHTS[0]
    for number in range(1, (flight.seats or 0) + 1):
        grid.call(airline.buy, flight=flight.flight, number=number, customer="ann")
    fired = Fired()
    Customer("bob", Popularity([flight]), ReportedCalls(grid, fired), random.Random(1)).visit()
    assert [request["name"] for request in fired] == ["seat_map"]
