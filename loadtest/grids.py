"""A grid of its own for a measurement, and where its processes run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tupelo_grid.runtime.runfiles import live_processes

from loadtest.cores import started_on

ROOT: Final = Path(__file__).resolve().parent.parent
UNITS: Final = ROOT / "processing-units"
START_S: Final = 120.0
DRAIN_S_MAX: Final = 90.0


class GridError(Exception):
    """The grid did not start or did not answer; the text says why."""


class OwnGrid:
    """One that runs. `data_dir` has its logs."""

    def __init__(self, port: int, data_dir: Path) -> None:
        self.port = port
        self.data_dir = data_dir

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def pids(self) -> dict[str, int]:
        """By name: control, messaging, unit-1 ..."""
        return {name: run.pid for name, run in live_processes(str(self.data_dir)).items()}

    def pids_of(self, name: str) -> list[int]:
        pid = self.pids().get(name)
        return [] if pid is None else [pid]

    def unit_pids(self) -> list[int]:
        return [pid for name, pid in self.pids().items() if name.startswith("unit-")]

    def other_pids(self) -> list[int]:
        return [pid for name, pid in self.pids().items() if not name.startswith("unit-")]

    def kill(self, name: str) -> None:
        """As if its machine were gone."""
        os.kill(self.pids()[name], signal.SIGKILL)

    def module(self, name: str, *arguments: str) -> dict[str, Any]:
        """Runs a script of this folder that prints JSON, beside the load; its last line."""
        command = [sys.executable, "-m", name, *arguments, "--json"]
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=START_S, check=False
        )
        try:
            found: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise GridError(f"{name}: {result.stderr.strip()[-1000:]}") from None
        return found

    def status(self) -> dict[str, Any]:
        said = _tupelo("status", "--json", "--port", str(self.port))
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        return found

    def until_drained(self) -> None:
        """Returns when the store has everything. Raises GridError after DRAIN_S_MAX."""
        deadline = time.monotonic() + DRAIN_S_MAX
        while lag := self.status()["pump"]["lag_records"]:
            if time.monotonic() > deadline:
                raise GridError(f"the store is {lag} records behind after {DRAIN_S_MAX:g} s")


@contextmanager
def own_grid(
    units: int,
    *,
    unit: str = "",
    cores: Sequence[int] = (),
    settings: Mapping[str, str | int | float] | None = None,
) -> Iterator[OwnGrid]:
    """`unit`: a folder of processing-units/. `settings`: of GridConfig. `cores`: CPUs that its
    processes stay on. Its files are removed at the end. Raises GridError."""
    data_dir = Path(tempfile.mkdtemp(prefix="tupelo-loadtest-"))
    grid = OwnGrid(free_ports(), data_dir)
    place = ["--port", str(grid.port), "--data-dir", str(data_dir)]
    # A dozen processes on one core take their time to start.
    given = {"start_timeout_s": START_S / 2, **(settings or {})}
    extra = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    extra += ["--unit", str(UNITS / unit)] if unit else []
    try:
        _tupelo("up", "--units", str(units), *place, *extra, "--detach", cores=cores)
        yield grid
    finally:
        try:
            _tupelo("down", *place)
        finally:
            shutil.rmtree(data_dir, ignore_errors=True)


def _tupelo(*arguments: str, cores: Sequence[int] = ()) -> str:
    try:
        with started_on(cores):
            result = subprocess.run(
                [sys.executable, "-m", "tupelo_grid.cli.main", *arguments],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=START_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise GridError(f"tupelo {arguments[0]}: no end after {START_S:g} s") from error
    if result.returncode != 0:
        raise GridError(f"tupelo {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


def free_ports() -> int:
    """The first of two free ports side by side."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue  # the next one is taken
            return port
    raise GridError("no two free ports side by side were found")
