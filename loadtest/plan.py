"""What locust and its drivers are to do: one JSON file that all of a run's processes read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from loadtest.reports import Bound, Moment, Report, StepFigures, figures_of


class Setup(msgspec.Struct, frozen=True):
    """The first line that a driver is told.

    Attributes:
        system: "grid": by the SDK; "database": loadtest.database's workers.
        addresses: a router's or unit's, or all the workers'.
        mix: "airline" and "rush": customers, on that unit of a grid, or on the database; (grid
            only) "ycsb-a" or "ycsb-b" over `entries`.
        users: requests in flight at most.
        timeout_s: of one call.
        name: unlike that of any other driver.
        purchases: file for the acknowledged purchases, JSON lines; "": none.
        cores: CPUs to stay on; empty: any.
    """

    system: Literal["grid", "database"]
    addresses: tuple[str, ...]
    mix: Literal["airline", "rush", "ycsb-a", "ycsb-b"]
    users: int = 256
    timeout_s: float = 5.0
    entries: int = 100_000
    name: str = "driver"
    seed: int = 1
    purchases: str = ""
    cores: tuple[int, ...] = ()


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every other line; the end of the input ends the driver.

    Attributes:
        step: a new step begins; None: only the rate changes. IDLE: none, between steps.
        settle_s: calls that end so soon after the step's beginning are reported as not measured.
        overload: more is offered than can be served; what was not started is not reported.
        rate: arrivals a second; None: as before.
    """

    step: int | None = None
    settle_s: float = 0.0
    overload: bool = False
    rate: float | None = None


IDLE = -1


class Step(msgspec.Struct, frozen=True):
    """One level of load.

    Attributes:
        rate: arrivals a second, of all drivers together; or, if `share` is given, that part of what
            the steps with `overload` before it turned out to take. Rounded to whole users.
        seconds: as measured, after `settle_s`. locust decides once a second, so up to one longer.
    """

    label: str
    seconds: float
    rate: float = 0.0
    share: float = 0.0
    settle_s: float = 1.0
    overload: bool = False


class Plan(msgspec.Struct, frozen=True):
    """`stop`: no further step follows the first that breaks this. One locust user stands for
    `rate_per_user` arrivals a second. `result`: where the Result goes, as JSON."""

    setup: Setup
    steps: tuple[Step, ...]
    rate_per_user: float
    result: str
    stop: Bound | None = None


class Result(msgspec.Struct):
    steps: list[StepFigures]
    moments: list[Moment] = []


def read_plan(path: str | Path) -> Plan:
    return msgspec.json.decode(Path(path).read_bytes(), type=Plan)


class Course:
    """Which step it is, and what each has shown so far. Pure: told the time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.index = IDLE
        self.rate = 0.0
        self.rates: list[float] = []
        self._over_at = 0.0
        self.reports: dict[int, list[Report]] = {}

    def add(self, report: Report) -> None:
        self.reports.setdefault(report.step, []).append(report)

    def figures(self, index: int) -> StepFigures:
        reports = self.reports.get(index, [])
        return figures_of(self.plan.steps[index].label, self.rates[index], reports)

    def advance(self, now_s: float) -> Step | None:
        """The step that begins now; None: the present one goes on, or `ended`."""
        if self.ended or now_s < self._over_at:
            return None
        broken = self.index >= 0 and self.plan.stop and self.plan.stop.broken_by(self.figures_now())
        self.index = len(self.plan.steps) if broken else self.index + 1
        if self.ended:
            return None
        step = self.plan.steps[self.index]
        self.rate = step.rate or step.share * self._capacity()
        self.rate = self.users * self.plan.rate_per_user  # users are whole
        self.rates.append(self.rate)
        self._over_at = now_s + step.settle_s + step.seconds
        return step

    def figures_now(self) -> StepFigures:
        return self.figures(self.index)

    @property
    def ended(self) -> bool:
        return self.index >= len(self.plan.steps)

    @property
    def users(self) -> int:
        return max(1, round(self.rate / self.plan.rate_per_user))

    def all_figures(self) -> list[StepFigures]:
        return [self.figures(index) for index in range(len(self.rates))]

    def _capacity(self) -> float:
        """Arrivals a second that overloads took: of the calls that begin one."""
        begun, seconds = 0, 0.0
        for index, step in enumerate(self.plan.steps[: self.index]):
            if step.overload:
                found = self.figures(index)
                seconds += found.seconds
                for name in FIRST_CALLS & found.calls.keys():
                    begun += found.calls[name]["count"] - found.calls[name]["errors"]
        return begun / seconds if seconds else 0.0


FIRST_CALLS = {"seat_map", "read", "update"}
"""One of these per arrival."""
