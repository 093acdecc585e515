"""Everything that can go wrong between two places: loss, delay, repetition, disorder, cuts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.simulation.loop import Loop


class Network:
    """Places are unit names, "store" (of the table), "db" (of the data), "control", clients.

    Attributes:
        cuts: pairs (from, to) between which nothing passes.
        loss, repeat, slow: the odds of each, per message.
        ordered: messages between two places keep their order, as on one TCP connection; what is
            lost then is lost with everything behind it, since the connection breaks.
    """

    def __init__(self, loop: Loop, rng: random.Random) -> None:
        self.loop = loop
        self.rng = rng
        self.cuts: dict[tuple[str, str], int] = {}
        self.loss = 0.0
        self.repeat = 0.0
        self.slow = 0.0
        self.slow_s = 0.3
        self.base_s = 0.001
        self.ordered = True
        self._arrivals: dict[tuple[str, str], float] = {}

    def cut(self, source: str, target: str) -> None:
        self.cuts[source, target] = self.cuts.get((source, target), 0) + 1

    def mend(self, source: str, target: str) -> None:
        left = self.cuts.get((source, target), 0) - 1
        if left > 0:
            self.cuts[source, target] = left
        else:
            self.cuts.pop((source, target), None)

    def open(self, source: str, target: str) -> bool:
        return (source, target) not in self.cuts

    def heal(self) -> None:
        self.cuts.clear()
        self.loss = self.repeat = self.slow = 0.0
        self.ordered = True

    def send(
        self,
        source: str,
        target: str,
        call: Callable[..., None],
        *args: Any,
        stream: bool = False,
        repeatable: bool = True,
    ) -> bool:
        """Calls it at the target some time later; or never, or twice. False: it is lost."""
        if (source, target) in self.cuts:
            return False
        rng = self.rng
        chance = rng.random()
        if chance < self.loss:
            return False
        delay = self.base_s * (0.3 + 1.4 * chance)
        if self.slow and rng.random() < self.slow:
            delay += rng.random() * self.slow_s
        if stream and self.ordered:
            pair = (source, target)
            arrival = max(self.loop.now + delay, self._arrivals.get(pair, 0.0))
            self._arrivals[pair] = arrival
            delay = arrival - self.loop.now
        elif repeatable and self.repeat and rng.random() < self.repeat:
            late = 2.0 if rng.random() < 0.3 else 0.05
            self.loop.after(delay + rng.random() * late, call, *args)
        self.loop.after(delay, call, *args)
        return True
