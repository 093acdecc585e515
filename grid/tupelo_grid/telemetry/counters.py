"""Counters and gauges of one process: plain integers in a dict, read by status and metrics."""

from __future__ import annotations

from collections.abc import Callable

COUNTERS_MAX = 1024
"""Different names in one registry; a name made from data would otherwise fill the memory."""


class Counters:
    """Names are "area.what", units last: "session.frames", "replication.sent_bytes".

    Not thread-safe: it belongs to the event loop of its process.
    """

    __slots__ = ("_gauges", "_values")

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._gauges: dict[str, Callable[[], int]] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Counts up. Raises ValueError when there are too many names."""
        values = self._values
        if name in values:
            values[name] += amount
        else:
            self._check_room(name)
            values[name] = amount

    def gauge(self, name: str, read: Callable[[], int]) -> None:
        """`read` is called at each snapshot, never in between."""
        if name not in self._gauges:
            self._check_room(name)
        self._gauges[name] = read

    def snapshot(self) -> dict[str, int]:
        """Everything by name; a gauge below 0 reads as 0, for the wire has unsigned numbers."""
        return self._values | {name: max(0, read()) for name, read in self._gauges.items()}

    def _check_room(self, name: str) -> None:
        if len(self._values) + len(self._gauges) >= COUNTERS_MAX:
            raise ValueError(f"counter {name!r}: a process has at most {COUNTERS_MAX} counters")
