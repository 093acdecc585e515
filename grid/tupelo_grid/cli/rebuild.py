"""`tupelo rebuild-state`: a lost or corrupt state file made anew from the units that still run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import grpc
import msgspec
from tupelo.v1 import admin_pb2 as pb

from tupelo_grid.cli.output import CliError, ExitCode, say, say_warning
from tupelo_grid.cli.rpc import as_cli_error, unit_stub
from tupelo_grid.cli.settings import load_config
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.state_file import StateFile, StateFileError
from tupelo_grid.core.rebuild import Held, RebuildRefused, Rebuilt, Report
from tupelo_grid.core.rebuild import rebuild as rebuilt_of
from tupelo_grid.core.statestore import KeyValue
from tupelo_grid.core.table import PartitionConfig, decode_config
from tupelo_grid.runtime.control import STATE_FILE
from tupelo_grid.runtime.runfiles import RunFile, live_processes

REASONS_SHOWN_MAX = 10


def rebuild(options: argparse.Namespace) -> int:
    given = {"port": options.port, "host": options.host, "data_dir": options.data_dir}
    config = load_config(given, options.config)
    processes = live_processes(config.data_dir)
    _check_control(processes, config, options.port)
    reports = [
        _ask(name, address, options.timeout)
        for name, address in _addresses(processes, options.unit_addresses).items()
    ]
    _check_names(reports)
    try:
        rebuilt = rebuilt_of(reports)
        # Nobody may have begun to decide while the units were asked.
        _check_control(live_processes(config.data_dir), config, options.port)
        file = StateFile(Path(config.data_dir) / STATE_FILE)
        aside = file.replace(rebuilt.entries, rebuilt.revision)
    except RebuildRefused as error:
        raise CliError(ExitCode.FAILED, f"the state cannot be rebuilt: {error}") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CliError(
            ExitCode.FAILED,
            f"a unit knows something that this version of tupelo cannot read: {error}",
            "rebuild with the version that the units run",
        ) from error
    except StateFileError as error:
        raise CliError(ExitCode.FAILED, str(error), error.hint) from error
    _tell(rebuilt, reports, config, aside)
    return ExitCode.OK


def _check_control(processes: dict[str, RunFile], config: GridConfig, port: int | None) -> None:
    """Raises CliError while somebody may still decide about the table."""
    control = processes.get("control")
    if control is not None:
        raise CliError(
            ExitCode.FAILED,
            f"the control process still runs (pid {control.pid})",
            f"when it fails for good, end it by `kill -9 {control.pid}`: units go on without it, "
            f"while SIGTERM or `tupelo down` would stop them as well",
        )
    other = [run for run in processes.values() if port and run.control_port != port + 1]
    if other:
        raise CliError(
            ExitCode.USAGE,
            f"the grid of {config.data_dir} is on port {other[0].control_port - 1}, not {port}",
            "leave out --port or name the right --data-dir",
        )


def _addresses(processes: dict[str, RunFile], more: list[str]) -> dict[str, str]:
    """Of every unit that runs, by what to call it. Raises CliError."""
    units = [run for run in processes.values() if run.role == "unit"]
    starting = [f"{run.name} (pid {run.pid})" for run in units if not run.address]
    if starting:
        raise CliError(
            ExitCode.FAILED,
            f"{', '.join(starting)} has not started yet and cannot without control",
            "end it by `kill`: it holds nothing",
        )
    addresses = {run.name: run.address for run in units}
    known = set(addresses.values())
    addresses |= {address: address for address in more if address not in known}
    if not addresses:
        raise CliError(
            ExitCode.FAILED,
            "no unit runs, so nobody can say what there was",
            "units on other machines are named by --unit-address HOST:PORT",
        )
    return addresses


def _ask(name: str, address: str, timeout_s: float) -> Report:
    """Raises CliError: what a unit that runs holds may be the newest there is."""
    with unit_stub(address) as stub:
        try:
            answer = stub.Holdings(pb.HoldingsRequest(grid=True), timeout=timeout_s)
        except grpc.RpcError as error:
            failure = as_cli_error(error, f"{name} ({address})")
            raise CliError(
                failure.code,
                f"{failure.message}, but it may hold the newest changes",
                "wait until it answers, or end it for good by `kill -9`",
            ) from error
    return report_of(answer)


def report_of(answer: Any) -> Report:
    return Report(
        answer.incarnation,
        {
            one.partition: Held(
                one.epoch, one.last_sequence, one.last_epoch, _config(one.config), _config(one.swap)
            )
            for one in answer.holdings
        },
        {one.key: KeyValue(one.value, one.revision) for one in answer.entries},
    )


def _config(data: bytes) -> PartitionConfig | None:
    return decode_config(data) if data else None


def _check_names(reports: list[Report]) -> None:
    names = [report.incarnation for report in reports]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CliError(ExitCode.USAGE, f"{', '.join(twice)} was named twice by --unit-address")


def _tell(rebuilt: Rebuilt, reports: list[Report], config: GridConfig, aside: Path | None) -> None:
    partitions = sum(key.startswith("part/") for key in rebuilt.entries)
    say(
        f"the state of {partitions} partitions is rebuilt from {len(reports)} units, "
        f"{len(rebuilt.lost)} of them are LOST",
        "yellow" if rebuilt.lost else "green",
    )
    if aside is not None:
        say(f"  the old file is kept as {aside}")
    for number, reason in list(rebuilt.lost.items())[:REASONS_SHOWN_MAX]:
        say_warning(f"partition {number} is LOST: {reason}")
    if len(rebuilt.lost) > REASONS_SHOWN_MAX:
        say_warning(f"and {len(rebuilt.lost) - REASONS_SHOWN_MAX} more")
    say(f"  go on with  tupelo up --data-dir {config.data_dir}  and the options of before")
    if rebuilt.lost:
        say("  then decide about each LOST one with  tupelo promote PARTITION")
