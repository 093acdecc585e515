"""Two JVM processes that form a cluster, from jars that `--install` fetched."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.peers.install import jars
from benchmarks.peers.processes import spawn, stop, wait_for_port
from benchmarks.peers.system import NotInstalled

HEAP: Final = "-Xmx1g"
OPEN: Final = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks",
    "java.base/jdk.internal.access",
    "java.base/jdk.internal.misc",
    "java.base/sun.nio.ch",
    "java.base/sun.util.calendar",
    "java.management/com.sun.jmx.mbeanserver",
    "java.management/sun.management",
    "jdk.management/com.sun.management.internal",
)
"""What both servers look into, as their own start scripts allow."""


class Cluster:
    """Servers of one kind, each started and waited for in turn."""

    def __init__(self, system: str, folder: Path) -> None:
        self._folder = folder
        self._jars = jars(system)
        self._processes: list[subprocess.Popen[bytes]] = []
        if not self._jars:
            raise NotInstalled(f"no jars of {system}: python -m benchmarks.peers --install")
        if not shutil.which("java"):
            raise NotInstalled("no java on the PATH; it has to be 11 or newer")

    def start(self, name: str, words: Sequence[str], port: int) -> None:
        """`words`: options and class, or source file, with its arguments."""
        options = [f"--add-opens={package}=ALL-UNNAMED" for package in OPEN]
        classes = ":".join(map(str, self._jars))
        log = self._folder / f"{name}.log"
        process = spawn(["java", HEAP, "-Xms256m", *options, "-cp", classes, *words], log)
        self._processes.append(process)
        wait_for_port(port, process, log)

    def version(self, artifact: str) -> str:
        """Of a jar, by its name."""
        names = [path.stem for path in self._jars if path.stem.startswith(f"{artifact}-")]
        return names[0].removeprefix(f"{artifact}-") if names else ""

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def stop(self) -> None:
        stop(self._processes)
