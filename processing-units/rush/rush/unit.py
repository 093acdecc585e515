"""Selling seats in a rush.

The rules are those of the airline unit. There, a seat is an entry, and looking at a flight looks at
all of them. Here a flight has one entry, its board, with what everybody asks for: which seats are
free. A command reads and writes it whole; that takes some microseconds and no lock, since a flight
belongs to one partition, and a partition to one command at a time. A sale becomes an entry of its
own as well, in the same change, so that the store has a row for each.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from msgspec import Struct
from tupelo.errors import ApplicationError
from tupelo.unit import Entry, ProcessingUnit, now, replace

HOLD_S = 120.0

unit = ProcessingUnit("rush")


class Held(Struct, frozen=True, array_like=True):
    """A seat kept for a customer until `until_s`, Unix time."""

    number: int
    customer: str
    until_s: float


class Board(Entry, frozen=True):
    """The seats of a flight that are not sold: `free` in order, `held` with the latest last."""

    flight: str
    fare: Decimal
    seats: int
    free: tuple[int, ...]
    held: tuple[Held, ...] = ()


class Sold(Entry, frozen=True):
    """A seat that was sold: once, for good."""

    flight: str
    number: int
    customer: str
    sold_at: datetime
    price: Decimal


class SeatMap(Struct, frozen=True):
    """A flight's seats by what can be done with them."""

    flight: str
    free: tuple[int, ...]
    held: tuple[int, ...]
    sold: int
    fare: Decimal


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


boards = unit.space("boards", Board, key="flight")
sold = unit.space("sold", Sold, key=("flight", "number"), route="flight")


@unit.command(route="flight")
def hold(flight: str, number: int, customer: str) -> Held:
    """Keeps a seat for a customer for HOLD_S seconds; again by the same customer: from now on.

    Raises NoSuchFlight; NoSuchSeat; SeatTaken.
    """
    board = _without(_board(flight), number, customer)
    held = Held(number, customer, now().timestamp() + HOLD_S)
    boards.put(replace(board, held=(*board.held, held)))
    return held


@unit.command(route="flight")
def buy(flight: str, number: int, customer: str) -> Sold:
    """Sells a seat that the customer holds, or nobody does. It stays sold.

    Raises NoSuchFlight; NoSuchSeat; SeatTaken.
    """
    board = _without(_board(flight), number, customer)
    boards.put(board)
    return sold.put(Sold(flight, number, customer, sold_at=now(), price=board.fare))


@unit.command(route="flight")
def release(flight: str, number: int, customer: str) -> None:
    """Gives up a hold. Raises NoSuchFlight; NotHolder."""
    board = _board(flight)
    kept = tuple(held for held in board.held if (held.number, held.customer) != (number, customer))
    if len(kept) == len(board.held):
        raise NotHolder(flight, number, customer)
    boards.put(replace(board, free=tuple(sorted((*board.free, number))), held=kept))


@unit.command(route="flight", read_only=True)
def seat_map(flight: str) -> SeatMap:
    """What is left on a flight. Raises NoSuchFlight."""
    board = _board(flight)
    held = tuple(sorted(held.number for held in board.held))
    sold = board.seats - len(board.free) - len(held)
    return SeatMap(flight, board.free, held, sold, board.fare)


def _board(flight: str) -> Board:
    """As of now: seats whose hold has run out are free again."""
    board = boards.get(flight)
    if board is None:
        raise NoSuchFlight(flight)
    now_s = now().timestamp()
    if not board.held or board.held[0].until_s > now_s:  # the oldest hold runs out first
        return board
    over = [held.number for held in board.held if held.until_s <= now_s]
    kept = tuple(held for held in board.held if held.until_s > now_s)
    return replace(board, free=tuple(sorted((*board.free, *over))), held=kept)


def _without(board: Board, number: int, customer: str) -> Board:
    """The board without a seat that is free, or held by this customer."""
    if not 1 <= number <= board.seats:
        raise NoSuchSeat(board.flight, number)
    if number in board.free:
        return replace(board, free=tuple(each for each in board.free if each != number))
    for held in board.held:
        if held.number == number and held.customer == customer:
            kept = tuple(each for each in board.held if each is not held)
            return replace(board, held=kept)
    raise SeatTaken(board.flight, number)
