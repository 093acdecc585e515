"""What a driver tells locust, a few times a second, and the figures of a step made of it.

Pure: no clock, no network. Reports travel as JSON between a driver and its locust process, and
between locust's workers and its master.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from loadtest.histogram import Histogram

UNSERVED = "not started"
"""Name of arrivals that nobody was free to start before the step was over: failures, whose latency
is the time they had waited."""


class Entry(Struct):
    """Calls of one name. Latencies in us; `counts` as in Histogram, `errors` by their text."""

    name: str
    counts: dict[int, int] = {}
    total_us: int = 0
    min_us: int = 0
    max_us: int = 0
    failures: int = 0
    errors: dict[str, int] = {}

    @property
    def count(self) -> int:
        return sum(self.counts.values())


class Report(Struct):
    """A driver's calls from `began` to `ended` (Unix time, s), by when they ended.

    `step`: which one it belongs to. `measured`: after the step had settled. `late_us`: by how much
    the driver's own loop was late at most.
    """

    step: int
    measured: bool
    began: float
    ended: float
    entries: list[Entry] = []
    late_us: int = 0


class StepFigures(Struct):
    """One step over all drivers.

    Attributes:
        offered_s: arrivals a second that were meant to start. An arrival makes one call or several.
        ops_s: calls that were answered, in a second, without failures.
        p50_us, p99_us: of all calls and of arrivals that were not started, counted from the
            intended start for an arrival's first call.
        errors: failed calls, and arrivals that were not started.
        error_share: of all calls and those arrivals.
        began, ended: the measured part, in Unix time.
        late_us: of the drivers' loops at most. Much of p99 being this means a driver was too slow.
    """

    label: str
    offered_s: float
    ops_s: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    errors: int = 0
    error_share: float = 0.0
    seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    late_us: int = 0
    calls: dict[str, dict[str, Any]] = {}
    error_texts: dict[str, int] = {}


class Moment(Struct):
    """Calls of all drivers that ended in one slice of time; `at`: its end, Unix time."""

    at: float
    answered: int
    failed: int
    p99_us: float


class Bound(Struct, frozen=True):
    """Beyond either of these a system is broken."""

    p99_ms: float = 250.0
    error_share: float = 0.01

    def broken_by(self, step: StepFigures) -> str:
        """What was exceeded, in words; "" when nothing was."""
        if step.error_share > self.error_share:
            return f"{step.error_share:.1%} errors, over {self.error_share:.0%}"
        if step.p99_us > self.p99_ms * 1000:
            return f"p99 {step.p99_us / 1000:,.0f} ms, over {self.p99_ms:g} ms"
        if step.ops_s == 0:
            return "nothing was answered"
        return ""

    def as_text(self) -> str:
        return f"p99 over {self.p99_ms:g} ms or more than {self.error_share:.0%} errors"


def figures_of(label: str, offered_s: float, reports: Iterable[Report]) -> StepFigures:
    """Of the measured reports among `reports`, all of one step."""
    found = StepFigures(label, offered_s)
    measured = [report for report in reports if report.measured and report.ended > report.began]
    if not measured:
        return found
    found.began = min(report.began for report in measured)
    found.ended = max(report.ended for report in measured)
    found.seconds = found.ended - found.began
    found.late_us = max(report.late_us for report in measured)
    whole = Histogram()
    by_name: dict[str, Histogram] = {}
    failures: dict[str, int] = {}
    for entry in (entry for report in measured for entry in report.entries):
        own = Histogram(entry.counts)
        whole.merge(own)
        by_name.setdefault(entry.name, Histogram()).merge(own)
        failures[entry.name] = failures.get(entry.name, 0) + entry.failures
        for text, count in entry.errors.items():
            found.error_texts[text] = found.error_texts.get(text, 0) + count
    found.errors = sum(failures.values())
    found.ops_s = round((whole.count - found.errors) / found.seconds, 1)
    found.error_share = found.errors / whole.count if whole.count else 0.0
    found.p50_us, found.p99_us = whole.percentile_us(0.5), whole.percentile_us(0.99)
    found.calls = {
        name: {
            "count": own.count,
            "errors": failures[name],
            "p50_us": own.percentile_us(0.5),
            "p99_us": own.percentile_us(0.99),
        }
        for name, own in sorted(by_name.items())
    }
    return found


def moments_of(reports: Iterable[Report], slice_s: float) -> list[Moment]:
    """What was answered when, in slices of `slice_s`, drivers together, settled or not.

    Slices in which nothing ended are there too.
    """
    slices: dict[int, tuple[Histogram, int]] = {}
    for report in reports:
        index = int((report.began + report.ended) / 2 / slice_s)
        whole, failed = slices.get(index, (Histogram(), 0))
        for entry in report.entries:
            whole.merge(Histogram(entry.counts))
            failed += entry.failures
        slices[index] = whole, failed
    if not slices:
        return []
    return [
        Moment((index + 1) * slice_s, whole.count - failed, failed, whole.percentile_us(0.99))
        for index in range(min(slices), max(slices) + 1)
        for whole, failed in [slices.get(index, (Histogram(), 0))]
    ]


def hurt_s(moments: Sequence[Moment], bound: Bound, since: float, offered_s: float) -> float:
    """For how long after `since` the system was not well: the end of the last slice in which p99 or
    the share of errors was over the bound or under a quarter of `offered_s` came back as answers (a
    slice may lack a driver's report or two).
    """
    last = since
    slice_s = moments[1].at - moments[0].at if len(moments) > 1 else 0.0
    for moment in moments:
        if moment.at <= since:
            continue
        whole = moment.answered + moment.failed
        slow = moment.p99_us > bound.p99_ms * 1000
        wrong = moment.failed > bound.error_share * whole
        # The last slice may be cut off by the end of the step.
        starved = moment is not moments[-1] and moment.answered < offered_s * slice_s / 4
        if slow or wrong or starved:
            last = moment.at
    return last - since
