"""Real grids for tests: started through the CLI, on free ports, with data in a temporary folder.

grid = Grid.start(tmp_path, units=3)
...
grid.stop()
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tupelo_grid.deployment.child import stop_processes
from tupelo_grid.runtime.runfiles import RunFile, is_alive, live_processes

ROOT = Path(__file__).resolve().parents[2]
TUPELO = [sys.executable, "-m", "tupelo_grid.cli.main"]
# Short leases: a killed unit is replaced within a second, as in the issue's own tests.
FAST = ("--set", "lease_s=1", "--set", "silent_backup_s=0.5", "--set", "drain_s=10")


def tupelo(*arguments: object, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs the CLI to its end."""
    return subprocess.run(
        [*TUPELO, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def free_port() -> int:
    """A port that is free together with the next one: a grid takes both.

    Below the range that the system hands out by itself, so that no unit's own port gets in between.
    """
    for _ in range(1000):
        port = random.randrange(12_000, 32_000, 2)
        try:
            for number in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue  # taken
        return port
    raise RuntimeError("no two neighbouring free ports found")


class Grid:
    """A running grid.

    Attributes:
        started: how `tupelo up` ended, and what it said.
        up_s: how long it took, in seconds.
    """

    def __init__(self, data_dir: Path, port: int, arguments: tuple[str, ...]) -> None:
        self.data_dir = data_dir
        self.port = port
        self.arguments = arguments
        self.up_s = 0.0
        self.started = self.up()

    @classmethod
    def start(cls, folder: Path, *arguments: str, units: int = 3) -> Grid:
        """Fails with the CLI's words and the logs when the grid does not come up."""
        grid = cls(folder / "grid", free_port(), ("--units", str(units), *arguments))
        if grid.started.returncode != 0:
            logs = grid.logs()
            grid.stop()
            raise AssertionError(f"{grid.started.stdout}{grid.started.stderr}\n{logs}")
        return grid

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def up(self, timeout_s: float = 150.0) -> subprocess.CompletedProcess[str]:
        """`tupelo up --detach`; also for a grid whose control process was killed."""
        started = time.monotonic()
        options = ("--port", self.port, "--data-dir", self.data_dir, "--detach", *FAST)
        result = tupelo("up", *options, *self.arguments, timeout_s=timeout_s)
        self.up_s = time.monotonic() - started
        return result

    def cli(self, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return tupelo(command, *arguments, "--port", self.port)

    def status(self) -> dict[str, Any]:
        """`tupelo status --json`."""
        result = self.cli("status", "--json")
        assert result.returncode == 0, result.stderr
        status: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return status

    def until(self, condition: Any, timeout_s: float = 40.0) -> dict[str, Any]:
        """Looks at the status until `condition(status)`; returns that status."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if condition(status):
                return status
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s: {status}\n{self.logs()}")
            time.sleep(0.05)

    def until_healthy(self, units: int = 3, timeout_s: float = 40.0) -> dict[str, Any]:
        def healthy(status: dict[str, Any]) -> bool:
            parts = status["partitions"]
            running = [unit for unit in status["units"] if unit["state"] == "running"]
            return parts["total"] == parts["healthy"] > 0 and len(running) == units

        return self.until(healthy, timeout_s)

    def processes(self) -> dict[str, RunFile]:
        """Those that live, by name: control, messaging, unit-1, ..."""
        return live_processes(self.data_dir)

    @property
    def unit_pids(self) -> dict[str, int]:
        return {name: run.pid for name, run in self.processes().items() if run.role == "unit"}

    def kill(self, name: str) -> RunFile:
        """SIGKILL; returns what it was."""
        run = self.processes()[name]
        os.kill(run.pid, signal.SIGKILL)
        return run

    def logs(self) -> str:
        """The end of every process's log."""
        texts = []
        for path in sorted((self.data_dir / "logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-25:]
            texts.append("\n".join([f"--- {path.name}", *lines]))
        return "\n".join(texts)

    def down(self) -> subprocess.CompletedProcess[str]:
        return tupelo("down", "--data-dir", self.data_dir)

    def stop(self) -> None:
        """Stops everything, whatever state it is in."""
        if not self.processes():
            return
        self.down()
        stop_processes(list(self.processes().values()), 2.0)


def gone(runs: dict[str, RunFile]) -> bool:
    return not any(is_alive(run) for run in runs.values())
