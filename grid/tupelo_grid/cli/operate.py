"""`tupelo scale`, `tupelo down`, `tupelo space create`."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import time
from pathlib import Path

import grpc
import msgspec
from tupelo.v1 import admin_pb2

from tupelo_grid.cli.drain import watch
from tupelo_grid.cli.output import CliError, ExitCode, counted, say, say_warning
from tupelo_grid.cli.rpc import admin_stub, as_cli_error, call, is_unreachable
from tupelo_grid.cli.settings import load_config
from tupelo_grid.cli.up import start_control, until_ready
from tupelo_grid.config import GridConfig, decode_config
from tupelo_grid.deployment.child import stop_processes
from tupelo_grid.deployment.local import config_path
from tupelo_grid.runtime.runfiles import RunFile, is_alive, live_processes

ORDER = ("unit", "writer", "messaging", "control")
POLL_S = 0.02


def scale(options: argparse.Namespace) -> int:
    config = _config(options)
    timeout_s = max(
        options.timeout, config.start_timeout_s, config.drain_s + 2 * config.stop_timeout_s
    )
    started = time.monotonic()
    if not 1 <= options.units < 1 << 31:
        raise CliError(ExitCode.USAGE, f"there must be at least 1 unit, not {options.units}")
    with admin_stub(config.control_address) as stub:
        request = admin_pb2.ScaleRequest(units=options.units)
        answer = call(stub.Scale, request, timeout_s, f"control ({config.control_address})")
    say(f"{counted(answer.units, 'unit')}, after {time.monotonic() - started:.1f} s", "green")
    return ExitCode.OK


def create_space(options: argparse.Namespace) -> int:
    config = _config(options)
    schema = b""
    if options.schema:
        try:
            schema = Path(options.schema).read_bytes()
        except OSError as error:
            raise CliError(
                ExitCode.USAGE, f"{options.schema} cannot be read: {error.strerror}"
            ) from error
    with admin_stub(config.messaging_address) as stub:
        request = admin_pb2.CreateSpaceRequest(name=options.name, schema=schema)
        what = f"messaging ({config.messaging_address})"
        answer = call(stub.CreateSpace, request, options.timeout, what)
    say(f"space {options.name} {'created' if answer.created else 'exists already'}")
    return ExitCode.OK


def down(options: argparse.Namespace) -> int:
    """Asks control to drain and stop everything; then stops by their run files what is left.

    With a port and no data directory, only the grid on that port is meant, wherever its data are.
    """
    config = _config(options)
    by_port_only = options.port is not None and options.data_dir is None
    processes = {} if by_port_only else live_processes(config.data_dir)
    if processes:
        # The grid of this directory is meant, whatever port is the default.
        control_port = next(iter(processes.values())).control_port
        if options.port is not None and control_port != options.port + 1:
            raise CliError(
                ExitCode.USAGE,
                f"the grid of {config.data_dir} is on port {control_port - 1}, not {options.port}",
                "leave out --port or --data-dir",
            )
    else:
        control_port = config.control_port
    control = processes.get("control")
    # Its own word where there is one: it may have another address than the rest.
    known = control.address if control else ""
    if processes and not known:
        known = stored_address(config)
    unpersisted = shutdown(known or f"{config.host_of('control')}:{control_port}", config)
    if unpersisted is None and any(run.role == "unit" for run in processes.values()):
        unpersisted = shutdown_without_control(config)
        processes = live_processes(config.data_dir)
    if unpersisted is None and not processes:
        raise CliError(
            ExitCode.UNREACHABLE,
            f"no grid runs on port {control_port - 1} or with data directory {config.data_dir}",
        )
    if unpersisted is None:
        say_warning("stopping what runs without control; its entries may not all reach the store")
    stop_leftovers(list(processes.values()), unpersisted is not None, config)
    if unpersisted:
        raise CliError(
            ExitCode.FAILED,
            f"stopped, but {unpersisted} changes did not reach the store in {config.drain_s:g} s",
            "is the store away? `tupelo status` says so before the next `tupelo down`",
        )
    say("stopped", "green")
    return ExitCode.OK


def stored_address(config: GridConfig) -> str:
    """Where control of the grid in this directory listens, as it was started; "" for unknown."""
    try:
        stored = decode_config(config_path(config.data_dir).read_bytes())
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return ""  # what is wrong with it is said where it is needed
    return stored.control_address


def shutdown(address: str, config: GridConfig) -> int | None:
    """Returns the changes that did not reach the store; None when there is no control process."""
    with admin_stub(address) as stub:
        timeout_s = config.drain_s + 3 * config.stop_timeout_s
        request = admin_pb2.ShutdownRequest(timeout_ms=round(config.drain_s * 1000))
        try:
            stopping = stub.Shutdown.future(request, timeout=timeout_s)
            asked = admin_pb2.StatusRequest(lags=True)
            answer = watch(stopping, lambda: stub.Status(asked, timeout=config.rpc_timeout_s))
            left: int = answer.unpersisted_records
        except grpc.RpcError as error:
            if is_unreachable(error):
                return None
            raise as_cli_error(error, f"control ({address})") from error
        _until_closed(stub, config.stop_timeout_s)
        return left


def shutdown_without_control(config: GridConfig) -> int | None:
    """Has a new control process take the others over, and stop them in order.

    Without it units cannot say to the state store that they have drained, and the grid could not
    be started again with its entries. Returns as `shutdown` does.
    """
    try:
        stored = decode_config(config_path(config.data_dir).read_bytes())
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        say_warning(f"{config_path(config.data_dir)} cannot be used: {error}")
        return None
    say("control does not run: starting it again to stop the others in order")
    process = start_control(stored)
    try:
        until_ready(process, stored)
    except CliError as error:
        say_warning(f"{error.message}. {error.hint}")
        return None
    unpersisted = shutdown(stored.control_address, stored)
    with contextlib.suppress(subprocess.TimeoutExpired):  # then it is one of the leftovers
        process.wait(stored.stop_timeout_s)
    return unpersisted


def stop_leftovers(processes: list[RunFile], orderly: bool, config: GridConfig) -> None:
    """Waits for processes that are on their way out, and stops the others, units first."""
    if orderly:
        deadline = time.monotonic() + config.stop_timeout_s
        while any(is_alive(run) for run in processes) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    for role in ORDER:
        runs = [run for run in processes if run.role == role and is_alive(run)]
        for run in stop_processes(runs, config.drain_s + config.stop_timeout_s):
            say_warning(f"{run.name} (pid {run.pid}) did not stop and was killed")


def _until_closed(stub: object, timeout_s: float) -> None:
    """Control answers Shutdown just before it ends; its port says when it did."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            stub.Status(admin_pb2.StatusRequest(), timeout=0.5)  # type: ignore[attr-defined]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return
        time.sleep(POLL_S)


def _config(options: argparse.Namespace) -> GridConfig:
    given = {"port": options.port, "host": options.host}
    return load_config(given | {"data_dir": getattr(options, "data_dir", None)}, options.config)
