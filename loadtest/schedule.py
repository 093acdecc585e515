"""When arrivals of an open loop are meant to start: the clock decides, not the answers.

A user that waits for an answer before it asks again stops asking when the system stalls, and the
stall is measured once instead of as often as there would have been users ("coordinated omission").
Here each arrival has a time at which it should start, and its latency counts from there, however
late it really started.
"""

from __future__ import annotations

import math
import random
from typing import Final

ROUNDING: Final = 1e-6
"""Of a tick: a start that is on a tick but for rounding is on it."""


class Schedule:
    """Arrivals at `rate` a second from `start_s` on, at random moments (a Poisson process) or, with
    `chance=None`, evenly spaced. Times are in seconds on the caller's clock.

    `tick_s`: starts are put off to the next multiple of it after `start_s`, for a caller whose
    timer is no finer: what the timer cannot do is not counted as latency. 0: they are not.
    """

    def __init__(
        self, rate: float, start_s: float, chance: random.Random | None = None, tick_s: float = 0.0
    ) -> None:
        if rate < 0:
            raise ValueError(f"a rate cannot be {rate}")
        self._mean_s = 1 / rate if rate else math.inf
        self._start_s = start_s
        self._chance = chance
        self._tick_s = tick_s
        self._exact_s = 0.0  # of the next arrival, since the start
        self.taken = 0
        self.next_s = start_s  # the intended start of the next arrival; infinity at a rate of 0
        self._advance()

    def take(self, now_s: float) -> float | None:
        """The intended start of the oldest arrival that is due and not yet taken; None: none is."""
        due = self.next_s
        if due > now_s:
            return None
        self.taken += 1
        self._advance()
        return due

    def rest(self, now_s: float) -> list[float]:
        """The intended starts of all that are due and were not taken; they are taken by this."""
        left = []
        while (due := self.next_s) <= now_s:
            left.append(due)
            self._advance()
        return left

    def _advance(self) -> None:
        gap = self._mean_s
        if self._chance is not None and gap < math.inf:
            gap *= self._chance.expovariate(1)
        self._exact_s += gap
        self.next_s = self._start_s + (
            math.ceil(self._exact_s / self._tick_s - ROUNDING) * self._tick_s
            if self._tick_s and self._exact_s < math.inf
            else self._exact_s
        )
