"""Frames that wait for the data writer, and which of them may be written side by side.

A lane is a transaction at a time. No partition is in two lanes, and the frames of one partition are
taken in the order they came in, each in a transaction of its own: so whatever the lanes do, the
claims and batches of a partition take effect one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from tupelo_grid.core.pump_frames import Answer, DeadRow, PumpAck, PumpFrame


@dataclass(slots=True, eq=False)
class Job:
    """A frame, and what becomes of it."""

    frame: PumpFrame
    done: asyncio.Future[PumpAck]
    answers: list[tuple[int, int, int, Answer]] = field(default_factory=list)
    dead_rows: list[DeadRow] = field(default_factory=list)
    error: str = ""
    away: bool = False
    partitions: frozenset[int] = field(init=False)
    changes: int = field(init=False)

    def __post_init__(self) -> None:
        named = [partition for partition, _ in self.frame.claims]
        named += [batch.partition for batch in self.frame.batches]
        self.partitions = frozenset(named)
        self.changes = sum(len(batch.changes) for batch in self.frame.batches)

    def answer(self) -> None:
        if not self.done.done():
            position = self.frame.position
            dead = tuple(self.dead_rows)
            self.done.set_result(
                PumpAck(position, self.answers, len(dead), self.error, self.away, dead)
            )

    def retry(self, error: str) -> None:
        """Answers that nothing of the frame is known to be stored."""
        asked = [(partition, epoch) for partition, epoch in self.frame.claims]
        asked += [(batch.partition, batch.epoch) for batch in self.frame.batches]
        self.answers = [(partition, epoch, 0, Answer.RETRY) for partition, epoch in asked]
        self.dead_rows = []
        self.error = error
        self.away = True
        self.answer()


class Lanes:
    """The frames that wait, and those that some lane has taken."""

    def __init__(self, frames_max: int, changes_max: int, lanes: int) -> None:
        """`frames_max` may wait. A lane takes no further frame once it has `changes_max`."""
        self._room = asyncio.Semaphore(frames_max)
        self._changes_max = changes_max
        self._idle = lanes
        self._waiting: list[Job] = []
        self._taken: set[Job] = set()
        self._busy: set[int] = set()  # partitions
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._waiting)

    async def put(self, job: Job) -> None:
        """As soon as there is room."""
        await self._room.acquire()
        self._waiting.append(job)
        self._wake()

    async def take(self) -> list[Job]:
        """Frames for one transaction, as soon as there is one that may be written. The lane is
        busy with them until it gives them back by `release`."""
        while not (jobs := self._pick()):
            changed = self._changed
            await changed.wait()
        self._idle -= 1
        self._taken.update(jobs)
        for job in jobs:
            self._busy |= job.partitions
            self._room.release()
        return jobs

    def _pick(self) -> list[Job]:
        # A frame whose stream went away is sent again on the next one.
        for gone in [job for job in self._waiting if job.done.done()]:
            self._waiting.remove(gone)
            self._room.release()
        blocked = set(self._busy)
        able = []
        for job in self._waiting:
            if blocked.isdisjoint(job.partitions):
                able.append(job)
            blocked |= job.partitions
        # Lanes that are idle too shall find something left.
        share = sum(job.changes for job in able) / max(1, self._idle)
        picked: list[Job] = []
        changes = 0
        for job in able:
            if picked and changes >= min(share, self._changes_max):
                break
            picked.append(job)
            changes += job.changes
        taken = set(picked)
        self._waiting = [job for job in self._waiting if job not in taken]
        return picked

    def release(self, jobs: Iterable[Job]) -> None:
        """The lane is done with them."""
        self._idle += 1
        for job in jobs:
            self._taken.discard(job)
            self._busy -= job.partitions
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def clear(self) -> list[Job]:
        """All frames, waiting or taken, which nobody will write any more."""
        jobs = [*self._taken, *self._waiting]
        self._taken.clear()
        self._waiting.clear()
        return jobs
