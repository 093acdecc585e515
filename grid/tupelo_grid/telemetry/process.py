"""What a process costs: resident memory, CPU time, and how late its event loop runs."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections import deque
from types import TracebackType

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def memory_bytes() -> int:
    """Resident memory now; its highest so far where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def cpu_s() -> float:
    """User and system time of the process so far, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class LoopLag:
    """How late the event loop wakes a sleeper: what every request waits besides its own work.

        async with LoopLag() as lag: ...; lag.p99_us()

    Keeps the last `samples` measurements, one every `interval_s`.
    """

    def __init__(self, interval_s: float = 0.05, samples: int = 1200) -> None:
        self._interval_s = interval_s
        self._late_s: deque[float] = deque(maxlen=samples)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LoopLag:
        self._task = asyncio.get_running_loop().create_task(self._measure(), name="loop lag")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def p99_us(self) -> int:
        """99th percentile in microseconds of the last minute; 0 before the first measurement."""
        if not self._late_s:
            return 0
        ordered = sorted(self._late_s)
        return round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6)

    def record(self, late_s: float) -> None:
        self._late_s.append(max(0.0, late_s))

    async def _measure(self) -> None:
        while True:
            due = time.monotonic() + self._interval_s
            await asyncio.sleep(self._interval_s)
            self.record(time.monotonic() - due)
