"""Selling seats: who holds one, who bought one, and never two customers for the same.

A flight's entries are together in one partition (`route="flight"`), so a command sees all of them
and nobody else changes them meanwhile. A hold is an entry of its own with a time to live: when it
runs out the hold is gone, and the seat, which nobody has touched, is free again.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from msgspec import Struct
from tupelo.errors import ApplicationError
from tupelo.unit import Entry, ProcessingUnit, now, replace

HOLD_S = 120.0

unit = ProcessingUnit("airline")


class Flight(Entry, frozen=True):
    """One departure.

    Attributes:
        flight: carrier, number and origin, as in "UA1545-EWR".
        departs_at: by the schedule.
        delay_min: of the actual departure; None: it never left.
        aircraft, seats: of the aircraft registry; None: it does not know the aircraft, and the
            flight has no seats for sale.
        fare: of every seat, in US dollars.
    """

    flight: str
    carrier: str
    airline: str
    origin: str
    destination: str
    departs_at: datetime
    distance_miles: int
    fare: Decimal
    delay_min: int | None = None
    tail_number: str | None = None
    aircraft: str | None = None
    seats: int | None = None


class Seat(Entry, frozen=True):
    """A seat, numbered from 1. `customer`, `sold_at` and `price` are set once, when it is sold."""

    flight: str
    number: int
    customer: str | None = None
    sold_at: datetime | None = None
    price: Decimal | None = None


class Hold(Entry, frozen=True):
    """A seat kept for a customer until the entry's time to live is over."""

    flight: str
    number: int
    customer: str
    since: datetime


class SeatMap(Struct, frozen=True):
    """A flight's seats by what can be done with them. `fare` is None for an unknown aircraft."""

    flight: str
    free: tuple[int, ...]
    held: tuple[int, ...]
    sold: int
    fare: Decimal | None = None


@unit.error
class NoSuchFlight(ApplicationError):
    """Fields: flight."""

    def __init__(self, flight: str) -> None:
        super().__init__(f"there is no flight {flight}", flight=flight)


@unit.error
class NoSuchSeat(ApplicationError):
    """Fields: flight, number."""

    def __init__(self, flight: str, number: int) -> None:
        super().__init__(f"flight {flight} has no seat {number}", flight=flight, number=number)


@unit.error
class SeatTaken(ApplicationError):
    """Another customer holds it, or it is sold. Fields: flight, number."""

    def __init__(self, flight: str, number: int) -> None:
        super().__init__(f"seat {number} of {flight} is taken", flight=flight, number=number)


@unit.error
class NotHolder(ApplicationError):
    """The customer has no hold on the seat, or not any more. Fields: flight, number, customer."""

    def __init__(self, flight: str, number: int, customer: str) -> None:
        super().__init__(
            f"{customer} does not hold seat {number} of {flight}",
            flight=flight,
            number=number,
            customer=customer,
        )


flights = unit.space("flights", Flight, key="flight")
seats = unit.space("seats", Seat, key=("flight", "number"), route="flight")
holds = unit.space("holds", Hold, key=("flight", "number"), route="flight", ttl_s=HOLD_S)


@unit.command(route="flight")
def hold(flight: str, number: int, customer: str) -> Hold:
    """Keeps a seat for a customer for HOLD_S seconds; again by the same customer: from now on.

    Raises NoSuchSeat; SeatTaken.
    """
    _seat_open_to(flight, number, customer)
    return holds.put(Hold(flight, number, customer, since=now()))


@unit.command(route="flight")
def buy(flight: str, number: int, customer: str) -> Seat:
    """Sells a seat that the customer holds, or nobody does. It stays sold.

    Raises NoSuchSeat; SeatTaken.
    """
    seat = _seat_open_to(flight, number, customer)
    holds.delete((flight, number))
    fare = flights[flight].fare
    return seats.put(replace(seat, customer=customer, sold_at=now(), price=fare))


@unit.command(route="flight")
def release(flight: str, number: int, customer: str) -> None:
    """Gives up a hold. Raises NotHolder."""
    held = holds.get((flight, number))
    if held is None or held.customer != customer:
        raise NotHolder(flight, number, customer)
    holds.delete((flight, number))


@unit.command(route="flight", read_only=True)
def seat_map(flight: str) -> SeatMap:
    """What is left on a flight. Raises NoSuchFlight."""
    known = flights.get(flight)
    if known is None:
        raise NoSuchFlight(flight)
    if known.seats is None:
        return SeatMap(flight, free=(), held=(), sold=0)
    held = {hold.number for hold in holds.values() if hold.flight == flight}
    unsold = [
        seat.number for seat in seats.values() if seat.flight == flight and seat.customer is None
    ]
    return SeatMap(
        flight,
        free=tuple(number for number in unsold if number not in held),
        held=tuple(sorted(held)),
        sold=known.seats - len(unsold),
        fare=known.fare,
    )


def _seat_open_to(flight: str, number: int, customer: str) -> Seat:
    """The seat, when it is neither sold nor held by somebody else."""
    seat = seats.get((flight, number))
    if seat is None:
        raise NoSuchSeat(flight, number)
    held = holds.get((flight, number))
    if seat.customer is not None or (held is not None and held.customer != customer):
        raise SeatTaken(flight, number)
    return seat
