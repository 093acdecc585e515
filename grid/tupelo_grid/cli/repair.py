"""`tupelo restart`, `tupelo promote`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import grpc
from tupelo.v1 import admin_pb2 as pb

from tupelo_grid.cli.output import (
    CliError,
    ExitCode,
    counted,
    is_rich,
    say,
    say_warning,
    show_table,
)
from tupelo_grid.cli.rpc import admin_stub, as_cli_error, call
from tupelo_grid.cli.settings import load_config
from tupelo_grid.cli.values import as_ranges, parse_ranges
from tupelo_grid.config import GridConfig

SHOWN_MAX = 16
"""Lines of one kind, where there may be one for each partition."""
STEPS = {
    pb.RestartProgress.STEP_STOPPING: "hands its partitions over",
    pb.RestartProgress.STEP_STARTING: "starts again",
    pb.RestartProgress.STEP_HEALING: "serves; copies are made",
    pb.RestartProgress.STEP_DONE: "done",
}


class Display(Protocol):
    def show(self, progress: pb.RestartProgress) -> None: ...


def restart(options: argparse.Namespace) -> int:
    config = _config(options)
    what = f"control ({config.control_address})"
    started = time.monotonic()
    # Each unit may use all of its own limits.
    of_one_s = (
        2 * config.drain_s
        + config.stop_timeout_s
        + config.start_timeout_s
        + config.restart_healthy_s
    )
    done = 0
    with admin_stub(config.control_address) as stub, _display() as display:
        request = pb.RestartRequest(force=options.force)
        try:
            for progress in stub.Restart(request, timeout=config.units_max * of_one_s):
                display.show(progress)
                done += progress.step == pb.RestartProgress.STEP_DONE
        except grpc.RpcError as error:
            raise as_cli_error(error, what) from error
    say(f"{counted(done, 'unit')} restarted, after {time.monotonic() - started:.1f} s", "green")
    return ExitCode.OK


class _Lines:
    """For a pipe: a line a step."""

    def show(self, progress: pb.RestartProgress) -> None:
        place = f"{progress.number} of {progress.total}"
        say(f"{progress.unit} ({place}): {STEPS.get(progress.step, '')}")


class _Bar:
    """For a terminal."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("looks whether the grid is healthy", total=None)

    def show(self, progress: pb.RestartProgress) -> None:
        finished = progress.step == pb.RestartProgress.STEP_DONE
        self._bar.update(
            self._task,
            description=f"{progress.unit} {STEPS.get(progress.step, '')}",
            total=progress.total,
            completed=progress.number - (not finished),
        )


@contextmanager
def _display() -> Iterator[Display]:
    if not is_rich():
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as bar:
        yield _Bar(bar)


def promote(options: argparse.Namespace) -> int:
    """Says what may be lost, asks once, and carries out what was shown."""
    config = _config(options)
    what = f"control ({config.control_address})"
    if options.all_lost == (options.partition is not None):
        raise CliError(ExitCode.USAGE, "name partitions, such as 17 or 1-255, or give --all-lost")
    numbers = parse_ranges(options.partition) if options.partition is not None else []
    with admin_stub(config.control_address) as stub:
        if options.all_lost:
            status = call(stub.Status, pb.StatusRequest(), options.timeout, what)
            numbers = list(status.lost_partitions)
            if not numbers:
                say("no partition is LOST")
                return ExitCode.OK
        many = len(numbers) > 1
        plans: list[tuple[pb.PromoteRequest, pb.PromoteResponse]] = []
        refused: list[CliError] = []
        for number in numbers:
            request = pb.PromoteRequest(
                partition=number, to=options.to, from_store=options.from_store
            )
            try:
                plan = call(stub.Promote, request, options.timeout, what)
            except CliError as error:
                if not many or error.code is ExitCode.UNREACHABLE:
                    raise
                refused.append(error)
                continue
            plans.append((request, plan))
        _show_refused(refused)
        _show_plans(plans)
        if not options.yes and not (plans and _agreed()):
            raise CliError(ExitCode.FAILED, "nothing was changed", "--yes agrees beforehand")
        for request, plan in plans:
            request.to, request.revision = plan.candidate, plan.revision
            answer = call(stub.Promote, request, options.timeout, what)
            if not many:
                say(f"{answer.candidate} is primary of partition {request.partition}", "green")
    if many:
        say(f"{len(plans)} partitions have a primary again", "green")
    if refused:
        raise CliError(ExitCode.FAILED, f"{len(refused)} of {len(numbers)} were left as they are")
    return ExitCode.OK


def _show_refused(refused: list[CliError]) -> None:
    for error in refused[:SHOWN_MAX]:
        say_warning(error.message)
    if len(refused) > SHOWN_MAX:
        say_warning(f"... and {len(refused) - SHOWN_MAX} more")


def _show_plans(plans: list[tuple[pb.PromoteRequest, pb.PromoteResponse]]) -> None:
    if len(plans) == 1:
        request, plan = plans[0]
        _show_plan(request.partition, plan)
        return
    for from_store, source in ((True, "the store has"), (False, "a living replica has")):
        chosen = [(one.partition, plan) for one, plan in plans if one.from_store == from_store]
        if not chosen:
            continue
        say(f"{len(chosen)} partitions begin anew with what {source}: ")
        say("  " + as_ranges(number for number, _ in chosen))
        # Of a partition that has nothing anywhere there may have been nothing to begin with.
        held = sum(1 for _, plan in chosen if plan.store_cursor)
        say(f"  the store has something of {held} of them")
        behind = [
            (number, plan.store_cursor, max(one.last_sequence for one in plan.candidates))
            for number, plan in chosen
            if plan.candidates
        ]
        if behind:
            columns = ("partition", "in the store up to", "at a living replica up to")
            show_table(columns, behind[:SHOWN_MAX])
        say_warning(
            "every later change of these partitions is lost, also if a unit that held it returns"
            + ("; so is every entry of spaces that are not persisted" if from_store else "")
        )


def _show_plan(partition: int, plan: pb.PromoteResponse) -> None:
    if plan.candidates:
        rows = [(one.incarnation, one.last_sequence, one.commit) for one in plan.candidates]
        show_table(("living replica", "changes", "known to be committed"), rows)
    else:
        say(f"no living unit holds anything of partition {partition}")
    say(f"the store has it up to change {plan.store_cursor}")
    say_warning(plan.may_lose)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stdout.write("Go on? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _config(options: argparse.Namespace) -> GridConfig:
    return load_config({"port": options.port, "host": options.host}, options.config)
