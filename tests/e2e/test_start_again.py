"""Starts that come to nothing leave nothing behind; what is LOST is said, and has a way back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

from tupelo_grid.cli.output import ExitCode
from tupelo_grid.runtime.runfiles import live_processes

from tests.e2e.grids import FAST, TUPELO, free_port, tupelo
from tests.pause import pause

SMALL = ("--units", "1", "--partitions", "16", *FAST)


def begin(*arguments: object) -> subprocess.Popen[str]:
    command = [*TUPELO, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def until_running(data_dir: Path, role: str) -> None:
    async with asyncio.timeout(20):
        while not any(run.role == role for run in live_processes(data_dir).values()):
            await pause(0.01)


async def test_a_start_that_fails_or_is_stopped_does_no_harm(tmp_path: Path) -> None:
    data_dir, port = tmp_path / "d", free_port()
    up = ("up", "--data-dir", data_dir, "--port", port, *SMALL)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert tupelo(*up, "--detach").returncode == ExitCode.USAGE
    for number in (signal.SIGTERM, signal.SIGINT):
        starting = begin(*up)
        await until_running(data_dir, "control" if number is signal.SIGINT else "unit")
        starting.send_signal(number)
        _, said = starting.communicate(timeout=30)
        assert starting.returncode == ExitCode.FAILED
        assert f"{number.name} while it was starting: everything that it had started" in said
        assert live_processes(data_dir) == {}
    ready = tupelo(*up, "--detach")
    try:
        assert ready.returncode == 0, ready.stdout + ready.stderr
        assert "LOST" not in ready.stdout + ready.stderr
    finally:
        tupelo("down", "--data-dir", data_dir)


def test_a_grid_that_lost_partitions_says_so_and_begins_anew(tmp_path: Path) -> None:
    data_dir, port = tmp_path / "d", free_port()
    up = ("up", "--data-dir", data_dir, "--port", port, *SMALL, "--detach", "--space", "carts")
    assert tupelo(*up).returncode == 0
    # A store that has never heard of the grid is not loaded from: it might be the wrong one.
    assert tupelo("put", "carts", "ann", "1", "--port", port).returncode == 0
    assert tupelo("drain", "--port", port).returncode == 0
    # In this order: control first, which would start the others again.
    for _, run in sorted(live_processes(data_dir).items()):
        os.kill(run.pid, signal.SIGKILL)
    again = tupelo(*up)
    try:
        assert again.returncode == ExitCode.FAILED
        assert "ready" not in again.stdout
        assert "16 of 16 partitions are LOST" in again.stderr
        assert "tupelo promote --all-lost" in again.stderr
        promoted = tupelo("promote", "--all-lost", "--from-store", "--yes", "--port", port)
        assert promoted.returncode == 0, promoted.stderr
        counted = tupelo("count", "carts", "--port", port)
        assert (counted.returncode, counted.stdout) == (0, "1\n"), counted.stderr
    finally:
        tupelo("down", "--data-dir", data_dir)
