"""The flights that left New York on 2013-11-27, as entries.

See scripts/make_flights.py for where the data is from. It has no fares: a seat costs
FARE_BASE + FARE_PER_MILE * distance.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from importlib import resources

from airline.unit import Flight, Seat

DATA_FILE = "flights_2013_11_27.csv"
FARE_BASE = Decimal("39.00")
FARE_PER_MILE = Decimal("0.12")


def load_flights() -> list[Flight]:
    """All 1,014 flights of the day, in order of scheduled departure."""
    file = resources.files("airline").joinpath("data", DATA_FILE)
    return [_flight(row) for row in csv.DictReader(file.read_text("utf-8").splitlines())]


def seats_of(flight: Flight) -> Iterator[Seat]:
    """The seats of one flight, unsold; none where the aircraft is unknown."""
    return (Seat(flight.flight, number) for number in range(1, (flight.seats or 0) + 1))


def load_seats() -> Iterator[Seat]:
    """All 118,869 seats of the 860 flights whose aircraft is known."""
    return (seat for flight in load_flights() for seat in seats_of(flight))


def _flight(row: dict[str, str]) -> Flight:
    distance = int(row["distance_miles"])
    return Flight(
        flight=row["flight"],
        carrier=row["carrier"],
        airline=row["airline"],
        origin=row["origin"],
        destination=row["destination"],
        departs_at=datetime.fromisoformat(row["departs_at"]),
        distance_miles=distance,
        fare=FARE_BASE + FARE_PER_MILE * distance,
        delay_min=int(row["delay_min"]) if row["delay_min"] else None,
        tail_number=row["tail_number"] or None,
        aircraft=row["aircraft"] or None,
        seats=int(row["seats"]) if row["seats"] else None,
    )
