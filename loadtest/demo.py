"""`make demo`: a whole grid from nothing, a real day of flights sold out under load, and proof.

Starts control, messaging and three processing units through the CLI, loads the flights of
2013-11-27, lets locust's users hold and buy seats, waits for the store, compares every entry of the
grid with its row, and stops what it started. Environment: KEEP=1 leaves the grid running.

The last line is JSON with at least "mismatches" and "errors"; the exit code is 0 when both are 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtest.figures import Demo, result_of, total_of
from loadtest.show import Show, Step

ROOT = Path(__file__).resolve().parent.parent
AIRLINE = ROOT / "processing-units" / "airline"
LOCUSTFILE = ROOT / "loadtest" / "locustfile.py"
DEFAULT_PORT = 7400
STEP_S_MAX = 60.0
"""No step but the load, which has its own time, may take longer."""


class DemoError(Exception):
    """A step failed; the text says which and why."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="loadtest.demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load (default: 10)")
    parser.add_argument("--users", type=int, default=8, help="of locust (default: 8)")
    parser.add_argument("--keep", action="store_true", help="leave the grid running (KEEP=1)")
    options = parser.parse_args(arguments)
    keep = options.keep or os.environ.get("KEEP", "") not in ("", "0")
    folder = ROOT / ".tupelo"
    folder.mkdir(exist_ok=True)
    data_dir = Path(tempfile.mkdtemp(prefix="demo-", dir=folder))
    demo = Demo(free_port(), data_dir, options.seconds, options.users)
    show = Show()
    # What stops the demo from outside stops also what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with show:
            run(demo, show)
        show.summary(demo)
        result = result_of(demo)
    except (Exception, KeyboardInterrupt) as error:
        show.failure(failure_text(error), data_dir / "logs")
        stop(demo)
        return 1
    good = result["mismatches"] == result["errors"] == 0
    if keep:
        show.kept(demo.address, data_dir)
    else:
        with show.lone_step("stopping everything"):
            problem = stop(demo)
        if problem or not good:
            show.failure(problem or "there are mismatches or errors", data_dir / "logs")
            good = False
        else:
            shutil.rmtree(data_dir)
    print(json.dumps(result))
    return 0 if good else 1


def failure_text(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, DemoError) else repr(error)


def run(demo: Demo, show: Show) -> None:
    with show.step("starting control, messaging and 3 processing units") as step:
        start(demo)
        step.note(f"on {demo.address}")
    with show.step("loading the flights of 2013-11-27") as step:
        demo.flights = module("loadtest.load_flights", "--host", demo.address, "--json")
        step.note(counts(demo.flights, "flights", "seats"))
    with show.step(f"selling seats: {demo.users} users", demo.seconds) as step:
        load(demo, step)
        step.note(f"{total_of(demo.load)['operations']:,} operations")
    with show.step("draining to the store") as step:
        demo.status = until_drained(demo)
        step.note(f"{demo.status['pump']['lag_records']} records behind")
    with show.step("comparing every entry with its row") as step:
        arguments = ("--host", demo.address, "--data-dir", str(demo.data_dir), "--json")
        demo.check = module("loadtest.check", *arguments)
        step.note(counts(demo.check, "entries", "rows", "mismatches"))


def start(demo: Demo) -> None:
    tupelo(
        "up",
        *("--units", "3", "--port", str(demo.port), "--data-dir", str(demo.data_dir)),
        *("--unit", str(AIRLINE), "--detach"),
    )


def load(demo: Demo, step: Step) -> None:
    """Locust in a process of its own; what the grid has meanwhile is shown beside the bar."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--json"]
    command += ["--users", str(demo.users), "--spawn-rate", str(demo.users), "--only-summary"]
    command += ["--run-time", f"{demo.seconds:g}s", "--host", demo.address]
    log_path = demo.data_dir / "logs" / "locust.log"
    output = demo.data_dir / "locust.json"
    started = time.monotonic()
    with (
        log_path.open("wb") as log,
        output.open("wb") as out,
        started_process(command, stdout=out, stderr=log) as process,
    ):
        while process.poll() is None:
            elapsed = time.monotonic() - started
            if elapsed > demo.seconds + STEP_S_MAX:
                raise DemoError(f"the load did not end; see {log_path}")
            step.advance(elapsed)
            time.sleep(0.1)
    try:
        demo.load = json.loads(output.read_text())
    except ValueError as error:
        raise DemoError(f"locust gave no figures: {tail(log_path)}") from error
    if not total_of(demo.load)["operations"]:
        raise DemoError(f"locust's users did nothing: {tail(log_path)}")


def until_drained(demo: Demo) -> dict[str, Any]:
    """The status once the store has everything."""
    deadline = time.monotonic() + STEP_S_MAX
    while True:
        status = last_json(tupelo("status", "--json", "--port", str(demo.port)))
        if status["pump"]["lag_records"] == 0:
            return status
        if time.monotonic() > deadline:
            lag = status["pump"]
            raise DemoError(f"the store is still {lag['lag_records']} records behind: {lag}")
        time.sleep(0.1)


def stop(demo: Demo) -> str:
    """Stops what was started, however far it came; returns what went wrong, or ""."""
    if not any((demo.data_dir / "run").glob("*.json")):
        return ""
    result = process("-m", "tupelo_grid.cli.main", "down", "--data-dir", str(demo.data_dir))
    return "" if result.returncode == 0 else result.stderr.strip()


def counts(facts: dict[str, Any], *names: str) -> str:
    return ", ".join(f"{facts[name]:,} {name}" for name in names)


def tupelo(*arguments: str) -> str:
    """Runs the CLI as a user does; returns what it said."""
    result = process("-m", "tupelo_grid.cli.main", *arguments)
    if result.returncode != 0:
        raise DemoError(f"tupelo {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


def module(name: str, *arguments: str) -> dict[str, Any]:
    """Runs a script of this folder; returns the JSON of its last line."""
    result = process("-m", name, *arguments)
    try:
        return last_json(result.stdout)
    except (ValueError, IndexError):
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-5:]
        text = f"{name} ended with exit code {result.returncode}: " + "\n".join(said)
        raise DemoError(text) from None


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=STEP_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"{' '.join(arguments)}: no end after {STEP_S_MAX:g} s") from error


@contextlib.contextmanager
def started_process(command: list[str], **files: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block."""
    started = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, **files)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()


def last_json(text: str) -> dict[str, Any]:
    """Raises ValueError or IndexError when the last line is no JSON object."""
    facts = json.loads(text.strip().splitlines()[-1])
    if not isinstance(facts, dict):
        raise ValueError(text)
    return facts


def tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-5:])


def free_port() -> int:
    """The default port when it and the next are free, else any such pair."""
    candidates: list[int] = [DEFAULT_PORT, *range(17400, 17600, 2)]
    for port in candidates:
        try:
            for number in (port, port + 1):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue  # taken
        return port
    raise DemoError("no free pair of ports between 17400 and 17600")


if __name__ == "__main__":
    sys.exit(main())
