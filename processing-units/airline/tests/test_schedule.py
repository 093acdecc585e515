"""The data: one real day."""

from decimal import Decimal

from airline.schedule import load_flights, load_seats, seats_of


def test_the_day_is_whole_and_its_flights_are_unique() -> None:
    flights = load_flights()
    assert len(flights) == len({flight.flight for flight in flights}) == 1014
    known = [flight.seats for flight in flights if flight.seats is not None]
    assert (len(known), sum(known), min(known), max(known)) == (860, 118_869, 2, 379)
    assert sum(1 for _ in load_seats()) == 118_869
    assert {flight.origin for flight in flights} == {"EWR", "JFK", "LGA"}
    assert sum(flight.delay_min is None for flight in flights) == 35


def test_a_flight_as_it_was() -> None:
    flight = next(flight for flight in load_flights() if flight.flight == "UA1096-EWR")
    assert flight.airline == "United Air Lines Inc."
    assert (flight.destination, flight.distance_miles) == ("IAH", 1400)
    assert flight.departs_at.isoformat() == "2013-11-27T10:15:00+00:00"
    assert (flight.tail_number, flight.aircraft) == ("N66803", "BOEING 737-924ER")
    assert (flight.seats, flight.delay_min, flight.fare) == (191, -1, Decimal("207.00"))
    assert [seat.number for seat in seats_of(flight)] == list(range(1, 192))


def test_a_flight_whose_aircraft_nobody_knows_has_no_seats() -> None:
    flight = next(flight for flight in load_flights() if flight.flight == "AA2243-JFK")
    assert (flight.aircraft, flight.seats) == (None, None)
    assert list(seats_of(flight)) == []
