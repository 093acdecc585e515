"""Counts calls as they end, in a driver; one dict access a call."""

from __future__ import annotations

from collections import defaultdict
from time import perf_counter
from typing import Final

from loadtest.histogram import bucket_of
from loadtest.reports import Entry, Report

ERROR_TEXTS_MAX: Final = 20
"""Different ones of one name in one report; the rest are counted together."""


class _Calls:
    __slots__ = ("counts", "errors", "failures")

    def __init__(self) -> None:
        self.counts: defaultdict[int, int] = defaultdict(int)  # by us
        self.failures = 0
        self.errors: dict[str, int] = {}


class Recorder:
    """Times are those of time.perf_counter()."""

    def __init__(self) -> None:
        self._calls: defaultdict[str, _Calls] = defaultdict(_Calls)
        self.late_us = 0

    def add(self, name: str, since_s: float) -> None:
        """A call that was answered now and counts from `since_s`."""
        self._calls[name].counts[int((perf_counter() - since_s) * 1e6)] += 1

    def add_failed(self, name: str, since_s: float, error: str) -> None:
        calls = self._calls[name]
        calls.counts[int((perf_counter() - since_s) * 1e6)] += 1
        calls.failures += 1
        if error not in calls.errors and len(calls.errors) >= ERROR_TEXTS_MAX:
            error = "others"
        calls.errors[error] = calls.errors.get(error, 0) + 1

    def take(self, step: int, measured: bool, began: float, ended: float) -> Report:
        """Everything since the last take."""
        calls, self._calls = self._calls, defaultdict(_Calls)
        late_us, self.late_us = self.late_us, 0
        entries = [_entry(name, one) for name, one in calls.items()]
        return Report(step, measured, began, ended, entries, late_us)


def _entry(name: str, calls: _Calls) -> Entry:
    counts: dict[int, int] = {}
    for us, count in calls.counts.items():
        bucket = bucket_of(us)
        counts[bucket] = counts.get(bucket, 0) + count
    return Entry(
        name,
        counts,
        total_us=sum(us * count for us, count in calls.counts.items()),
        min_us=min(calls.counts),
        max_us=max(calls.counts),
        failures=calls.failures,
        errors=calls.errors,
    )
