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

from tupelo_grid.cli.output import CliError, ExitCode, is_rich, say, say_warning, show_table
from tupelo_grid.cli.rpc import admin_stub, as_cli_error, call
from tupelo_grid.cli.settings import load_config
from tupelo_grid.config import GridConfig

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
    say(f"{done} units restarted, after {time.monotonic() - started:.1f} s", "green")
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
    """Says what may be lost, asks, and carries out what was shown."""
    config = _config(options)
    what = f"control ({config.control_address})"
    if options.partition < 0:
        raise CliError(ExitCode.USAGE, f"a partition's number is not negative: {options.partition}")
    with admin_stub(config.control_address) as stub:
        request = pb.PromoteRequest(
            partition=options.partition, to=options.to, from_store=options.from_store
        )
        plan = call(stub.Promote, request, options.timeout, what)
        _show_plan(options.partition, plan)
        if not options.yes and not _agreed():
            raise CliError(ExitCode.FAILED, "nothing was changed", "--yes agrees beforehand")
        request.to, request.revision = plan.candidate, plan.revision
        answer = call(stub.Promote, request, options.timeout, what)
    say(f"{answer.candidate} is primary of partition {options.partition}", "green")
    return ExitCode.OK


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
