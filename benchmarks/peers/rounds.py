"""All systems side by side: every round gives each of them one slice, in another order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.peers.shapes import Shape
from benchmarks.sdk import ROOT

STOP_S: Final = 90.0

Say = Callable[[str], None]


class WorkerFailed(Exception):
    """A system broke in the middle; the text is what it said."""


@dataclass
class Remote:
    """The process of one system, as the one that leads sees it."""

    name: str
    process: subprocess.Popen[str]
    about: dict[str, str]
    ways: list[str]
    blocking: bool

    def ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        return _answer(self.name, self.process)

    def can(self, shape: Shape) -> bool:
        if shape.op == "collocate":
            return bool(self.ways)
        return not self.blocking or (shape.op in ("get", "put") and shape.in_flight <= 64)

    def runs(self, shape: Shape) -> list[str]:
        """The ways in which it makes this shape; [""] where there is but one."""
        return self.ways if shape.op == "collocate" else [""]


def _answer(name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise WorkerFailed(f"{name} ended without an answer")
    found = cast("dict[str, Any]", json.loads(line))
    if "failed" in found:
        raise WorkerFailed(f"{name}: {found['failed']}")
    return found


@contextmanager
def systems(names: list[str], say: Say, missing: dict[str, str]) -> Iterator[list[Remote]]:
    """Starts them, one after the other, and ends them all. What is not to be had, or does not
    start, is put into `missing` with the reason."""
    folder = Path(tempfile.mkdtemp(prefix="tupelo-peers-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    with ExitStack() as exits:
        exits.callback(shutil.rmtree, folder, ignore_errors=True)
        started = []
        for name in names:
            say(f"starting {name}")
            home = folder / name
            home.mkdir()
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.worker", name, str(home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            exits.callback(_end, process)
            try:
                found = _answer(name, process)
            except WorkerFailed as error:
                found = {"missing": str(error)}
            if "missing" in found:
                missing[name] = found["missing"]
                say(f"  not measured: {found['missing']}")
                continue
            started.append(Remote(name, process, found["about"], found["ways"], found["blocking"]))
        yield started


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Placement:
    """Cores of clients and of servers. "pinned": apart; "free": wherever Linux puts them."""

    name: str
    clients: tuple[int, ...]
    servers: tuple[int, ...]


def placement(name: str) -> Placement:
    """Raises ValueError where there is one core only and they shall be apart."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    if name == "free":
        return Placement(name, cores, cores)
    if len(cores) < 2:
        raise ValueError("one core only: --placement free")
    return Placement(name, cores[:1], cores[1:])


Slices = dict[tuple[str, str, str], list[dict[str, float]]]
"""(system, way, shape) -> what each round gave."""


def measure(
    remotes: list[Remote],
    shapes: list[Shape],
    where: Placement,
    rounds: int,
    seconds: float,
    say: Say,
) -> Slices:
    """Shape by shape; in each, round by round; in each, system by system, turned by one each time,
    so that none always comes after the same one."""
    for remote in remotes:
        remote.ask({"place": [where.clients, where.servers]})
    found: Slices = {}
    for shape in shapes:
        takers = [remote for remote in remotes if remote.can(shape)]
        # Memory grows but once.
        for number in range(1 if shape.op == "memory" else rounds):
            turn = number % len(takers) if takers else 0
            for remote in [*takers[turn:], *takers[:turn]]:
                for way in remote.runs(shape):
                    wish = {"op": shape.op, "in_flight": shape.in_flight, "way": way}
                    wish |= {"value_bytes": shape.value_bytes, "seconds": seconds}
                    one = remote.ask(wish)["slice"]
                    found.setdefault((remote.name, way, shape.name), []).append(one)
        say(_told(shape, takers, found))
    return found


def _told(shape: Shape, takers: list[Remote], found: Slices) -> str:
    parts = []
    for remote in takers:
        for way in remote.runs(shape):
            slices = found[remote.name, way, shape.name]
            rate = max(slice_.get("ops_s", 0.0) for slice_ in slices)
            label = f"{remote.name} {way}".strip()
            parts.append(f"{label} {rate:,.0f}/s" if rate else f"{label} {slices[0]}")
    return f"{shape.name}: " + ", ".join(parts)
