"""What customers do: look at seat maps, hold seats, buy some of them, give others up.

Knows nothing of locust or of a network, so that it can be tried on `tupelo.testing.LocalGrid`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

from tupelo.unit import Command

from loadtest.airline_package import unit as airline

R = TypeVar("R")

# Of those who hold a seat; the others walk off, and the hold runs out.
BUY_SHARE: Final = 0.7
RELEASE_SHARE: Final = 0.2
# Everybody wants to sit in front, so that customers get in each other's way.
SEATS_WANTED: Final = 12
# Popularity of a flight falls with its rank to this power (Zipf; 0: all the same).
SKEW: Final = 0.8


class Calls(Protocol):
    """Runs a command and reports how it went. None where it failed, expectedly or not."""

    def __call__(self, command: Command[..., R], /, **arguments: Any) -> R | None: ...


class Popularity:
    """Draws flights: those with the most seats are the most in demand."""

    def __init__(self, flights: Sequence[airline.Flight], skew: float = SKEW) -> None:
        ranked = sorted(flights, key=lambda flight: (-(flight.seats or 0), flight.flight))
        self._names = [flight.flight for flight in ranked if flight.seats]
        if not self._names:
            raise ValueError("there is no flight with seats to sell")
        weights = (1 / rank**skew for rank in range(1, len(self._names) + 1))
        self._cumulative = list(itertools.accumulate(weights))

    def draw(self, chance: random.Random) -> str:
        return chance.choices(self._names, cum_weights=self._cumulative)[0]


class Customer:
    """One customer. `name` must not be another's."""

    def __init__(
        self, name: str, popularity: Popularity, call: Calls, chance: random.Random
    ) -> None:
        self.name = name
        self._popularity = popularity
        self._call = call
        self._chance = chance

    def look(self) -> airline.SeatMap | None:
        """Looks at a flight."""
        return self._call(airline.seat_map, flight=self._popularity.draw(self._chance))

    def visit(self) -> None:
        """Looks, holds a seat if there is one, and makes up their mind."""
        seen = self.look()
        if seen is None or not seen.free:
            return
        number = self._chance.choice(seen.free[:SEATS_WANTED])
        place = {"flight": seen.flight, "number": number, "customer": self.name}
        if self._call(airline.hold, **place) is None:
            return
        mood = self._chance.random()
        if mood < BUY_SHARE:
            self._call(airline.buy, **place)
        elif mood < BUY_SHARE + RELEASE_SHARE:
            self._call(airline.release, **place)
