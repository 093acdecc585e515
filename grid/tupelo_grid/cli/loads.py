"""How far a cold start has come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tupelo_grid.cli.output import say

SAID_EVERY_S: Final = 5.0


def load_words(units: Iterable[Any]) -> str:
    """What is read from the store, in words; "" when nothing is."""
    loads = [unit.load for unit in units]
    left = sum(load.partitions_left for load in loads)
    if not left:
        return ""
    total = left + sum(load.partitions_done for load in loads)
    text = f"{left} of {total} partitions are loaded from the store and do not answer yet"
    text += f", {sum(load.entries for load in loads):,} entries so far"
    errors = [load.error for load in loads if load.error]
    return f"{text}; {errors[0]}" if errors else text


class Loads:
    """Watches a grid that starts. A start that loads goes on for as long as it gets on."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._seen = (0, 0)
        self._said = 0.0

    def look(self, status: Any, now: float) -> float:
        """Until when to wait, as far as this look tells; 0: nothing new."""
        loads = [unit.load for unit in status.units]
        seen = (
            sum(load.partitions_done for load in loads),
            sum(load.entries for load in loads),
        )
        if seen == self._seen or not any(load.partitions_left for load in loads):
            return 0.0
        self._seen = seen
        if now - self._said >= SAID_EVERY_S:
            self._said = now
            say(load_words(status.units))
        return now + self._patience_s
