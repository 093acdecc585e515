"""Redis: a primary and one replica, in memory only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.processes import free_port, spawn, stop, wait_for_port
from benchmarks.peers.system import NotInstalled


class RedisServers:
    """Both on loopback, without snapshots and without an append-only file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = 0

    @property
    def version(self) -> str:
        words = subprocess.run(
            [self._program(), "--version"], capture_output=True, text=True, check=True
        ).stdout.split()
        return f"Redis {words[2].removeprefix('v=')}"

    def start(self) -> None:
        self.port = self._start("primary")
        self._start("replica", "--replicaof", "127.0.0.1", str(self.port))

    def stop(self) -> None:
        stop(self._processes)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def _program(self) -> str:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if not found:
            raise NotInstalled("redis-server is not on the PATH: apt-get install redis-server")
        return found

    def _start(self, name: str, *more: str) -> int:
        folder = self._folder / f"redis-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        command = [self._program(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--dir", str(folder), "--repl-diskless-sync-delay", "0"]
        log = folder / "log"
        process = spawn([*command, *more], log)
        self._processes.append(process)
        wait_for_port(port, process, log)
        return port
