"""`tupelo up`: starts the control process, which starts the rest, and waits for a serving grid."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from tupelo_grid.cli.lost import Patience, lost_error
from tupelo_grid.cli.output import CliError, ExitCode, say, say_error, say_warning
from tupelo_grid.cli.settings import load_config, parse_setting, units_given
from tupelo_grid.cli.starting import Interrupted, Signals, give_up, until_stopped
from tupelo_grid.config import GridConfig, encode_config
from tupelo_grid.deployment.child import (
    launched,
    parse_ready_line,
    process_command,
)
from tupelo_grid.deployment.local import config_path
from tupelo_grid.journal_files.folder import start_timeout_s
from tupelo_grid.runtime.runfiles import RunFile, live_processes, log_path, run_dir

OPTIONS = (
    "units",
    "port",
    "host",
    "data_dir",
    "spaces",
    "backups",
    "partitions",
    "store_url",
    "writers",
    "routers",
)
POLL_S = 0.02


def up(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in OPTIONS} | units_given(options.unit)
    given |= dict(parse_setting(text) for text in options.set)
    config = load_config(given, options.config)
    started = time.monotonic()
    make_data_dir(config)
    before = live_processes(config.data_dir)
    if "control" in before:
        return _already_up(before["control"], config)
    with Signals() as signals:
        process = start_control(config)
        try:
            signals.arm()
            until_ready(process, config)
            status = _until_serving(process, config)
            _create_spaces(config)
            signals.raising = False
        except BaseException as error:
            signals.raising = False
            end = give_up(process, config, before, signals)
            if isinstance(error, Interrupted):
                raise CliError(ExitCode.FAILED, f"{error} while it was starting: {end}") from error
            raise
        lost = lost_error(status, config, options.detach)
        _say_up(status, config, time.monotonic() - started, options.detach, lost)
        if not options.detach:
            return _stay(process, config, signals, ExitCode.FAILED if lost else ExitCode.OK)
        if lost:
            raise lost
        return ExitCode.OK


def _say_up(
    status: Any, config: GridConfig, after_s: float, detach: bool, lost: CliError | None
) -> None:
    if lost:
        say(f"started after {after_s:.1f} s, but not all of it serves", "bold yellow")
    else:
        say(f"ready in {after_s:.1f} s", "bold green")
    say(f'  clients    {config.messaging_address}   tupelo.connect("{config.messaging_address}")')
    say(f"  units      {len(status.units)}: " + ", ".join(one.address for one in status.units))
    if config.routers:
        others = ", ".join(one.address for one in status.routers if one.id != "messaging")
        say(f"  routers    {config.routers}: {others}")
    say(f"  control    {config.control_address}")
    say(f"  data, logs {config.data_dir}")
    for warning in status.warnings:
        if not lost or " LOST: " not in warning:
            say_warning(warning)
    if detach:
        say(f"  stop with  tupelo down --data-dir {_shown(config.data_dir)}")
    else:
        say("  stop with  Ctrl-C")
        if lost:
            say_error(lost)


def make_data_dir(config: GridConfig) -> None:
    """With its folders and the configuration for the processes. Raises CliError."""
    try:
        for folder in (run_dir(config.data_dir), log_path(config.data_dir, "x").parent):
            folder.mkdir(parents=True, exist_ok=True)
        # An existing directory may still refuse files, such as on a read-only file system.
        probe = run_dir(config.data_dir) / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise CliError(
            ExitCode.USAGE,
            f"the data directory {config.data_dir} cannot be written: {error.strerror}",
            "choose another with --data-dir DIR, or change its permissions",
        ) from error


def start_control(config: GridConfig) -> subprocess.Popen[bytes]:
    """In a session of its own: a Ctrl-C in the terminal is for the CLI, which passes it on."""
    path = config_path(config.data_dir)
    launcher = config.launchers.get("control", "")
    try:
        _write_config(path, config)
        with log_path(config.data_dir, "control").open("ab") as log:
            return subprocess.Popen(
                launched(launcher, process_command("control", "control", path)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"{error.filename or path}: {error.strerror}") from error


def _write_config(path: Path, config: GridConfig) -> None:
    """For this user only: the store's URL may have a password in it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(encode_config(config))


def until_ready(process: subprocess.Popen[bytes], config: GridConfig) -> None:
    """Raises CliError in the control process's own words when it cannot start."""
    # Imported while control starts, which takes as long.
    import tupelo_grid.cli.rpc  # noqa: F401

    facts = _read_ready_line(process, time.monotonic() + 2 * start_timeout_s(config))
    logs = log_path(config.data_dir, "control").parent
    if facts is None:
        code = process.poll()
        what = "did not become ready" if code is None else f"ended with exit code {code}"
        raise CliError(ExitCode.FAILED, f"the control process {what}", f"see the logs in {logs}")
    if not facts["ready"]:
        code = process.wait()
        raise CliError(
            ExitCode.USAGE if code == ExitCode.USAGE else ExitCode.FAILED,
            str(facts.get("error")),
            f"{facts.get('hint') or ''}\n  logs: {logs}".strip(),
        )


def _read_ready_line(process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any] | None:
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    pending = b""
    while (left_s := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left_s)[0]:
            return None
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return None
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            facts = parse_ready_line(line)
            if facts is not None:
                return facts
    return None


def _until_serving(process: subprocess.Popen[bytes], config: GridConfig) -> Any:
    """Until every partition has a primary that answers and the copies that the units allow."""
    from tupelo_grid.cli.loads import Loads, load_words
    from tupelo_grid.cli.rpc import status_at

    deadline = time.monotonic() + config.start_timeout_s
    # Control asks the state store, the units, and messaging (which asks all of these): 4 at most.
    timeout_s = config.status_timeout_s * 5
    status = None
    loads = Loads(config.start_timeout_s)
    patience = Patience(config)
    while time.monotonic() < deadline and process.poll() is None:
        asked = time.monotonic()
        # Control knows best what does not run; messaging is what clients come to.
        status = status_at(config.control_address, timeout_s)
        serving = status is not None and is_serving(status, config)
        reached = serving and status_at(config.messaging_address, timeout_s) is not None
        if reached and status is not None:
            if patience.is_over(status.partitions.lost, time.monotonic()):
                return status
            deadline = max(deadline, patience.until)
        if status is not None:
            deadline = max(deadline, loads.look(status, time.monotonic()))
        # Every look costs all processes something. Where that takes long, they start first.
        time.sleep(max(POLL_S, time.monotonic() - asked))
    logs = log_path(config.data_dir, "control").parent
    if process.poll() is not None:
        raise CliError(ExitCode.FAILED, "the control process ended", f"see the logs in {logs}")
    seen = "no answer"
    if status is not None:
        words = [load_words(status.units), *status.warnings]
        seen = "; ".join(filter(None, words)) or _partitions(status)
    raise CliError(
        ExitCode.FAILED,
        f"the grid does not serve after {config.start_timeout_s:g} s: {seen}",
        f"see the logs in {logs}; where the machine is busy ({_load()}), set start_timeout_s",
    )


def _load() -> str:
    return f"{os.getloadavg()[0]:.0f} want to run on {os.cpu_count()} cores"


def is_serving(status: Any, config: GridConfig) -> bool:
    """A single unit cannot have a backup; then ready primaries are all there can be.

    Nothing is waited for that does not come by waiting: what is LOST an operator has to decide
    about, and for that the grid must be up.
    """
    parts = status.partitions
    running = sum(1 for unit in status.units if unit.state == "running")
    if not parts.total or running < config.units:
        return False
    if not parts.lost and any(router.state != "serving" for router in status.routers):
        return False
    if running > config.backups:
        return bool(parts.healthy + parts.lost == parts.total)
    return bool(parts.healthy + parts.under_replicated + parts.lost == parts.total)


def _partitions(status: Any) -> str:
    parts = status.partitions
    return (
        f"{len(status.units)} units, {parts.healthy} of {parts.total} partitions healthy, "
        f"{parts.under_replicated} under-replicated, {parts.lost} lost"
    )


def _create_spaces(config: GridConfig) -> None:
    if not config.spaces:
        return
    from tupelo.v1 import admin_pb2

    from tupelo_grid.cli.rpc import admin_stub, call

    with admin_stub(config.control_address) as stub:
        for name in config.spaces:
            request = admin_pb2.CreateSpaceRequest(name=name)
            call(stub.CreateSpace, request, config.rpc_timeout_s, "control")


def _already_up(control: RunFile, config: GridConfig) -> int:
    port = control.control_port - 1
    if port != config.port:
        raise CliError(
            ExitCode.USAGE,
            f"a grid is up on {config.data_dir} already, on port {port} (pid {control.pid})",
            f"use it with --port {port}, or choose another --data-dir for a second grid",
        )
    say(f"already up on {config.host}:{port} (control has pid {control.pid})", "green")
    say(f"  look at it with  tupelo status --port {port}")
    say("  change it with   tupelo scale N")
    say(f"  stop it with     tupelo down --data-dir {_shown(config.data_dir)}")
    return ExitCode.OK


def _stay(
    process: subprocess.Popen[bytes], config: GridConfig, signals: Signals, code: ExitCode
) -> int:
    """Until the grid is stopped; `code` when that was in order."""
    killed = until_stopped(process, config, signals)
    if process.returncode == 0 and not killed:
        say("stopped", "green")
        return code
    if killed:
        raise CliError(
            ExitCode.FAILED,
            "everything was stopped at once, before it had drained to the store",
            "what the store did not have yet is lost, and partitions that had more than the store "
            "are LOST at the next `tupelo up`, which says so and how to go on",
        )
    raise CliError(
        ExitCode.FAILED,
        f"the control process ended with exit code {process.returncode}",
        f"units and messaging go on without it; see {log_path(config.data_dir, 'control')}, then "
        f"`tupelo up` takes them over or `tupelo down` stops them",
    )


def _shown(path: str) -> str:
    """Relative below the folder we are in; elsewhere as it is."""
    full = Path(path).absolute()
    return str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(full)
