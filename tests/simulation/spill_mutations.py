"""Deliberate bugs of units that spill, as in mutations.py; schedules are those of spilling.py."""

from __future__ import annotations

from typing import Any

from tupelo_grid.core.frames import Position
from tupelo_grid.core.link import Link
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.progress import Progress
from tupelo_grid.core.spill import Spill, Write
from tupelo_grid.core.tail import Extent, Tail, encode_records

from tests.simulation.catching import Catch, Mutation, on, show
from tests.simulation.plan import Plan
from tests.simulation.spilling import with_spill
from tests.simulation.tweaks import moves

_forget = Tail.forget
_collect = Spill.collect
_send_tail = Progress._send_tail


def forget_committed(self: Any, persisted: int) -> list[Extent]:
    """What was written to files counts as stored."""
    return _forget(self, self.through)


def drop_before_written(self: Any) -> list[Write]:
    """Memory lets go of what is about to be written."""
    writes = _collect(self)
    for write in writes:
        if write.held is not None:
            write.held.journal.trim(write.extent.through, at_once=True)
    return writes


def overtaken(self: Any) -> bool:
    """Nobody waits for the last extent's acknowledgement before the snapshot leaves."""
    tail = self._partition.spilled
    if tail is None or tail.following(self._tail_at) is None:
        return False
    return bool(_send_tail(self))


def no_tail(self: Any) -> bool:
    """A learner gets the records in memory only."""
    return False


def early_snapshot() -> str:
    """The replica has acknowledged the last extent, and nothing of the snapshot."""
    mine = Partition(0)
    for number in range(1, 6):
        mine.append((1, 9, number, 0, None, (("default", b"k", b"v", 0),)), 1)
    mine.advance_commit(5)
    spill = Spill({0: mine}, list, 1 << 30)
    mine.spilled = spill.begin()
    mine.spilled.add(Extent(0, 5, 900, payload=encode_records(mine.journal.read(0, 5))))
    mine.journal.trim(5, at_once=True)
    link = Link("a#1", "b#2")
    link.open(1)
    progress = Progress(mine, 1, 7, link)
    progress.probe()
    progress.position(Position(0, 1, False, 0, 0, []))
    for read in spill.take_reads():
        spill.fetched(read, read.extent.payload or b"")
    if not link.snapshots:
        return "no extent was sent"
    progress.go_on()
    progress.settled(0)
    return "a replica that has only an extent counts as whole" if progress.acked else ""


def joins(plan: Plan) -> Plan:
    return with_spill(moves(plan))


SPILL_MUTATIONS = [
    Mutation(
        "spill_forgets",
        "files are removed before the store has what is in them",
        on("tail.Tail.forget", forget_committed),
        60,
        with_spill,
    ),
    Mutation(
        "dropped_unwritten",
        "records leave memory before a file holds them",
        on("spill.Spill.collect", drop_before_written),
        60,
        with_spill,
    ),
    Mutation(
        "snap_nospill",
        "a learner gets only what is in memory",
        on("progress.Progress._send_tail", no_tail),
        120,
        joins,
    ),
    Mutation(
        "snap_overtakes",
        "a snapshot counts as taken in when the extent before it was",
        on("progress.Progress._send_tail", overtaken),
        directed=early_snapshot,
    ),
]


def catch_spill(name: str, first_seed: int = 1) -> Catch:
    return show(next(one for one in SPILL_MUTATIONS if one.name == name), first_seed)
