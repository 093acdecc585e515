"""What goes wrong, in which order: drawn from a seed, before anything starts.

Lengths of pauses and cuts gather around the protocol's own times: T, after which a silent backup is
taken out of sync, D, how long a lease lasts, and D(1+e), after which its holder is deposed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

VICTIMS: Final = ("unit-1", "unit-2", "unit-3")


@dataclass(frozen=True)
class Times:
    """Of the grid under test, in seconds."""

    lease_s: float = 3.0
    silent_s: float = 1.5
    margin: float = 0.04


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: one of KINDS.
        victim: a unit's name; "" where the kind has none.
        hold_s: how long it lasts; 0 where it does not.
        delay_s: of every byte, for delays.
        rest_s: load without faults after the grid has recovered.
    """

    kind: str
    victim: str = ""
    hold_s: float = 0.0
    delay_s: float = 0.0
    rest_s: float = 0.5

    def __str__(self) -> str:
        parts = [self.kind, self.victim]
        parts += [f"for {self.hold_s:.2f} s"] if self.hold_s else []
        parts += [f"of {self.delay_s * 1000:.0f} ms"] if self.delay_s else []
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Kind:
    """How faults of a kind are drawn.

    Attributes:
        of_unit: it hits one unit.
        hold: (shortest, longest) in leases.
        silent: the same in silent_s instead.
    """

    of_unit: bool = True
    hold: tuple[float, float] = (0.0, 0.0)
    silent: tuple[float, float] = (0.0, 0.0)
    delays: bool = field(default=False)


KINDS: Final = {
    "unit_kill": Kind(),
    "unit_term": Kind(),
    "unit_pause_t": Kind(silent=(0.7, 1.3)),
    "unit_pause_d": Kind(hold=(0.85, 1.03)),
    "unit_pause_deposed": Kind(hold=(1.04, 1.3)),
    "unit_pause_long": Kind(hold=(2.0, 3.0)),
    "control_kill": Kind(of_unit=False, hold=(0.1, 1.5)),
    "control_pause": Kind(of_unit=False, hold=(0.3, 2.2)),
    "control_and_unit_kill": Kind(hold=(0.1, 1.5)),
    "messaging_kill": Kind(of_unit=False),
    "messaging_pause": Kind(of_unit=False, hold=(0.5, 1.5)),
    "store_away": Kind(of_unit=False, hold=(0.5, 1.5)),
    "cut_unit": Kind(hold=(0.3, 2.5)),
    "cut_unit_from_peers": Kind(hold=(0.3, 2.0)),
    "cut_unit_from_one": Kind(hold=(0.3, 2.0)),
    "cut_unit_from_control": Kind(hold=(0.3, 2.5)),
    "cut_unit_mute": Kind(hold=(0.3, 2.0)),
    "cut_unit_deaf": Kind(hold=(0.3, 2.0)),
    "reset_unit": Kind(hold=(0.1, 1.5)),
    "delay_unit": Kind(hold=(0.5, 1.5), delays=True),
    "scale": Kind(of_unit=False),
    "scale_and_kill": Kind(hold=(0.05, 0.6)),
}


def make_plan(seed: int, faults: int, times: Times, kinds: tuple[str, ...] = ()) -> list[Fault]:
    """Every kind once, in random order, before any kind comes again.

    Args:
        kinds: those to draw from; none: all. Raises ValueError for one that is not known.
    """
    strange = [kind for kind in kinds if kind not in KINDS]
    if strange:
        raise ValueError(f"no fault is called {strange[0]!r}; there are: {', '.join(KINDS)}")
    rng = random.Random(seed)
    plan: list[Fault] = []
    deck: list[str] = []
    while len(plan) < faults:
        if not deck:
            deck = list(kinds or KINDS)
            rng.shuffle(deck)
        plan.append(draw(deck.pop(), rng, times))
    return plan


def draw(name: str, rng: random.Random, times: Times) -> Fault:
    kind = KINDS[name]
    victim = rng.choice(VICTIMS) if kind.of_unit else ""
    hold_s = rng.uniform(*kind.hold) * times.lease_s + rng.uniform(*kind.silent) * times.silent_s
    delay_s = rng.uniform(0.01, 0.3) if kind.delays else 0.0
    # Some strike while partitions still move to where they belong, some at rest.
    rest_s = rng.choice((0.2, 0.6, 1.5))
    return Fault(name, victim, hold_s, delay_s, rest_s)


def make_rolling(rounds: int) -> list[Fault]:
    """SIGTERM to every unit in turn, `rounds` times: what an operator does to renew them."""
    return [Fault("unit_term", victim) for _ in range(rounds) for victim in VICTIMS]
