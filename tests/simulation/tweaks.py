"""Random plans bent towards what a mutation needs to be seen."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.plan import Plan


def three_copies(plan: Plan) -> Plan:
    return replace(plan, units=4, backups=2)


def deaths(plan: Plan) -> Plan:
    faults = frozenset({"crash", "restart", "pause", "cut_off", "moments"})
    return replace(plan, faults=faults, fault_every_s=0.3)


def quick_deaths(plan: Plan) -> Plan:
    """Deaths while the backups know little of what is committed."""
    return replace(deaths(three_copies(plan)), tick_s=0.15, think_s=0.02, fault_every_s=0.2)


def pauses(plan: Plan) -> Plan:
    faults = frozenset({"pause", "cut_off", "lost_answers"})
    return replace(plan, faults=faults, fault_every_s=0.4, may_lose=False)


def moves(plan: Plan) -> Plan:
    faults = frozenset({"join", "drain", "moments", "lost_answers"})
    return replace(plan, faults=faults, fault_every_s=0.3, units=3)


def long_cuts(plan: Plan) -> Plan:
    """Long enough to be deposed; the way to the store may come back before that to the peers."""
    return replace(
        plan, faults=frozenset({"cut_off"}), cuts_s=(1.8, 2.6), fault_every_s=1.0, load_until_s=5.0
    )


def cut_puts(plan: Plan) -> Plan:
    """Bulk writes that a primary made in vain, and takes back."""
    return replace(long_cuts(plan), small=plan.small | {"tupelo_grid.core.records.PUTS_MIN": 2})


def cut_moves(plan: Plan) -> Plan:
    """Whoever hands over is cut off within 100 ms of the swap, for long."""
    return replace(
        moves(plan),
        faults=frozenset({"join", "drain", "moments"}),
        moment_chance=0.9,
        moment_acts=("cut_off",),
        moments_at=("HAND_OVER",),
        cuts_s=(1.0, 1.6),
        partitions=4,
        fault_every_s=0.2,
    )


def few_sessions(plan: Plan) -> Plan:
    return replace(plan, repeat=0.3, limits=replace(plan.limits, sessions_max=2), clients=4)
