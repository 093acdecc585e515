"""One run: a grid, its clients, faults one after another, and the judgement."""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import msgspec
from tupelo.errors import TupeloError
from tupelo_grid.config import GridConfig

from loadtest.check import CheckError, check
from tests.chaos.cluster import Cluster, NotRecovered
from tests.chaos.faults import Hit, Injector
from tests.chaos.links import Proxy
from tests.chaos.load import Load, Mix
from tests.chaos.network import Network
from tests.chaos.plan import Fault
from tests.chaos.verdict import Verdict, judge, read_all
from tests.linearizability.history import Op
from tests.pause import pause

WARM_UP_S: Final = 1.5
BEFORE_S: Final = 0.2
"""From the beginning of a storm of calls to the fault that meets it."""


@dataclass(frozen=True)
class Settings:
    """Of a run.

    Attributes:
        config: of the grid; see cluster.SETTINGS for what of it counts.
        recover_s: how long the grid may take to become whole after a fault.
        no_failures: clients must see neither failures nor unknown outcomes (rolling restarts).
        network: makes that of the grid.
    """

    plan: Sequence[Fault]
    seed: int
    config: GridConfig
    mix: Mix = field(default_factory=Mix)
    recover_s: float = 60.0
    no_failures: bool = False
    network: Callable[[], Network] = Proxy


@dataclass
class Outcome:
    """What a run has shown; `as_json` is for everybody, `violations` for whoever must mend it."""

    network: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    acknowledged: int = 0
    unknown: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failover_s: dict[str, list[float]] = field(default_factory=dict)
    stall_s: dict[str, list[float]] = field(default_factory=dict)
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    violations: list[str] = field(default_factory=list)
    store_entries: int = 0
    store_mismatches: int = -1
    elapsed_s: float = 0.0
    ops: list[Op] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "faults": dict(sorted(self.faults.items())),
            "operations": self.operations,
            "acknowledged": self.acknowledged,
            "unknown": self.unknown,
            "failed": self.failed,
            "errors": dict(self.errors),
            "lost": self.verdict.lost,
            "linearizable": self.verdict.linearizable,
            "undecided": len(self.verdict.undecided),
            "duplicates": self.verdict.duplicates,
            "keys": self.verdict.keys,
            "store_entries": self.store_entries,
            "store_mismatches": self.store_mismatches,
            "violations": len(self.violations),
            "failover_s": {kind: spread(s) for kind, s in sorted(self.failover_s.items())},
            "stall_s": {kind: spread(s) for kind, s in sorted(self.stall_s.items())},
            "recovery_s": {kind: spread(s) for kind, s in sorted(self.recovery_s.items())},
            "elapsed_s": round(self.elapsed_s, 1),
        }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles by nearest rank, in seconds."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 3)

    return {"p50": at(0.5), "p99": at(0.99), "max": at(1.0), "n": len(ordered)}


class Run:
    """Args: folder: for the grid's data, logs, and what is left when a promise was broken."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.outcome = Outcome()
        self._started = perf_counter()
        self._timeline: list[str] = []

    async def run(self) -> Outcome:
        outcome = self.outcome
        network = self.settings.network()
        outcome.network = network.kind
        try:
            async with Cluster(self.folder, self.settings.config, network) as cluster:
                await self._with_grid(cluster)
        except (NotRecovered, TupeloError, CheckError, TimeoutError) as error:
            outcome.violations.append(f"{type(error).__name__}: {error}")
        if outcome.ops and any(op.client == "last" for op in outcome.ops):
            outcome.verdict = judge(outcome.ops)
            outcome.violations += outcome.verdict.violations
        outcome.elapsed_s = perf_counter() - self._started
        if outcome.violations:
            self._leave_behind()
        return outcome

    def say(self, text: str) -> None:
        line = f"[{perf_counter() - self._started:7.2f}] {text}"
        self._timeline.append(line)
        print(line, file=sys.stderr, flush=True)

    async def _with_grid(self, cluster: Cluster) -> None:
        settings, outcome = self.settings, self.outcome
        await cluster.healthy((), settings.recover_s)
        self.say(f"a grid on {cluster.address}, data in {self.folder}")
        async with Load(cluster.address, cluster.config, settings.seed, settings.mix) as load:
            try:
                await pause(WARM_UP_S)
                injector = Injector(cluster, load.pulses.begin)
                for number, fault in enumerate(settings.plan, 1):
                    self.say(f"{number}/{len(settings.plan)} {fault}")
                    await self._one(cluster, load, injector, fault)
                await load.finish()
                self.say("clients have ended; reading everything")
                await read_all(load.grids[0], load.recorder, load.keys)
                outcome.violations += await self._lost_pulses(load)
            finally:
                self._count(load)
        found = await check(cluster.address, GridConfig(data_dir=str(cluster.grid.data_dir)))
        outcome.store_entries, outcome.store_mismatches = found.entries, found.mismatches
        if found.mismatches:
            outcome.violations.append(f"grid and store differ: {found.samples}")
        stopped = await asyncio.to_thread(cluster.grid.down)
        if stopped.returncode:
            outcome.violations.append(f"`tupelo down` failed: {stopped.stdout}{stopped.stderr}")

    async def _one(self, cluster: Cluster, load: Load, injector: Injector, fault: Fault) -> None:
        outcome = self.outcome
        before = len(load.tally.problems)
        load.storm()
        await pause(BEFORE_S)
        hit = await injector.strike(fault)
        outcome.faults[fault.kind] += 1
        recovery_s = await cluster.healthy(hit.gone, self.settings.recover_s)
        try:
            waits = await load.pulses.waits(self.settings.recover_s)
        except TimeoutError:
            behind = load.pulses.behind(load.pulses.began_s)
            raise NotRecovered(f"partitions {behind} do not answer though all is well") from None
        self._measure(fault, hit, waits, recovery_s)
        await load.calm()
        load.broken()
        for problem in load.tally.problems[before:]:
            self.say(problem)
        await pause(fault.rest_s)

    def _measure(self, fault: Fault, hit: Hit, waits: list[float], recovery_s: float) -> None:
        outcome, kind = self.outcome, fault.kind
        primaries = [waits[number] for number in sorted(hit.primaries)]
        backups = [waits[number] for number in sorted(hit.backups)]
        if primaries:
            outcome.failover_s.setdefault(kind, []).extend(primaries)
            if hit.away_s:
                # Nobody can act while there is no control: what is ours is what comes after that.
                after = [max(0.0, wait_s - hit.away_s) for wait_s in primaries]
                outcome.failover_s.setdefault(f"{kind}, from its start", []).extend(after)
        outcome.recovery_s.setdefault(kind, []).append(recovery_s)
        if backups:
            outcome.stall_s.setdefault(kind, []).extend(backups)
        worst = f"{max(primaries):.2f}" if primaries else "-"
        stalled = f"{max(backups):.2f}" if backups else "-"
        self.say(
            f"    whole {recovery_s:.1f} s after it; longest wait {worst} s where the primary was "
            f"hit, {stalled} s where a backup was"
        )

    async def _lost_pulses(self, load: Load) -> list[str]:
        lost = await load.pulses.lost(load.grids[0])
        self.outcome.verdict.lost += len(lost)
        return lost

    def _count(self, load: Load) -> None:
        outcome, tally = self.outcome, load.tally
        outcome.operations = tally.operations
        outcome.acknowledged = tally.acknowledged
        outcome.unknown, outcome.failed = tally.unknown, tally.failed
        outcome.errors = tally.errors
        outcome.ops = load.recorder.ops
        outcome.violations += tally.problems
        if self.settings.no_failures and tally.unknown + tally.failed:
            outcome.violations.append(f"calls did not succeed: {dict(tally.errors)}")

    def _leave_behind(self) -> None:
        """The history, the faults and the violations, beside the processes' logs."""
        names = {"timeline.txt": self._timeline, "violations.txt": self.outcome.violations}
        for name, lines in names.items():
            (self.folder / name).write_text("\n".join([*lines, ""]), "utf-8")
        with (self.folder / "history.jsonl").open("wb") as file:
            for op in sorted(self.outcome.ops, key=lambda op: op.invoked):
                result = "?" if op.unknown else op.result
                returned = None if op.unknown else op.returned
                row = (op.key, op.client, op.kind, op.args, result, op.invoked, returned)
                file.write(msgspec.json.encode(row) + b"\n")
