"""Scenarios as text: commands, and below each what came of it (after etcd-io/raft's testdata).

    crash unit-1            a command; the simulator carries it out
    ----
    unit-1#1 dies           what happened, up to the next blank line

Commands, each on the simulated grid of tests/simulation with its real core:

    grid units=3 partitions=1 [backups=1] [min_in_sync=1]      begins one and waits for it
    put KEY VALUE | get KEY | strict-get KEY | add KEY N       to the primary by the table
    put-at UNIT KEY VALUE | get-at UNIT KEY                    to a unit, whatever the table says
    crash UNIT | start UNIT | pause UNIT | resume UNIT | drain UNIT | join
    cut UNIT PLACE | mend UNIT PLACE                           both ways; PLACE: a unit, or "store"
    wait SECONDS                                               of virtual time
    show                                                       the table, and who holds what
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from unittest.mock import patch

import msgspec
from tupelo.errors import ResultCode
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Pending
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.membership import DrainWanted

from tests.simulation.plan import Plan, small_limits
from tests.simulation.process import Process
from tests.simulation.run import heal, unrest
from tests.simulation.world import World

ANSWER_S_MAX = 3.0
_MARKER = "----"


class Scenario:
    """Carries commands out, one after another."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._lines: list[str] = []
        self._operations = 0

    def do(self, command: str) -> list[str]:
        """The lines that came of it."""
        verb, *arguments = command.split()
        told = getattr(self, "_" + verb.replace("-", "_"))(*arguments)
        happened = [line.strip().split("  ", 1)[1] for line in self._lines]
        self._lines.clear()
        return [*_counted(happened), *(told or [])]

    def _grid(self, *settings: str) -> None:
        given = {name: int(value) for name, value in (one.split("=") for one in settings)}
        plan = Plan(
            seed=1,
            units=given.get("units", 3),
            partitions=given.get("partitions", 1),
            backups=given.get("backups", 1),
            clients=0,
            load_until_s=1e9,
            faults=frozenset(),
            limits=Limits(
                silent_backup_s=0.4, heartbeat_s=0.05, min_in_sync=given.get("min_in_sync", 1)
            ),
        )
        self._stack.enter_context(small_limits(plan))
        self._world = World(plan, random.Random(1), self._lines)
        self._wait("1.0")

    def _unit(self, name: str) -> Process:
        return next(one for one in self._world.processes if one.name == name)

    def _wait(self, seconds: str) -> None:
        self._world.loop.run_until(self._world.loop.now + float(seconds))

    # -- operations, all on partition 0

    def _ask(
        self,
        unit: Process,
        kind: int,
        key: str,
        value: bytes = b"",
        target: str = "default",
        strict: bool = False,
    ) -> list[str]:
        self._operations += 1
        world = self._world
        batch = Batch(
            session=1 << 30,
            acked_below=self._operations,
            kinds=bytes([kind]),
            partitions=[0],
            targets=[target],
            target_index=None,
            keys=[key.encode()],
            values=[value],
            op_numbers=[self._operations],
            strict=strict,
            deadline=unit.clock.now() + ANSWER_S_MAX,
        )
        answers: list[Pending] = []
        until = world.loop.now + ANSWER_S_MAX + 1.0
        with patch.object(world, "send_answer", lambda _, pending: answers.append(pending)):
            unit.deliver(unit.incarnation, unit.on_batch, batch, None)
            while not answers and world.loop.now < until:
                self._wait("0.01")
        if not answers:
            return ["no answer"]
        return [_told(answers[0], kind)]

    def _primary(self) -> Process:
        return self._world.units[self._world.checks.configs[0].primary]

    def _put(self, key: str, value: str) -> list[str]:
        return self._ask(self._primary(), kinds.PUT, key, value.encode())

    def _get(self, key: str) -> list[str]:
        return self._ask(self._primary(), kinds.GET, key)

    def _strict_get(self, key: str) -> list[str]:
        return self._ask(self._primary(), kinds.GET, key, strict=True)

    def _put_at(self, unit: str, key: str, value: str) -> list[str]:
        return self._ask(self._unit(unit), kinds.PUT, key, value.encode())

    def _get_at(self, unit: str, key: str) -> list[str]:
        return self._ask(self._unit(unit), kinds.GET, key)

    def _add(self, key: str, number: str) -> list[str]:
        arguments = msgspec.msgpack.encode([key.encode(), int(number)])
        return self._ask(self._primary(), kinds.CALL, "", arguments, "add")

    # -- what goes wrong

    def _crash(self, unit: str) -> None:
        self._unit(unit).crash()

    def _start(self, unit: str) -> None:
        self._unit(unit).start()

    def _pause(self, unit: str) -> None:
        self._unit(unit).pause()

    def _resume(self, unit: str) -> None:
        self._unit(unit).resume()

    def _join(self) -> None:
        self._world.add_unit()

    def _drain(self, unit: str) -> None:
        process = self._unit(unit)
        process.draining = True
        process.deliver(process.incarnation, lambda: process._step(DrainWanted()))

    def _cut(self, unit: str, place: str) -> None:
        self._world.net.cut(unit, place)
        self._world.net.cut(place, unit)

    def _mend(self, unit: str, place: str) -> None:
        self._world.net.mend(unit, place)
        self._world.net.mend(place, unit)

    # -- looking

    def _show(self) -> list[str]:
        lines = []
        for number, config in sorted(self._world.checks.configs.items()):
            lines.append(
                f"part/{number}: epoch {config.epoch}, {config.primary or config.state}, "
                f"in sync {', '.join(config.in_sync)}"
            )
            for incarnation, process in sorted(self._world.units.items()):
                held = process.unit.replicas.get(number)
                if held is None:
                    continue
                role = "primary" if number in process.unit.serving else "replica"
                if number in process.unit.primaries and role == "replica":
                    role = "primary, not ready"
                lines.append(
                    f"  {incarnation}: {role}, {held.journal.last} records, {held.commit} committed"
                )
        return lines

    def _heal(self) -> list[str]:
        heal(self._world)
        return [unrest(self._world) or "whole"]


def _counted(lines: list[str]) -> list[str]:
    """What happens over and over is said once."""
    out = []
    for line, group in groupby(lines):
        times = len(list(group))
        out.append(line if times == 1 else f"{line} ({times} times)")
    return out


def _told(pending: Pending, kind: int) -> str:
    code = ResultCode(pending.codes[0]).name
    if pending.codes[0] >= kinds.CARRIED_OUT_BELOW:
        return code
    if kind == kinds.GET:
        return f"{code} {pending.values[0].decode()!r} version {pending.versions[0]}"
    if kind == kinds.CALL:
        return f"{code} {msgspec.msgpack.decode(pending.values[0])}"
    return f"{code} version {pending.versions[0]}, {pending.copies[0]} copies"


def play(path: Path) -> str:
    """The file with what came of its commands this time."""
    out: list[str] = []
    lines = path.read_text().splitlines()
    with ExitStack() as stack:
        scenario = Scenario(stack)
        index = 0
        while index < len(lines):
            line = lines[index]
            if not line.strip() or line.startswith("#"):
                out.append(line)
                index += 1
                continue
            out += [line, _MARKER, *scenario.do(line)]
            index += 1
            if index < len(lines) and lines[index] == _MARKER:
                while index < len(lines) and lines[index].strip():
                    index += 1
    return "\n".join(out).rstrip() + "\n"
