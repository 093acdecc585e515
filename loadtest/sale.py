"""Selling seats, as a load driver sees it: the same calls whichever system answers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import tupelo

from loadtest.airline_package import unit as airline
from loadtest.rush_package import unit as rush

TAKEN: Final = (airline.SeatTaken, airline.NotHolder, rush.SeatTaken, rush.NotHolder)
"""Errors that are part of selling seats."""


class SeatsLeft(Protocol):
    """Of a flight; numbers of seats that nobody holds or bought, in order."""

    @property
    def free(self) -> Sequence[int]: ...


class Sale(Protocol):
    """Raises one of TAKEN where it is due, and TupeloError or
    grpc.aio.AioRpcError for what should not happen."""

    async def seat_map(self, flight: str) -> SeatsLeft: ...

    async def hold(self, flight: str, number: int, customer: str) -> object: ...

    async def buy(self, flight: str, number: int, customer: str) -> object: ...

    async def release(self, flight: str, number: int, customer: str) -> object: ...


class GridSale:
    """Commands of the airline, or of the rush unit, in the units that own the flights."""

    def __init__(self, grid: tupelo.Grid, unit: Literal["airline", "rush"]) -> None:
        self._grid = grid
        self._unit: Any = airline if unit == "airline" else rush

    async def seat_map(self, flight: str) -> SeatsLeft:
        found: SeatsLeft = await self._grid.call(self._unit.seat_map, flight)
        return found

    async def hold(self, flight: str, number: int, customer: str) -> object:
        return await self._grid.call(self._unit.hold, flight, number, customer)

    async def buy(self, flight: str, number: int, customer: str) -> object:
        return await self._grid.call(self._unit.buy, flight, number, customer)

    async def release(self, flight: str, number: int, customer: str) -> object:
        # True: done. None stands for a call that failed.
        await self._grid.call(self._unit.release, flight, number, customer)
        return True
