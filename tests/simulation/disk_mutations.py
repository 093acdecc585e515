"""Deliberate bugs of units with disks, as in mutations.py; schedules are those of disks.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tupelo_grid.core.durable import DurableUnit
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.rejoin import Place
from tupelo_grid.core.table import PartitionConfig
from tupelo_grid.core.unit import Unit

from tests.simulation.catching import Catch, Mutation, both, here, on, show
from tests.simulation.disks import with_disks
from tests.simulation.plan import Plan


def commit_before_sync(self: Any, held: Partition) -> int:
    return held.journal.last


def answer_before_sync(self: Any, answer: Any) -> None:
    answer()


def anybody(config: PartitionConfig, place: Place) -> bool:
    """A replica comes back although its unit was taken out of the set."""
    return True


def begun_beside(self: Any, number: int, versioned: Any) -> None:
    """A replica that waits for its place is not looked after."""
    if number in self.recovered and self.me in versioned.config.in_sync:
        self.replicas[number] = self.recovered.pop(number)
    Unit._follow(self, number, versioned)


_begin = DurableUnit.__init__


def not_withheld(self: Any, *args: Any) -> None:
    _begin(self, *args)
    self._receiver.withheld = ()


def dropped_unread(self: Any, number: int, versioned: Any) -> None:
    """Whatever the table says, a new incarnation begins empty, in the old one's place."""
    if self.me in versioned.config.in_sync:
        self.recovered.pop(number, None)
    Unit._follow(self, number, versioned)


def blackouts(plan: Plan) -> Plan:
    return with_disks(replace(plan, faults=frozenset({"restart", "cut_pair", "pause"})))


DISK_MUTATIONS = [
    Mutation(
        "commit_before_sync",
        "a primary commits what is not on its own disk",
        on("disk.Disk.durable", commit_before_sync),
        120,
        blackouts,
    ),
    Mutation(
        "answer_before_sync",
        "a backup acknowledges what is not on its disk",
        on("disk.Disk.hold", answer_before_sync),
        120,
        blackouts,
    ),
    Mutation(
        "anybody_returns",
        "who was taken out of a set comes back with an older state",
        both(
            on("durable.named", anybody), on("rejoin.named", anybody), here("disks.named", anybody)
        ),
        120,
        blackouts,
    ),
    Mutation(
        "begun_beside",
        "an empty replica is written over one that waits for its place",
        on("durable.DurableUnit._follow", begun_beside),
        300,
        with_disks,
    ),
    Mutation(
        "not_withheld",
        "a primary is answered before it is known what becomes of the disk's replica",
        on("durable.DurableUnit.__init__", not_withheld),
        300,
        blackouts,
    ),
    Mutation(
        "begins_empty",
        "a new incarnation takes the place and leaves what is on the disk",
        on("durable.DurableUnit._follow", dropped_unread),
        120,
        blackouts,
    ),
]


def catch_disk(name: str, first_seed: int = 1) -> Catch:
    return show(next(one for one in DISK_MUTATIONS if one.name == name), first_seed)
