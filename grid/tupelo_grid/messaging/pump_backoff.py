"""Pauses between attempts: doubling, with jitter, bounded."""

from __future__ import annotations

import random


class Backoff:
    """The n-th pause in a row lies between half of and the whole of `min_s * 2 ** n`, at most
    `max_s` seconds: units that lost the same peer do not come back at the same moment."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min(min_s, max_s)
        self._max_s = max_s
        self._ceiling_s = self._min_s

    def next_s(self) -> float:
        ceiling = self._ceiling_s
        self._ceiling_s = min(ceiling * 2, self._max_s)
        return random.uniform(ceiling / 2, ceiling)

    def reset(self) -> None:
        """After a success."""
        self._ceiling_s = self._min_s
