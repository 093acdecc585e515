"""The machine's clocks, as the core wants them."""

from __future__ import annotations

import time


class MachineClock:
    """CLOCK_BOOTTIME runs on while the machine is suspended; the monotonic clock does not, and a
    lease that slept would seem fresh."""

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
