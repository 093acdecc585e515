"""One process of a grid: `python -m tupelo_grid.runtime.process ROLE --config FILE [--name NAME]`.

When it serves, it prints one line of JSON on stdout, {"ready": true, "role", "name", "address",
"pid", ...}; when it cannot start, {"ready": false, "error", "hint"} and exits 2. Everything else
goes to stderr. SIGTERM and SIGINT stop it gracefully. The roles live in runtime/ROLE.py as

    async def run_ROLE(config, name, stop, announce) -> None

which serves until `stop` is set, drains and returns. `announce` takes what the ready line shall
hold besides role, name and pid: at least {"address": "host:port"}, for a unit also "incarnation".
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from tupelo_grid.config import GridConfig, decode_config
from tupelo_grid.runtime.errors import FatalStartError, find_fatal
from tupelo_grid.runtime.logs import configure_logging
from tupelo_grid.runtime.runfiles import (
    RunFile,
    live_processes,
    remove_run_file,
    start_ticks,
    write_run_file,
)
from tupelo_grid.runtime.signals import stop_on_signals

__all__ = ["Announce", "FatalStartError", "RunRole", "main"]

ROLES = ("control", "messaging", "router", "unit", "writer")

Announce = Callable[[dict[str, Any]], None]
RunRole = Callable[[GridConfig, str, asyncio.Event, Announce], Coroutine[Any, Any, None]]

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 after a graceful stop, 1 after a failure, 2 when it cannot start."""
    options = _parse(arguments)
    name = options.name or options.role
    announced = False

    def announce(facts: dict[str, Any]) -> None:
        nonlocal announced
        announced = True
        _on_ready(config, run, facts)

    try:
        config = _read_config(options.config)
        configure_logging(name, config.log_level)
        # Read by grpc when it is imported, so before any role is.
        os.environ.setdefault("GRPC_EXPERIMENTS", config.grpc_experiments)
        _schedule(options.role, config)
        run = _own_run_file(config, options.role, name)
        _announce_run(config, run)
        try:
            _run(options.role, config, name, announce)
        finally:
            remove_run_file(config.data_dir, run)
    except Exception as error:
        fatal = find_fatal(error)
        if fatal is not None:
            log.error("cannot start: %s %s", fatal.message, fatal.hint)
            _print_line({"ready": False, "error": fatal.message, "hint": fatal.hint})
            return 2
        log.exception("the process failed")
        if not announced:
            text = f"{type(error).__name__}: {error}"
            _print_line({"ready": False, "error": text, "hint": "the log has the traceback"})
        return 1
    return 0


def _schedule(role: str, config: GridConfig) -> None:
    """Not control: it has little to do, and leases wait for it."""
    if config.scheduling == "normal" or role == "control" or not hasattr(os, "SCHED_BATCH"):
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        log.info("scheduled as any process: %s", error)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tupelo_grid.runtime.process", description=__doc__)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--config", required=True, metavar="FILE", help="GridConfig as JSON")
    parser.add_argument("--name", default="", help="of the process (default: its role)")
    return parser.parse_args(arguments)


def _read_config(path: str) -> GridConfig:
    try:
        return decode_config(Path(path).read_bytes())
    except OSError as error:
        raise FatalStartError(
            f"the configuration {path} cannot be read: {error.strerror}",
            "`tupelo up` writes it; start processes through it",
        ) from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FatalStartError(
            f"the configuration {path} is not valid: {error}",
            "`tupelo up` writes it; do not edit it by hand",
        ) from error


def _own_run_file(config: GridConfig, role: str, name: str) -> RunFile:
    pid = os.getpid()
    return RunFile(name, role, pid, start_ticks(pid) or 0, config.control_port)


def _announce_run(config: GridConfig, run: RunFile) -> None:
    """The first thing that is written, so the first to find a data directory unusable.

    The file of another process of this name that lives is left alone: it would be lost from sight.
    """
    other = live_processes(config.data_dir).get(run.name)
    if other is not None and other.pid != run.pid:
        raise FatalStartError(
            f"{run.name} runs already, as process {other.pid}",
            f"stop it with `tupelo down --data-dir {config.data_dir}`",
        )
    try:
        write_run_file(config.data_dir, run)
    except OSError as error:
        raise FatalStartError(
            f"the data directory {config.data_dir} cannot be written: {error.strerror}",
            "choose another with --data-dir, or make it a directory that this user may write",
        ) from error


def _on_ready(config: GridConfig, run: RunFile, facts: dict[str, Any]) -> None:
    ready = msgspec.structs.replace(
        run,
        address=str(facts.get("address", "")),
        incarnation=str(facts.get("incarnation", "")),
    )
    write_run_file(config.data_dir, ready)
    log.info("ready: %s", facts)
    _print_line({"ready": True, "role": run.role, "name": run.name, "pid": run.pid, **facts})
    # The parent has read what it waits for. Nothing may ever block or break on that pipe again,
    # not even when the parent is gone.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _print_line(facts: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        log.warning("whoever started this process is gone: %s", facts)


def _run(role: str, config: GridConfig, name: str, announce: Announce) -> None:
    run_role: RunRole = getattr(
        importlib.import_module(f"tupelo_grid.runtime.{role}"), f"run_{role}"
    )

    async def serve() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await run_role(config, name, stop, announce)
        log.info("stopped")

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not made for Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    # Through the module's own name, so that its classes exist once.
    sys.exit(importlib.import_module("tupelo_grid.runtime.process").main())
