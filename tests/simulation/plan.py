"""What one run is made of, drawn from its seed: sizes, limits, and which faults may happen."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from unittest import mock

from tupelo_grid.core.limits import Limits

from tests.simulation.commands import BRIEF, SPACE

FAULTS = (
    "crash",
    "restart",
    "pause",
    "cut_pair",
    "cut_one_way",
    "cut_off",
    "lost_answers",
    "cut_clients",
    "state_outage",
    "data_outage",
    "controller",
    "drain",
    "join",
    "moments",
)

# Constants of the core that are made small, so that rare branches are taken often.
SMALL = {
    "tupelo_grid.core.primary.JOURNAL_KEEP_BYTES": (512, 4096),
    "tupelo_grid.core.journal.TRIM_RECORDS_MIN": (1, 8),
    "tupelo_grid.core.progress.CATCH_UP_RECORDS_MAX": (2, 6, 1024),
    "tupelo_grid.core.snapshot.CHUNK_BYTES": (256, 1024),
    "tupelo_grid.core.progress.SNAPSHOT_CHUNKS_IN_FLIGHT_MAX": (1, 4),
    "tupelo_grid.core.link.FRAME_RECORDS_MAX": (2, 4096),
    "tupelo_grid.core.link.FRAMES_IN_FLIGHT_MAX": (2, 32),
    "tupelo_grid.core.dedupe.SWEEP_RESULTS_MIN": (1, 4, 32),
    "tupelo_grid.core.link.FRAME_BYTES_MAX": (150, 1 << 22),
    "tupelo_grid.core.progress.CATCH_UP_BYTES_MAX": (200, 1 << 22),
    "tupelo_grid.core.records.PUTS_MIN": (2, 5),
}


@dataclass
class Plan:
    seed: int
    units: int = 3
    partitions: int = 2
    backups: int = 1
    controllers: int = 1
    clients: int = 3
    lanes: int = 2
    lease_s: float = 1.0
    lease_margin: float = 0.04
    tick_s: float = 0.05
    call_timeout_s: float = 0.3
    think_s: float = 0.05
    load_until_s: float = 3.5
    flush_delay_s: float = 0.0
    keys: list[bytes] = field(default_factory=lambda: [b"a", b"b", b"c"])
    faults: frozenset[str] = frozenset(FAULTS)
    fault_every_s: float = 0.5
    moment_chance: float = 0.35
    moment_acts: tuple[str, ...] = ("crash", "pause", "cut_off", "lost_answers", "cut_pair")
    moments_at: tuple[str, ...] = ()
    cuts_s: tuple[float, ...] = (0.1, 0.4, 1.0, 1.6)
    may_lose: bool = False
    disk: bool = False
    brief_min: int = 0
    snapshot_breaks: float = 0.0
    spill_bytes_max: int = 0
    data_away_s: float = 1.0
    loss: float = 0.0
    repeat: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.3
    ordered: bool = True
    drift: float = 0.0
    skew_ms: int = 0
    limits: Limits = field(default_factory=Limits)
    small: dict[str, int] = field(default_factory=dict)


def draw(seed: int, rng: random.Random) -> Plan:
    """A random subset of everything (swarm testing: what is left out lets the rest go deeper)."""
    chosen = [fault for fault in FAULTS if rng.random() < 0.45]
    backups = 2 if rng.random() < 0.25 else 1
    return Plan(
        seed=seed,
        units=4 if backups == 2 or rng.random() < 0.35 else 3,
        partitions=rng.choice((2, 2, 3, 4)),
        backups=backups,
        controllers=rng.choice((1, 1, 2)),
        clients=rng.choice((2, 3, 4)),
        think_s=rng.choice((0.03, 0.06, 0.12)),
        load_until_s=2.2 + 1.6 * rng.random(),
        flush_delay_s=rng.choice((0.0, 0.0, 0.005, 0.03)),
        faults=frozenset(chosen),
        fault_every_s=rng.choice((0.25, 0.5, 0.9)),
        may_lose=rng.random() < 0.12,
        loss=rng.choice((0.0, 0.0, 0.01, 0.05)),
        repeat=rng.choice((0.0, 0.02, 0.1)),
        slow=rng.choice((0.0, 0.0, 0.02, 0.1)),
        slow_s=rng.choice((0.1, 0.3, 1.0)),
        ordered=rng.random() < 0.6,
        drift=rng.choice((0.0, 0.01)),
        skew_ms=rng.choice((0, 0, 400)),
        limits=Limits(
            min_in_sync=2 if rng.random() < 0.2 else 1,
            silent_backup_s=0.4,
            heartbeat_s=0.05,
            digest_interval_s=1.0,
            journal_bytes_max=rng.choice((40_000, 512 * 1024 * 1024)),
            pipeline_records_max=rng.choice((8, 65_536)),
            frames_pending_max=rng.choice((6, 4096)),
            sessions_max=rng.choice((2, 3, 1024)),
            session_window=64,
            request_timeout_s=2.0,
            expire_records_max=rng.choice((1, 1000)),
        ),
        small={name: rng.choice(values) for name, values in SMALL.items()},
        brief_min=rng.choice((0, 0, 1, 2)),
        snapshot_breaks=rng.choice((0.0, 0.1, 0.4)),
    )


def copies_min(plan: Plan, spaces: Iterable[str]) -> int:
    """In-sync replicas that a write to these spaces takes; of one that names none, the fewest."""
    numbers = {SPACE: plan.limits.min_in_sync, BRIEF: plan.brief_min or plan.limits.min_in_sync}
    return max((numbers[space] for space in spaces), default=min(numbers.values()))


@contextmanager
def small_limits(plan: Plan) -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in plan.small.items():
            stack.enter_context(mock.patch(name, value))
        yield
