"""Run files: `<data_dir>/run/NAME.json` says which process is NAME of this grid, and where.

Every process writes its own when it starts and when it is ready, and removes it when it ends. They
are how `tupelo down` stops what a killed control process left, and how a new control process
adopts it. A file outlives a process that was killed, so a pid counts only together with the
process's start time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec


class RunFile(msgspec.Struct, frozen=True):
    """One process of a grid.

    Attributes:
        start_ticks: start of the process in clock ticks since boot; 0 where the system does not
            tell. Distinguishes it from a later process with the same pid.
        address: "host:port" it serves on; "" until it is ready.
        control_port: of the grid, so that a control process adopts its own children only.
        incarnation: of a processing unit; "" for others, and until it is ready.
    """

    name: str
    role: str
    pid: int
    start_ticks: int
    control_port: int
    address: str = ""
    incarnation: str = ""


def run_dir(data_dir: str | Path) -> Path:
    return Path(data_dir) / "run"


def log_path(data_dir: str | Path, name: str) -> Path:
    return Path(data_dir) / "logs" / f"{name}.log"


def start_ticks(pid: int) -> int | None:
    """When the live process `pid` started; None when there is none. A zombie is not live."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return _start_ticks_without_proc(pid)
    except ProcessLookupError:
        return None
    # The command, field 2, may hold spaces and parentheses; fields 3 (state) and 22 come after it.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _start_ticks_without_proc(pid: int) -> int | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0


def is_alive(run: RunFile) -> bool:
    return start_ticks(run.pid) == run.start_ticks


def write_run_file(data_dir: str | Path, run: RunFile) -> None:
    """Replaces the file in one step. Raises OSError."""
    path = run_dir(data_dir) / f"{run.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{run.name}.{run.pid}")
    temporary.write_bytes(msgspec.json.encode(run))
    temporary.replace(path)


def remove_run_file(data_dir: str | Path, run: RunFile) -> None:
    """Removes the file if it is still this process's."""
    path = run_dir(data_dir) / f"{run.name}.json"
    current = _read(path)
    if current is not None and (current.pid, current.start_ticks) == (run.pid, run.start_ticks):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def live_processes(data_dir: str | Path) -> dict[str, RunFile]:
    """The processes of the grid at `data_dir` that live, by name, in order of their names."""
    found = {}
    for path in sorted(run_dir(data_dir).glob("*.json")):
        run = _read(path)
        if run is not None and is_alive(run):
            found[run.name] = run
    return found


def dead_processes(data_dir: str | Path) -> dict[str, RunFile]:
    """Those that have ended and left their run files: they were killed."""
    found = {}
    for path in sorted(run_dir(data_dir).glob("*.json")):
        run = _read(path)
        if run is not None and not is_alive(run):
            found[run.name] = run
    return found


def _read(path: Path) -> RunFile | None:
    """None for a file that is gone or is no run file: it then names no process to care for."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunFile)
    except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError):
        return None
