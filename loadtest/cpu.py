"""CPU time of groups of processes, sampled while something else runs: see CpuSampler."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

INTERVAL_S: Final = 0.2
SAMPLES_MAX: Final = 100_000
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")

ELSEWHERE: Final = "elsewhere"
"""Group of all that runs on the machine and is in no other group."""

Pids = Callable[[], list[int]]


def tree(pid: int) -> list[int]:
    """A process and all its descendants that live."""
    found = [pid]
    for parent in found:
        with suppress(OSError):  # it has ended
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def cpu_s(pid: int) -> float | None:
    """User and system time of a process; None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * TICK_S


def machine_s() -> float:
    """CPU time of the whole machine so far, idle and waiting time left out."""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]))
    return (sum(fields[:8]) - fields[3] - fields[4]) * TICK_S


def interpolate(samples: list[tuple[float, float]], at: float) -> float:
    """Between the two samples around `at`; the first or last one outside."""
    if not samples:
        return 0.0
    if at <= samples[0][0]:
        return samples[0][1]
    for (t0, v0), (t1, v1) in itertools.pairwise(samples):
        if at <= t1:
            return v0 + (v1 - v0) * (at - t0) / (t1 - t0) if t1 > t0 else v1
    return samples[-1][1]


class CpuSampler:
    """Use in a `with`; `groups` name functions that give the pids of a group.

        with CpuSampler({"units": grid.unit_pids}) as cpu:
            ...
        cpu.between(began, ended)       # {"units": 3.2}, in CPU seconds

    Processes may come and go; what those that went had used still counts. There is always a group
    `elsewhere`: what is in none of them, other work on the machine above all.
    """

    def __init__(self, groups: Mapping[str, Pids]) -> None:
        self._groups = dict(groups)
        self._used: dict[str, dict[int, float]] = {name: {} for name in groups}
        names = [*groups, ELSEWHERE]
        self._samples: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu", daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def between(self, began: float, ended: float) -> dict[str, float]:
        """CPU seconds of each group between two moments, in Unix time."""
        return {
            name: round(interpolate(samples, ended) - interpolate(samples, began), 4)
            for name, samples in self._samples.items()
        }

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        ours = 0.0
        for name, pids in self._groups.items():
            used = self._used[name]
            for pid in pids():
                seconds = cpu_s(pid)
                if seconds is not None:
                    used[pid] = seconds
            self._add(name, sum(used.values()))
            ours += sum(used.values())
        self._add(ELSEWHERE, machine_s() - ours)

    def _add(self, name: str, seconds: float) -> None:
        if len(self._samples[name]) < SAMPLES_MAX:
            self._samples[name].append((time.time(), seconds))
