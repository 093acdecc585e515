"""Selling seats: the rules, one by one."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from airline import unit as airline
from airline.unit import (
    HOLD_S,
    Flight,
    NoSuchFlight,
    NoSuchSeat,
    NotHolder,
    Seat,
    SeatTaken,
    buy,
    hold,
    release,
    seat_map,
)
from tupelo.testing import LocalGrid

FARE = Decimal("207.00")


@pytest.fixture(autouse=True)
def _two_flights(grid: LocalGrid) -> None:
    for name, seats in (("UA1-EWR", 3), ("UA2-EWR", 2)):
        flight = Flight(
            flight=name,
            carrier="UA",
            airline="United Air Lines Inc.",
            origin="EWR",
            destination="IAH",
            departs_at=datetime(2013, 11, 27, 10, 15, tzinfo=UTC),
            distance_miles=1400,
            fare=FARE,
            seats=seats,
        )
        grid.space(airline.flights).put(flight)
        grid.space(airline.seats).put_many(Seat(name, n) for n in range(1, seats + 1))


def test_a_hold_keeps_others_out_until_it_runs_out(grid: LocalGrid) -> None:
    held = grid.call(hold, "UA1-EWR", 2, "ann")
    assert held.since == grid.now
    for command in (hold, buy):
        with pytest.raises(SeatTaken) as caught:
            grid.call(command, flight="UA1-EWR", number=2, customer="bob")
        assert (caught.value.flight, caught.value.number) == ("UA1-EWR", 2)
    grid.advance(HOLD_S - 0.001)
    with pytest.raises(SeatTaken):
        grid.call(hold, "UA1-EWR", 2, "bob")
    grid.advance(0.001)
    assert grid.space(airline.holds).count() == 0
    assert grid.space(airline.seats).get(("UA1-EWR", 2)) == Seat("UA1-EWR", 2)
    assert grid.call(hold, "UA1-EWR", 2, "bob").customer == "bob"


def test_holding_again_starts_the_time_anew(grid: LocalGrid) -> None:
    grid.call(hold, "UA1-EWR", 2, "ann")
    grid.advance(HOLD_S / 2)
    grid.call(hold, "UA1-EWR", 2, "ann")
    grid.advance(HOLD_S * 0.75)
    with pytest.raises(SeatTaken):
        grid.call(hold, "UA1-EWR", 2, "bob")


def test_a_sold_seat_stays_sold(grid: LocalGrid) -> None:
    grid.call(hold, "UA1-EWR", 1, "ann")
    sold = grid.call(buy, "UA1-EWR", 1, "ann")
    assert sold == Seat("UA1-EWR", 1, "ann", sold_at=grid.now, price=FARE)
    assert grid.space(airline.holds).count() == 0
    grid.advance(10 * HOLD_S)
    for customer in ("ann", "bob"):
        for command in (hold, buy):
            with pytest.raises(SeatTaken):
                grid.call(command, "UA1-EWR", 1, customer)
    with pytest.raises(NotHolder):
        grid.call(release, "UA1-EWR", 1, "ann")
    assert grid.space(airline.seats).get(("UA1-EWR", 1)) == sold


def test_a_free_seat_can_be_bought_without_a_hold(grid: LocalGrid) -> None:
    assert grid.call(buy, "UA2-EWR", 1, "ann").customer == "ann"


def test_only_the_holder_can_release(grid: LocalGrid) -> None:
    grid.call(hold, "UA1-EWR", 1, "ann")
    with pytest.raises(NotHolder, match="bob does not hold seat 1 of UA1-EWR"):
        grid.call(release, "UA1-EWR", 1, "bob")
    grid.call(release, "UA1-EWR", 1, "ann")
    with pytest.raises(NotHolder):
        grid.call(release, "UA1-EWR", 1, "ann")
    grid.call(hold, "UA1-EWR", 1, "bob")


def test_a_seat_map_shows_one_flight(grid: LocalGrid) -> None:
    # One partition, so that both flights share it.
    one = LocalGrid(airline.unit, partitions=1)
    for space in (airline.flights, airline.seats):
        one.space(space).put_many(grid.space(space).values())
    one.call(hold, "UA1-EWR", 2, "ann")
    one.call(buy, "UA1-EWR", 3, "ann")
    one.call(hold, "UA2-EWR", 1, "bob")
    seen = one.call(seat_map, "UA1-EWR")
    assert (seen.free, seen.held, seen.sold, seen.fare) == ((1,), (2,), 1, FARE)
    one.advance(HOLD_S)
    assert one.call(seat_map, "UA1-EWR").free == (1, 2)
    assert one.call(seat_map, "UA2-EWR").free == (1, 2)


def test_a_flight_with_an_unknown_aircraft_has_nothing_to_sell(grid: LocalGrid) -> None:
    flight = Flight(
        flight="AA2243-JFK",
        carrier="AA",
        airline="American Airlines Inc.",
        origin="JFK",
        destination="MIA",
        departs_at=datetime(2013, 11, 27, 10, 40, tzinfo=UTC),
        distance_miles=1089,
        fare=FARE,
    )
    grid.space(airline.flights).put(flight)
    seen = grid.call(seat_map, "AA2243-JFK")
    assert (seen.free, seen.held, seen.sold) == ((), (), 0)
    with pytest.raises(NoSuchSeat):
        grid.call(hold, "AA2243-JFK", 1, "ann")


def test_what_is_not_there_is_named(grid: LocalGrid) -> None:
    with pytest.raises(NoSuchFlight, match="there is no flight XX1-EWR"):
        grid.call(seat_map, "XX1-EWR")
    for number in (0, 4, -1):
        with pytest.raises(NoSuchSeat, match=f"flight UA1-EWR has no seat {number}"):
            grid.call(hold, "UA1-EWR", number, "ann")
