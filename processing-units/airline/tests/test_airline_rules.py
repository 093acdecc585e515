"""Whatever customers do, in whatever order: never two holders of a seat, and sold is sold.

The model knows nothing of spaces or times to live: it remembers who was promised which seat until
when, and every answer of the grid is compared with what it allows.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from airline import unit as airline
from airline.unit import HOLD_S, Flight, NotHolder, Seat, SeatTaken, buy, hold, release, seat_map
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tupelo.testing import LocalGrid

FLIGHTS = ("UA1-EWR", "B62-JFK", "DL3-LGA")
SEATS = 3
CUSTOMERS = ("ann", "bob", "eve")
PLACES = {"flight": st.sampled_from(FLIGHTS), "number": st.integers(1, SEATS)}
BY = {**PLACES, "customer": st.sampled_from(CUSTOMERS)}


class Sales(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # Two partitions, so that some flights share one.
        self.grid = LocalGrid(airline.unit, partitions=2)
        self.sold: dict[tuple[str, int], Seat] = {}
        self.held: dict[tuple[str, int], tuple[str, datetime]] = {}

    @initialize()
    def load(self) -> None:
        for name in FLIGHTS:
            flight = Flight(
                flight=name,
                carrier=name[:2],
                airline="an airline",
                origin=name[-3:],
                destination="IAH",
                departs_at=datetime(2013, 11, 27, tzinfo=UTC),
                distance_miles=100,
                fare=Decimal("51.00"),
                seats=SEATS,
            )
            self.grid.space(airline.flights).put(flight)
            self.grid.space(airline.seats).put_many(Seat(name, n + 1) for n in range(SEATS))

    def holder(self, flight: str, number: int) -> str | None:
        customer, until = self.held.get((flight, number), ("", self.grid.now))
        return customer if until > self.grid.now else None

    def open_to(self, flight: str, number: int, customer: str) -> bool:
        holder = self.holder(flight, number)
        return (flight, number) not in self.sold and holder in (None, customer)

    @rule(**BY)
    def hold(self, flight: str, number: int, customer: str) -> None:
        try:
            self.grid.call(hold, flight, number, customer)
        except SeatTaken:
            assert not self.open_to(flight, number, customer)
        else:
            assert self.open_to(flight, number, customer)
            until = self.grid.now + timedelta(seconds=HOLD_S)
            self.held[flight, number] = (customer, until)

    @rule(**BY)
    def buy(self, flight: str, number: int, customer: str) -> None:
        try:
            seat = self.grid.call(buy, flight, number, customer)
        except SeatTaken:
            assert not self.open_to(flight, number, customer)
        else:
            assert self.open_to(flight, number, customer)
            assert seat.customer == customer
            self.sold[flight, number] = seat
            self.held.pop((flight, number), None)

    @rule(**BY)
    def release(self, flight: str, number: int, customer: str) -> None:
        try:
            self.grid.call(release, flight, number, customer)
        except NotHolder:
            assert self.holder(flight, number) != customer
        else:
            assert self.holder(flight, number) == customer
            del self.held[flight, number]

    @rule(seconds=st.sampled_from((0.001, 1.0, HOLD_S / 2, HOLD_S - 0.001, HOLD_S)))
    def wait(self, seconds: float) -> None:
        self.grid.advance(seconds)

    @rule(flight=PLACES["flight"])
    def look(self, flight: str) -> None:
        seen = self.grid.call(seat_map, flight)
        places = [(flight, n + 1) for n in range(SEATS)]
        held = [place for place in places if self.holder(*place)]
        free = [place for place in places if place not in held and place not in self.sold]
        assert seen.free == tuple(number for _, number in free)
        assert seen.held == tuple(number for _, number in held)
        assert seen.sold == SEATS - len(free) - len(held)

    @invariant()
    def nothing_is_lost_or_sold_twice(self) -> None:
        seats = {(seat.flight, seat.number): seat for seat in self.space_of_seats()}
        if seats:
            assert len(seats) == len(FLIGHTS) * SEATS
        assert {place: seat for place, seat in seats.items() if seat.customer} == self.sold
        holds = {
            (hold.flight, hold.number): hold.customer
            for hold in self.grid.space(airline.holds).values()
        }
        assert holds == {place: self.holder(*place) for place in self.held if self.holder(*place)}
        assert not holds.keys() & self.sold.keys()

    def space_of_seats(self) -> list[Seat]:
        return self.grid.space(airline.seats).values()


TestSales = Sales.TestCase
TestSales.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
