"""Virtual time: a heap of what is to happen, and clocks that drift."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable
from typing import Any

START_MS = 1_700_000_000_000


class Loop:
    """Runs callbacks in order of time; equal times in order of scheduling.

    `trace` sums up what happened and when: two runs with equal traces were the same run.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.trace = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        self._scheduled += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._scheduled, call, args))

    def run_until(self, time_s: float) -> None:
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= time_s:
            self.now, number, call, args = pop(heap)
            self.events += 1
            # Of numbers alone: the same in every process, whatever its hash seed.
            self.trace = hash((self.trace, self.now, number))
            call(*args)
        self.now = time_s

    def mix(self, text: str) -> None:
        """Takes something that was decided into the trace."""
        self.trace = hash((self.trace, zlib.crc32(text.encode())))


class SimClock:
    """A process's clocks: right at some moment, and `rate` seconds a second from there on."""

    def __init__(self, loop: Loop, rate: float, offset_s: float, skew_ms: int) -> None:
        self._loop = loop
        self.rate = rate
        self._offset_s = offset_s
        self._skew_ms = skew_ms

    def now(self) -> float:
        return self._loop.now * self.rate + self._offset_s

    def wall_ms(self) -> int:
        return START_MS + self._skew_ms + int(self._loop.now * 1000)
