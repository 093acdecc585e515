"""Time, as the core is given it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The shell passes the machine's clocks, the simulator a virtual one."""

    def now(self) -> float:
        """Seconds since an arbitrary start, running on in suspend (CLOCK_BOOTTIME)."""
        ...

    def wall_ms(self) -> int:
        """Unix time in milliseconds. Used for entry deadlines only, never for safety."""
        ...
