"""Signals while a grid starts and runs in the foreground, and what a start that fails leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import types

from tupelo_grid.cli.output import say
from tupelo_grid.config import GridConfig
from tupelo_grid.deployment.child import stop_processes
from tupelo_grid.runtime.runfiles import RunFile, live_processes

POLL_S = 0.05
HURRY_S = 2.0
"""Who asks a second time to stop waits so long. A grid that has nothing to bring to its store has
come down in order by then, and starts again as if nothing had been."""


class Interrupted(BaseException):
    """A signal came while the grid was starting. No Exception: nothing on the way handles it."""


class Signals:
    """SIGINT and SIGTERM, counted from `with` on; they raise Interrupted while `raising`."""

    def __init__(self) -> None:
        self.count = 0
        self.name = ""
        self.raising = False
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def arm(self) -> None:
        """From now on a signal raises Interrupted; one that came already does at once."""
        self.raising = True
        if self.count:
            raise Interrupted(self.name)

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        self.count += 1
        self.name = signal.Signals(number).name
        if self.raising:
            self.raising = False
            raise Interrupted(self.name)


def give_up(
    process: subprocess.Popen[bytes],
    config: GridConfig,
    before: dict[str, RunFile],
    signals: Signals,
) -> str:
    """Stops what this start has started, but never what ran `before` it. Says what became of it.

    Control that is not ready stops what it has started, and only that. Once it is ready, to stop
    it in order is to stop the whole grid: where units served before, it alone is ended, and they
    go on without it, as do new units, which may hold something by now.
    """
    control = live_processes(config.data_dir).get("control")
    ready = control is not None and control.pid == process.pid and bool(control.address)
    if ready and any(run.role == "unit" for run in before.values()):
        process.kill()
        process.wait()
        return "control is stopped; the units of before go on without it"
    if process.poll() is None:
        process.terminate()
        _wait(process, config.drain_s + 2 * config.stop_timeout_s, signals)
    live = live_processes(config.data_dir)
    ours = [run for run in live.values() if before.get(run.name) != run]
    stop_processes([run for run in ours if run.role == "control"], config.stop_timeout_s)
    stop_processes([run for run in ours if run.role != "control"], config.stop_timeout_s)
    left = sorted(live_processes(config.data_dir))
    if left:
        return f"what it had started is stopped; what ran before goes on: {', '.join(left)}"
    return "everything that it had started is stopped"


def _wait(process: subprocess.Popen[bytes], timeout_s: float, signals: Signals) -> None:
    """Until it has ended; it is killed after `timeout_s`, or when one more signal asks for it."""
    asked = signals.count
    deadline = time.monotonic() + timeout_s
    while not _ended(process):
        if time.monotonic() > deadline or signals.count > asked:
            process.kill()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, waiting for it so long that signals are heeded in between."""
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def until_stopped(process: subprocess.Popen[bytes], config: GridConfig, signals: Signals) -> bool:
    """Until the grid has ended, by a signal here or by `tupelo down` elsewhere. Whether it was
    killed, as the second signal asks for."""
    asked = killed = False
    deadline: float | None = None
    while not _ended(process):
        if signals.count and not asked:
            asked = True
            process.terminate()
            say("draining to the store and stopping; once more stops at once and may lose data")
        if signals.count > 1 and deadline is None:
            deadline = time.monotonic() + HURRY_S
        if deadline is not None and time.monotonic() > deadline and not killed:
            killed = True
            kill_all(config)
    return killed


def kill_all(config: GridConfig) -> None:
    """Control first: it would start the others again."""
    runs = live_processes(config.data_dir).values()
    for run in sorted(runs, key=lambda run: run.role != "control"):
        try:
            os.kill(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has just ended by itself
