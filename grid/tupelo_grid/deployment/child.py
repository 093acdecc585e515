"""One child process: started or adopted, watched, stopped.

A child outlives its parent on purpose: when the control process is killed, units and messaging go
on serving, and the next control process adopts them. So nothing ties them together but a pid.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.runfiles import RunFile, is_alive, log_path, start_ticks

log = logging.getLogger(__name__)

POLL_S = 0.1
"""Pause between looks at a process where the system has no pidfd (Linux before 5.3, macOS)."""


class Child:
    """A process of this grid. `run` has its address and incarnation once it is ready."""

    def __init__(self, run: RunFile, process: subprocess.Popen[bytes] | None = None) -> None:
        self.run = run
        self._process = process  # None: adopted, so it is not ours to reap
        self._exited = asyncio.Event()
        self._watch = asyncio.get_running_loop().create_task(
            _until_exit(run), name=f"watch {run.name}"
        )
        self._watch.add_done_callback(lambda _: self._on_exit())

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def alive(self) -> bool:
        return not self._exited.is_set()

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that killed it. None while it lives, or when it was adopted."""
        return self._process.returncode if self._process is not None else None

    async def wait(self) -> None:
        """Until the process is gone, however it went."""
        await self._exited.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends nothing when the process is gone already."""
        if self.alive and is_alive(self.run):
            os.kill(self.run.pid, number)

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM, then SIGKILL after `timeout_s`, at once when that is 0; until it is gone."""
        if timeout_s <= 0:
            self.signal(signal.SIGKILL)
            await self.wait()
            return
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait()
        except TimeoutError:
            log.warning("%s did not stop within %.1f s: killing it", self.name, timeout_s)
            self.signal(signal.SIGKILL)
            await self.wait()

    async def detach(self) -> None:
        """Stops watching; the process goes on."""
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)

    def _on_exit(self) -> None:
        if self._process is not None:
            self._process.poll()
        self._exited.set()


async def start_child(
    role: str,
    name: str,
    config_path: Path,
    data_dir: str,
    control_port: int,
    timeout_s: float,
    launcher: str = "",
) -> Child:
    """Starts `name`, by `launcher` where there is one, and waits for its ready line.

    Raises FatalStartError with the child's own words when it says that it cannot start, or when it
    ends or stays silent for `timeout_s`; then it is gone. When cancelled, the child is gone too.
    """
    logs = log_path(data_dir, name)
    command = launched(launcher, process_command(role, name, config_path))
    process = _spawn(command, logs)
    run = RunFile(name, role, process.pid, start_ticks(process.pid) or 0, control_port)
    child = Child(run, process)
    try:
        async with asyncio.timeout(timeout_s):
            facts = await _ready_line(process)
    except BaseException as error:
        child.signal(signal.SIGKILL)
        await child.wait()
        if isinstance(error, TimeoutError):
            raise FatalStartError(
                f"{name} was not ready within {timeout_s:g} s",
                f"its log is {logs}; set start_timeout_s if the machine is slow",
            ) from error
        raise
    if facts is None or not facts.get("ready"):
        await child.stop(POLL_S * 10)
        facts = facts or {"error": f"{name} ended with exit code {child.exit_code}"}
        hint = str(facts.get("hint") or "")
        raise FatalStartError(f"{name}: {facts.get('error')}", f"{hint} (log: {logs})".strip())
    child.run = RunFile(
        name,
        role,
        run.pid,
        run.start_ticks,
        control_port,
        str(facts.get("address", "")),
        str(facts.get("incarnation", "")),
    )
    return child


def process_command(role: str, name: str, config_path: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tupelo_grid.runtime.process",
        role,
        "--config",
        str(config_path),
        "--name",
        name,
    ]


def launched(launcher: str, command: list[str]) -> list[str]:
    """The command with one of the setting `launchers` before it."""
    return [*shlex.split(launcher), *command]


def _spawn(command: list[str], logs: Path) -> subprocess.Popen[bytes]:
    """Executes, never only forks (gRPC's threads do not survive a fork), in a session of its own:
    Ctrl-C in a terminal must reach the CLI alone.
    """
    logs.parent.mkdir(parents=True, exist_ok=True)
    with logs.open("ab") as stderr:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            close_fds=True,
        )


async def _ready_line(process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    """The first line of the child's stdout that is a ready line; None when it closes without."""
    assert process.stdout is not None
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), process.stdout
    )
    try:
        while line := await reader.readline():
            facts = parse_ready_line(line)
            if facts is not None:
                return facts
        return None
    finally:
        transport.close()


def parse_ready_line(line: bytes) -> dict[str, Any] | None:
    """None for a line that is something else, such as what an application prints at import."""
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and "ready" in facts else None


async def _until_exit(run: RunFile) -> None:
    """A pidfd tells at once and cannot mean another process; without it, look now and then."""
    try:
        descriptor = os.pidfd_open(run.pid)
    except (AttributeError, OSError):
        while is_alive(run):  # noqa: ASYNC110 - nobody could set an event
            await asyncio.sleep(POLL_S)
        return
    try:
        # The pid may have gone to another process before the pidfd was made.
        if is_alive(run):
            await _readable(descriptor)
    finally:
        os.close(descriptor)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


def stop_processes(runs: list[RunFile], term_s: float) -> list[RunFile]:
    """SIGTERM to all, SIGKILL to those that live after `term_s`; returns the killed ones.

    For processes that are nobody's children any more; blocks. They are gone when it returns.
    """
    descriptors = {}
    for run in runs:
        try:
            descriptor = os.pidfd_open(run.pid)
        except OSError:
            continue  # gone already
        if is_alive(run):
            descriptors[descriptor] = run
            os.kill(run.pid, signal.SIGTERM)
        else:
            os.close(descriptor)
    try:
        killed = [descriptors[d] for d in _wait_all(set(descriptors), term_s)]
        for run in killed:
            if is_alive(run):
                os.kill(run.pid, signal.SIGKILL)
        _wait_all({d for d, run in descriptors.items() if run in killed}, term_s)
        return killed
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _wait_all(descriptors: set[int], timeout_s: float) -> set[int]:
    """Waits until the processes behind the pidfds are gone; returns those that are not."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    waiting = set(descriptors)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poller.poll(left * 1000):
            poller.unregister(descriptor)
            waiting.discard(descriptor)
    return waiting
