"""The store of the table (linearizable, behind a lossy call) and that of the data."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tupelo_grid.core.pump_frames import Answer, PumpAck, PumpFrame
from tupelo_grid.core.statestore import MemoryState, Snapshot, TxnResult
from tupelo_grid.core.table import LEASE_PREFIX

if TYPE_CHECKING:
    from tests.simulation.world import World

STOP_CHANCE = 0.02
STOP_S_MAX = 1.0
STATE = "store"
DATA = "db"


class StateStore:
    """MemoryState as one machine: up or down, and told on when a partition changes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.state = MemoryState()
        self.up = True
        self._cached: Snapshot | None = None

    def read(self) -> Snapshot:
        if self._cached is None or self._cached.revision != self.state.revision:
            self._cached = self.state.read("")
        return self._cached

    def txn(
        self,
        who: str,
        conditions: Sequence[tuple[str, int]],
        puts: dict[str, bytes],
        deletes: Sequence[str] = (),
        reason: str = "",
    ) -> TxnResult:
        result = self.state.txn(conditions, puts, deletes)
        parts = [key for key in puts if key.startswith("part/")]
        if result.succeeded and parts:
            self._world.checks.swapped(parts)
            self._world.changed(who, parts, reason)
        elif result.succeeded and not deletes:
            self._world.renewed([key for key in puts if key.startswith(LEASE_PREFIX)], result)
        return result


class Calls:
    """Calls from one place to the state store, each with a deadline: answered, or in doubt."""

    def __init__(self, world: World, place: str, timeout_s: float) -> None:
        self._world = world
        self.place = place
        self.timeout_s = timeout_s
        self._open: dict[int, tuple[Callable[[Any], None], Callable[[], None]]] = {}
        self._next = 0

    def call(
        self,
        request: Callable[[], Any],
        done: Callable[[Any], None],
        lost: Callable[[], None],
        deliver: Callable[..., None],
    ) -> None:
        """`deliver(call, *args)` runs something at the caller, if it still lives."""
        self._next += 1
        number = self._next
        self._open[number] = (done, lost)
        world = self._world
        world.net.send(self.place, STATE, self._serve, number, request, deliver)
        world.loop.after(self.timeout_s, deliver, self._expire, number)

    def _serve(self, number: int, request: Callable[[], Any], deliver: Any) -> None:
        world = self._world
        if not world.store.up:
            return
        answer = request()
        world.net.send(STATE, self.place, deliver, self._answered, number, answer, repeatable=False)

    def _answered(self, number: int, answer: Any) -> None:
        waiting = self._open.pop(number, None)
        if waiting is not None:
            waiting[0](answer)

    def _expire(self, number: int) -> None:
        waiting = self._open.pop(number, None)
        if waiting is not None:
            waiting[1]()


class DataStore:
    """A fence row and the rows of each partition; one transaction a batch."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.up = True
        self.fences: dict[int, tuple[int, int]] = {}
        self.rows: dict[int, dict[tuple[str, bytes], tuple[bytes, int, int]]] = {}
        # Of its own, so that it changes nothing else of a run.
        self._chance = random.Random(1)
        self._stopped_until: dict[int, float] = {}

    def handle(self, frame: PumpFrame, reply: Callable[[PumpAck], None]) -> None:
        if not self.up:
            return
        answers = [self.claim(partition, epoch) for partition, epoch in frame.claims]
        for batch in frame.batches:
            answers.append(self.apply(batch))
        reply(PumpAck(frame.position, answers))

    def claim(self, partition: int, epoch: int) -> tuple[int, int, int, Answer]:
        held, cursor = self.fences.get(partition, (0, 0))
        if held > epoch:
            return (partition, epoch, cursor, Answer.FENCED)
        self.fences[partition] = (epoch, cursor)
        return (partition, epoch, cursor, Answer.CLAIMED)

    def apply(self, batch: Any) -> tuple[int, int, int, Answer]:
        number = batch.partition
        held, cursor = self.fences.get(number, (0, 0))
        if held > batch.epoch:
            return (number, batch.epoch, cursor, Answer.FENCED)
        if held < batch.epoch or cursor != batch.from_sequence:
            return (number, batch.epoch, cursor, Answer.RETRY)
        if self._stops(number):
            return (number, batch.epoch, cursor, Answer.STOPPED)
        self.write(batch)
        return (number, batch.epoch, batch.to_sequence, Answer.PERSISTED)

    def _stops(self, number: int) -> bool:
        """Now and then a partition has a change that cannot be stored, until somebody acts."""
        now = self._world.loop.now
        if self._chance.random() < STOP_CHANCE:
            self._stopped_until[number] = now + STOP_S_MAX * self._chance.random()
        return now < self._stopped_until.get(number, 0.0)

    def write(self, batch: Any) -> None:
        number = batch.partition
        self._world.checks.flushed(batch, self.fences.get(number, (0, 0))[1])
        rows = self.rows.setdefault(number, {})
        for space, key, value, version, deadline_ms in batch.changes:
            if value is None:
                rows.pop((space, key), None)
            else:
                rows[space, key] = (value, version, deadline_ms)
        self.fences[number] = (batch.epoch, batch.to_sequence)
