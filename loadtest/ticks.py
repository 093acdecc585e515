"""A timer that is on time to a few tens of microseconds; asyncio's and uvloop's wait whole ms."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

CLOCK_MONOTONIC: Final = 1
"""What time.perf_counter reads on Linux."""
ABSOLUTE: Final = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Interval(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


def _timespec(seconds: float) -> _Timespec:
    return _Timespec(int(seconds), int(seconds % 1 * 1e9))


@contextmanager
def ticking(tick_s: float, start_s: float, tick: Callable[[int], None]) -> Iterator[None]:
    """Calls `tick` in the running loop every `tick_s` from `start_s` (of perf_counter) on, with the
    number of ticks that were missed just before. Linux's timerfd; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    loop = asyncio.get_running_loop()

    def fired() -> None:
        tick(int.from_bytes(os.read(timer, 8), sys.byteorder) - 1)

    try:
        times = _Interval(_timespec(tick_s), _timespec(start_s))
        if libc.timerfd_settime(timer, ABSOLUTE, ctypes.byref(times), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        loop.add_reader(timer, fired)
        try:
            yield
        finally:
            loop.remove_reader(timer)
    finally:
        os.close(timer)
