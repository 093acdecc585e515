"""A processing unit for tests of the model: seats, and commands whose body a test brings along."""

from collections.abc import Callable
from typing import Any

from tupelo.errors import ApplicationError
from tupelo.testing import LocalGrid
from tupelo.unit import CommandLimits, Entry, ProcessingUnit, replace

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

body: list[Callable[[], Any]] = []
"""What `run` and `look` do; set by `inside`."""


@unit.command(route="event")
def run(event: str) -> Any:
    return body[-1]()


@unit.command(route="event", read_only=True)
def look(event: str) -> Any:
    return body[-1]()


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


def loaded(limits: CommandLimits = LIMITS) -> LocalGrid:
    """A grid with three free seats of e1."""
    grid = LocalGrid(unit, limits=limits)
    grid.space(seats).put_many(Seat("e1", number) for number in (1, 2, 3))
    return grid


def inside(
    grid: LocalGrid, function: Callable[[], Any], command: Any = run, event: str = "e1"
) -> Any:
    """Runs the function as a command."""
    body.append(function)
    try:
        return grid.call(command, event)
    finally:
        body.pop()
