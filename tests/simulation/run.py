"""A run from its seed to its verdict: load and faults, healing, and what must hold at rest."""

from __future__ import annotations

import random
import time
import traceback
from dataclasses import dataclass, field, replace

from tupelo_grid.core.table import PartitionState

from tests.linearizability import quick
from tests.linearizability.checker import check_history
from tests.linearizability.history import Op
from tests.linearizability.models import AppendListModel, CounterModel, RegisterModel
from tests.simulation.checks import Violation
from tests.simulation.plan import Plan, draw, small_limits
from tests.simulation.spilling import left_over
from tests.simulation.world import World

HEAL_S_MAX = 15.0
REST_S = 0.25
SEARCH_STATES_MAX = 20_000


@dataclass
class Result:
    """How a run ended. `violation` is empty when nothing was wrong."""

    seed: int
    violation: str = ""
    at_s: float = 0.0
    events: int = 0
    operations: int = 0
    acknowledged: int = 0
    records: int = 0
    lost_partitions: int = 0
    undecided: int = 0
    trace: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    spilled: dict[str, int] = field(default_factory=dict)
    healed_s: float = 0.0
    seconds: float = 0.0


def run(seed: int, transcript: list[str] | None = None, plan: Plan | None = None) -> Result:
    """One run; `plan` instead of the seed's own for directed ones."""
    rng = random.Random(f"run {seed}")
    plan = plan or draw(seed, random.Random(seed))
    started = time.process_time()
    result = Result(seed)
    with small_limits(plan):
        world = World(plan, rng, transcript)
        try:
            world.loop.run_until(plan.load_until_s)
            result.healed_s = heal(world)
            at_rest(world, result)
        except Violation as violation:
            result.violation = str(violation)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            name = where.filename.rpartition("/")[2]
            result.violation = (
                f"{type(error).__name__} at {name}:{where.lineno} {where.name}: {error}"
            )
            if transcript is not None:
                transcript.append(traceback.format_exc())
    result.at_s = world.loop.now
    result.events = world.loop.events
    result.operations = world.operations
    result.acknowledged = world.checks.acknowledged
    result.records = sum(map(len, world.checks.committed.values()))
    result.trace = world.loop.trace
    result.faults = world.faults.counts
    result.spilled = world.spilled
    result.seconds = time.process_time() - started
    if transcript is not None and result.violation:
        transcript.append(f"{world.loop.now:8.4f}  VIOLATION: {result.violation}")
    return result


def shrink(seed: int, whole: Plan | None = None) -> str:
    """What of the seed's plan its violation needs, in words: takes parts away one by one."""
    plan = whole or draw(seed, random.Random(seed))

    def still(smaller: Plan) -> bool:
        return bool(run(seed, plan=smaller).violation)

    for name in sorted(plan.faults):
        smaller = replace(plan, faults=plan.faults - {name})
        plan = smaller if still(smaller) else plan
    for changes in (
        {"loss": 0.0},
        {"repeat": 0.0},
        {"slow": 0.0},
        {"drift": 0.0, "skew_ms": 0},
        {"ordered": True},
        {"flush_delay_s": 0.0},
        {"small": {}},
        {"clients": 2},
        {"partitions": 1},
        {"load_until_s": plan.load_until_s / 2},
    ):
        smaller = replace(plan, **changes)  # type: ignore[arg-type]
        plan = smaller if still(smaller) else plan
    names = ("loss", "repeat", "slow", "drift", "ordered", "clients", "partitions", "load_until_s")
    needs = ", ".join(f"{name}={getattr(plan, name)}" for name in names)
    return f"it still happens with the faults {sorted(plan.faults)}, {needs}"


def heal(world: World) -> float:
    """Ends all faults; returns the seconds until the grid is whole again."""
    world.note("everything heals")
    begun = world.loop.now
    world.faults.over = True
    world.net.heal()
    world.store.up = world.data.up = True
    for process in world.processes:
        process.resume()
        if not process.alive:
            process.start()
    why = "it never looked"
    while world.loop.now < begun + HEAL_S_MAX:
        world.loop.run_until(world.loop.now + REST_S)
        why = unrest(world)
        if not why:
            world.checks.compare_digests()
            return world.loop.now - begun
    raise Violation(f"not whole {HEAL_S_MAX} s after all faults ended: {why}")


def unrest(world: World) -> str:
    """What keeps the grid from being whole; "" when nothing does."""
    for client in world.clients:
        if client.open:
            return f"{client.open} calls of {client.name} are open"
    placeable = [one for one in world.processes if not one.draining]
    copies = min(world.plan.backups + 1, len(placeable))
    for number in range(world.plan.partitions):
        config = world.checks.configs.get(number)
        if config is None:
            return f"partition {number} does not exist"
        # On a disk nothing is lost, but a partition that never committed anything may be on none.
        if world.checks.lost(number) and not (
            world.plan.disk and world.checks.committed.get(number)
        ):
            if config.state is not PartitionState.LOST:
                return f"partition {number} is lost and does not say so"
            continue
        unit = world.units.get(config.primary)
        if unit is None or number not in unit.unit.serving:
            return f"partition {number} has no ready primary: {config}"
        if len(config.in_sync) < copies:
            return f"partition {number} has {len(config.in_sync)} of {copies} copies: {config}"
        last = unit.unit.replicas[number].journal.last
        for member in config.in_sync:
            process = world.units.get(member)
            held = process.unit.replicas.get(number) if process else None
            if held is None or held.journal.last != last or held.commit != last:
                have = (held.journal.last, held.commit) if held else None
                return f"{member} has {have} of {last} records of {number}: {config}"
        cursor = world.data.fences.get(number, (0, 0))[1]
        if cursor != last:
            return f"the store has {cursor} of {last} records of {number}"
    return left_over(world)


def at_rest(world: World, result: Result) -> None:
    checks = world.checks
    checks.said_not_done_is_true()
    lost = [number for number in range(world.plan.partitions) if checks.lost(number)]
    result.lost_partitions = len(lost)
    for number in range(world.plan.partitions):
        if number in lost:
            continue
        expected = checks.replay(number)
        held = world.units[checks.configs[number].primary].unit.replicas[number]
        found = {
            (space, key): (entry.value, entry.version, entry.deadline_ms)
            for space, entries in held.spaces.items()
            for key, entry in entries.items()
        }
        if found != expected:
            raise Violation(f"partition {number} holds {found}, its records make {expected}")
        if world.data.rows.get(number, {}) != expected:
            raise Violation(f"the store's {number} differs from the grid's")
    histories(world, result)


def histories(world: World, result: Result) -> None:
    """What the clients saw has an order that explains it."""
    counters = [_renamed(op) for op in world.counters.ops]
    lists = [_renamed(op) for op in world.lists.ops]
    problems = quick.check_versions(world.registers.ops)
    problems += quick.check_counters(counters) + quick.check_append_lists(lists)
    if problems:
        raise Violation(problems[0])
    for ops, model in (
        (world.registers.ops, RegisterModel()),
        (counters, CounterModel()),
        (lists, AppendListModel()),
    ):
        verdict = check_history(ops, model, SEARCH_STATES_MAX)  # type: ignore[arg-type]
        result.undecided += len(verdict.undecided)
        if verdict.violation:
            raise Violation(f"not linearizable:\n{verdict.counterexample}")


def _renamed(op: Op) -> Op:
    return op._replace(kind="read") if op.kind.startswith("read_") else op
