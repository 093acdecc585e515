"""Arrivals of an open loop, for locust: a LoadTestShape of steps, and drivers that carry them out.

    locust -f loadtest/arrivals.py --headless --plan plan.json --html report.html
    locust -f loadtest/arrivals.py --headless --plan plan.json --master --expect-workers 2
    locust -f loadtest/arrivals.py --headless --plan plan.json --worker --master-host HOST

loadtest.scale and loadtest.impact write plans and run this. gevent users cost 300-500 us of CPU a
request and locust's clock counts whole milliseconds, so here users make no requests themselves: one
stands for so many arrivals a second, each worker's asyncio child process (loadtest.driver) makes
them, and its histograms, in microseconds, are merged into locust's statistics. So locust's console,
report and charts show them, and its user count is the offered load.
"""

# ruff: noqa: E402  the packages of this folder need the path.

from __future__ import annotations

import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
from locust import LoadTestShape, User, events, runners, stats, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import RequestStats, StatsEntry, StatsError

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

import msgspec

from loadtest.histogram import middle_of
from loadtest.plan import IDLE, Course, Order, Plan, Result, Setup, read_plan
from loadtest.reports import Entry, Report, moments_of

REQUEST_TYPE: Final = "driver"
SPAWN_PER_S: Final = 1000.0
RATE_POLL_S: Final = 0.05
MOMENT_S: Final = 0.5
END_S: Final = 20.0
ORDERS: Final = "order"
READY: Final = "driver ready"
REPORTS: Final = "drivers"

runners.WORKER_REPORT_INTERVAL = 0.5
stats.HISTORY_STATS_INTERVAL_SEC = 1


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--plan", default="", metavar="FILE", help="a plan (loadtest/plan.py)")


def merge(whole: RequestStats, report: Report) -> None:
    """Adds a driver's report to locust's statistics: ms, with fractions."""
    for entry in report.entries:
        one = StatsEntry(whole, entry.name, REQUEST_TYPE)
        one.start_time, one.last_request_timestamp = report.began, report.ended
        one.num_requests, one.num_failures = entry.count, entry.failures
        one.total_response_time = entry.total_us / 1000
        one.min_response_time, one.max_response_time = entry.min_us / 1000, entry.max_us / 1000
        one.response_times = {middle_of(us) / 1000: n for us, n in entry.counts.items()}
        second = int(report.ended)
        one.num_reqs_per_sec = {second: entry.count}
        one.num_fail_per_sec = {second: entry.failures} if entry.failures else {}
        whole.entries[(entry.name, REQUEST_TYPE)].extend(one)
        whole.total.extend(one)
        merge_errors(whole, entry)


def merge_errors(whole: RequestStats, entry: Entry) -> None:
    for text, count in entry.errors.items():
        key = StatsError.create_key(REQUEST_TYPE, entry.name, text)
        error = whole.errors.setdefault(key, StatsError(REQUEST_TYPE, entry.name, text))
        error.occurrences += count


class DriverProcess:
    """The child of a worker, or of a locust without workers."""

    def __init__(
        self,
        setup: Setup,
        on_ready: Callable[[], None],
        on_report: Callable[[Report], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._on_ready = on_ready
        self._on_report = on_report
        self._on_failure = on_failure
        self.users = 0
        self._rate_per_user = 0.0
        self._rate = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.driver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._write(msgspec.json.encode(setup))
        # It takes a while to connect, in which this process must go on sending signs of life.
        self._reader = gevent.spawn(self._read)

    def follow(self, rate_per_user: float) -> None:
        """From now on the rate is that of the users that locust gives this worker."""
        self._rate_per_user = rate_per_user
        gevent.spawn(self._follow)

    def order(self, order: Order) -> None:
        self._write(msgspec.json.encode(order))

    def end(self) -> None:
        """Returns when all reports were taken."""
        self.order(Order(step=IDLE, rate=0.0))
        self._rate_per_user = 0.0
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join(END_S)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _follow(self) -> None:
        while self._rate_per_user:
            rate = self.users * self._rate_per_user
            if rate != self._rate:
                self._rate = rate
                self.order(Order(rate=rate))
            gevent.sleep(RATE_POLL_S)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self._on_failure()
            return
        self._on_ready()
        decoder = msgspec.json.Decoder(Report)
        for line in self._process.stdout:
            self._on_report(decoder.decode(line))


class Run:
    """What this process knows of the run: a driver, the course of all steps, or both."""

    def __init__(self) -> None:
        self.driver: DriverProcess | None = None
        self.course: Course | None = None
        self.waiting: list[Report] = []
        self.drivers = 0
        self.drivers_ready = 0


run = Run()


@events.init.add_listener
def begin(environment: Environment, **_: Any) -> None:
    path = environment.parsed_options.plan
    if not path:
        raise SystemExit("--plan FILE is missing; python -m loadtest.scale makes one")
    plan = read_plan(path)
    runner = environment.runner
    if not isinstance(runner, WorkerRunner):
        run.course = Course(plan)
        run.drivers = environment.parsed_options.expect_workers
        runner.register_message(READY, one_more_is_ready)
        environment.events.quit.add_listener(lambda **_: write_result(plan))
    if isinstance(runner, MasterRunner):
        environment.events.worker_report.add_listener(take_from_worker)
        return

    def on_report(report: Report) -> None:
        merge(environment.stats, report)
        if run.course is not None:
            run.course.add(report)
        else:
            run.waiting.append(report)

    def on_order(msg: Any, **_: Any) -> None:
        driver.order(msgspec.json.decode(msg.data, type=Order))

    index = int(getattr(runner, "worker_index", 0) or 0)
    unlike = f"{runner.client_id[-8:]}"
    purchases = f"{plan.setup.purchases}.{unlike}" if plan.setup.purchases else ""

    def on_failure() -> None:
        environment.process_exit_code = 1
        runner.quit()

    setup = msgspec.structs.replace(
        plan.setup,
        name=f"{plan.setup.name}-{unlike}",
        seed=plan.setup.seed + index,
        purchases=purchases,
    )
    run.driver = driver = DriverProcess(
        setup, lambda: runner.send_message(READY), on_report, on_failure
    )
    runner.register_message(ORDERS, on_order)
    environment.events.report_to_master.add_listener(give_to_master)
    environment.events.test_start.add_listener(lambda **_: driver.follow(plan.rate_per_user))
    environment.events.test_stop.add_listener(lambda **_: driver.end())


def one_more_is_ready(**_: Any) -> None:
    run.drivers_ready += 1


def give_to_master(data: dict[str, Any], **_: Any) -> None:
    data[REPORTS] = msgspec.json.encode(run.waiting)
    run.waiting.clear()


def take_from_worker(data: dict[str, Any], **_: Any) -> None:
    assert run.course is not None
    for report in msgspec.json.decode(data.get(REPORTS, b"[]"), type=list[Report]):
        run.course.add(report)


def write_result(plan: Plan) -> None:
    assert run.course is not None
    everything = [report for reports in run.course.reports.values() for report in reports]
    result = Result(run.course.all_figures(), moments_of(everything, MOMENT_S))
    Path(plan.result).write_bytes(msgspec.json.encode(result))


class Arrivals(User):
    """Stands for so many arrivals a second, which the driver makes."""

    def on_start(self) -> None:
        if run.driver is not None:
            run.driver.users += 1

    def on_stop(self) -> None:
        if run.driver is not None:
            run.driver.users -= 1

    @task
    def nothing(self) -> None:
        gevent.sleep(60.0)


class Steps(LoadTestShape):
    """The plan's steps, one after another."""

    def tick(self) -> tuple[int, float] | None:
        course, runner = run.course, self.runner
        assert course is not None
        assert runner is not None
        if run.drivers_ready < run.drivers:
            return 1, SPAWN_PER_S
        step = course.advance(time.monotonic())
        if course.ended:
            return None
        if step is not None:
            order = Order(step=course.index, settle_s=step.settle_s, overload=step.overload)
            runner.send_message(ORDERS, msgspec.json.encode(order))
        return course.users, SPAWN_PER_S
