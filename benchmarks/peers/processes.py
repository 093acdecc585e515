"""Processes: starting servers that cannot outlive us, their CPU, memory and cores."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

READY_S: Final = 60.0
STOP_S: Final = 20.0
POLL_S: Final = 0.05


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(command: Sequence[str], log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Starts a server that the kernel kills when this process dies, where setpriv is at hand."""
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    with log.open("ab") as out:
        return subprocess.Popen(
            [*guard, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options
        )


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until something accepts. Raises RuntimeError with the end of the log when nothing does."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(POLL_S)
    raise RuntimeError(
        f"{process.args!r} does not serve: {log.read_text(errors='replace')[-2000:]}"
    )


def stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Asks all of them, waits, and kills what is left."""
    known = list(processes)
    for process in known:
        if process.poll() is None:
            process.terminate()
    for process in known:
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # the thread ended
                children = [int(each) for each in path.read_text().split()]
                found += children
                waiting += children
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of all threads that these processes ever had, in seconds.

    Linux gives every process a clock of its own, to the nanosecond, and lets others read it.
    """
    total = 0.0
    for pid in pids:
        with suppress(OSError):  # it ended
            total += time.clock_gettime((~pid << 3) | 2)
    return total


def resident_bytes(pids: Iterable[int]) -> int:
    """Anonymous memory: what is resident without the code and files that are mapped."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    return total


def place(pids: Iterable[int], cores: set[int]) -> None:
    """Confines every thread of these processes to `cores`; threads made later inherit it."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(OSError):
                os.sched_setaffinity(int(task.name), cores)
