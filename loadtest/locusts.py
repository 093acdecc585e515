"""Runs locust with a plan, in processes of its own: one, or a master with workers."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from loadtest.cores import started_on
from loadtest.plan import Plan, Result

ROOT: Final = Path(__file__).resolve().parent.parent
LOCUSTFILE: Final = ROOT / "loadtest" / "arrivals.py"
BEYOND_S: Final = 60.0
"""What locust may take beyond the plan's own time."""
POLL_S: Final = 0.05


class LocustError(Exception):
    """locust failed; the text has what it said."""


class Locusts:
    """Runs that keep locust's own reports in `folder`.

    Attributes:
        workers: 0: one process; otherwise a master and so many workers, on loopback.
        cores: CPUs that locust and its drivers stay on; empty: any.
    """

    def __init__(self, folder: Path, cores: Sequence[int] = (), workers: int = 0) -> None:
        self.folder = folder
        self.cores = tuple(cores)
        self.workers = workers
        folder.mkdir(parents=True, exist_ok=True)

    def run(
        self, name: str, plan: Plan, during: Callable[[list[int]], None] | None = None
    ) -> Result:
        """Writes NAME.html (locust's report) into the folder, NAME.log beside it. `during` is given
        the pids of locust's processes again and again. Raises LocustError."""
        scratch = Path(tempfile.mkdtemp(prefix="tupelo-locust-"))
        try:
            return self._run(name, plan, scratch, during or (lambda _: None))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(
        self, name: str, plan: Plan, scratch: Path, during: Callable[[list[int]], None]
    ) -> Result:
        result = scratch / "result.json"
        plan = msgspec.structs.replace(plan, result=str(result))
        path = scratch / "plan.json"
        path.write_bytes(msgspec.json.encode(plan))
        log_path = self.folder / f"{name}.log"
        seconds = sum(step.seconds + step.settle_s + 2 for step in plan.steps) + BEYOND_S
        started: list[subprocess.Popen[bytes]] = []
        with log_path.open("wb") as log:
            try:
                for arguments in self._commands(path, self.folder / f"{name}.html"):
                    started.append(self._start(arguments, log.fileno()))
                deadline = time.monotonic() + seconds
                while started[0].poll() is None:
                    if time.monotonic() > deadline:
                        raise LocustError(f"locust did not end in {seconds:.0f} s; see {log_path}")
                    during([one.pid for one in started])
                    time.sleep(POLL_S)
            finally:
                for one in reversed(started):
                    if one.poll() is None:
                        one.terminate()
                    try:
                        one.wait(10)
                    except subprocess.TimeoutExpired:
                        one.kill()
                        one.wait()
        try:
            return msgspec.json.decode(result.read_bytes(), type=Result)
        except (OSError, msgspec.ValidationError) as error:
            said = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
            raise LocustError(f"locust gave no figures ({error}):\n{said}") from error

    def _commands(self, plan: Path, html: Path) -> list[list[str]]:
        common = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless"]
        common += ["--plan", str(plan)]
        report = ["--html", str(html), "--exit-code-on-error", "0"]
        if not self.workers:
            return [[*common, *report]]
        port = str(_free_port())
        master = [*common, *report, "--master", "--master-bind-host", "127.0.0.1"]
        master += ["--master-bind-port", port, "--expect-workers", str(self.workers)]
        worker = [*common, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
        return [master, *[worker] * self.workers]

    def _start(self, command: list[str], log: int) -> subprocess.Popen[bytes]:
        with started_on(self.cores):
            return subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
