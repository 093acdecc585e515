"""The data writer: takes pump frames of all units and writes them to the store.

Frames that wait are joined into one store transaction. While the store is away, frames are held
until the next attempt is due and answered RETRY when it fails: the journals of the units keep what
the store does not have, so nothing is ever dropped here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2, pump_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import Answer, DeadRow, PartitionBatch, PumpAck, PumpFrame
from tupelo_grid.messaging.pump_backoff import Backoff
from tupelo_grid.messaging.pump_wire import BadFrame, decode_frame, encode_ack
from tupelo_grid.store.port import Outcome, Status, Store, StoreAway, StoreError

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[pump_pb2.PumpFrame, pump_pb2.PumpAck]
FetchSchema = Callable[[str], Awaitable[SpaceSchema | None]]

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it

SERVICE: Final = "tupelo.v1.DataWriter"
DEFAULT_SPACE: Final = SpaceSchema("default")

ANSWERS: Final = {
    Status.CLAIMED: Answer.CLAIMED,
    Status.APPLIED: Answer.PERSISTED,
    Status.FENCED: Answer.FENCED,
    Status.MOVED: Answer.CLAIMED,
    Status.UNCLAIMED: Answer.RETRY,
    Status.FULL: Answer.STOPPED,
    Status.NO_TABLE: Answer.STOPPED,
}

RECOUNT_S: Final = 5.0
"""While there are dead letters they are counted again so often: others retry and drop them too."""


@dataclass(frozen=True, slots=True)
class WriterStats:
    """`persisted_records`: since the start. `dead_letters`: in the store, superseded ones not
    counted. `error`: why nothing can
    be stored now, or "". `store`: kind and place, without credentials. `waiting_frames`: not yet
    in a transaction."""

    persisted_records: int
    dead_letters: int
    error: str
    store: str
    waiting_frames: int = 0


@dataclass(slots=True)
class _Job:
    frame: PumpFrame
    done: asyncio.Future[PumpAck]
    answers: list[tuple[int, int, int, Answer]] = field(default_factory=list)
    dead_rows: list[DeadRow] = field(default_factory=list)
    error: str = ""
    away: bool = False

    @property
    def partitions(self) -> set[int]:
        named = {partition for partition, _ in self.frame.claims}
        return named | {batch.partition for batch in self.frame.batches}

    @property
    def changes(self) -> int:
        return sum(len(batch.changes) for batch in self.frame.batches)

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


class DataWriter(pump_pb2_grpc.DataWriterServicer):
    """Register it with `pump_pb2_grpc.add_DataWriterServicer_to_server`, and enter it before the
    server starts."""

    def __init__(
        self,
        config: GridConfig,
        store: Store,
        schemas: Mapping[str, SpaceSchema],
        grid_id: bytes,
        fetch: FetchSchema | None = None,
    ) -> None:
        """`schemas`: the declared spaces, kept fresh by the caller. `fetch(name)` is asked for one
        that is not there; a gRPC error of it counts as None. Frames of another `grid_id` (16 raw
        bytes) are refused."""
        self._store = store
        self._schemas = schemas
        self._fetch = fetch
        self._grid_id = grid_id
        self._group_changes_max = config.writer_batch_records
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(config.writer_frames_max)
        self._backoff = Backoff(config.store_retry_s_min, config.store_retry_s_max)
        self._not_before = 0.0
        self._persisted_records = 0
        self._dead_letters = 0
        self._dead_letters_max = config.dead_letters_max
        self._recount_at = 0.0
        self._error = ""
        self._group: list[_Job] = []
        self._carried: _Job | None = None  # taken from the queue, for the next transaction
        self._counted = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Opens the store. Raises StoreUnusable (a FatalStartError) when that needs a person; a
        store that is merely away is tried again, and no unit waits for it."""
        try:
            await self._open()
        except StoreAway as error:
            self._fail(str(error))
        self._task = asyncio.create_task(self._run(), name="data writer")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Frames under way are answered RETRY; a transaction that began is waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._store.close()
        waiting = [*self._group]
        if self._carried is not None:
            waiting.append(self._carried)
        while not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        for job in waiting:
            job.retry("the data writer is shutting down")

    def stats(self) -> WriterStats:
        return WriterStats(
            self._persisted_records,
            self._dead_letters,
            self._error,
            self._store.name,
            self._queue.qsize() + (self._carried is not None),
        )

    # One stream a unit.

    async def Persist(self, _requests: object, context: Context) -> None:
        """Answers the frames of a stream in order. A frame that contradicts itself ends the stream
        with INVALID_ARGUMENT, one of another grid with FAILED_PRECONDITION."""
        while (message := await context.read()) is not _EOF:
            if message.grid_id != self._grid_id:
                await context.abort(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"this is the data writer of grid {self._grid_id.hex()}, the frame is of "
                    f"{message.grid_id.hex() or 'none'}: check the messaging address of the unit",
                )
            try:
                frame = decode_frame(message)
            except BadFrame as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"pump frame: {error}")
            await context.write(encode_ack(await self.write(frame)))

    async def write(self, frame: PumpFrame) -> PumpAck:
        """Stores a frame, together with others that wait, and answers it. Takes as long as there
        is no room in the queue, and at most one pause of the backoff more while the store is
        away."""
        return await (await self.submit(frame))

    async def submit(self, frame: PumpFrame) -> asyncio.Future[PumpAck]:
        """Puts a frame behind those that wait, as soon as there is room; what is returned has its
        answer. Frames are stored in the order of their submission."""
        job = _Job(frame, asyncio.get_running_loop().create_future())
        await self._queue.put(job)
        return job.done

    # One writer for all.

    async def _run(self) -> None:
        while True:
            self._group = [self._carried or await self._queue.get()]
            self._carried = None
            await self._hold()
            self._join_waiting()
            # A stream that went away takes its frame along; the unit sends it again on the next.
            self._group = [job for job in self._group if not job.done.done()]
            try:
                await self._open()
                await self._write(self._group)
                await self._recount()
            except StoreError as error:
                self._fail(str(error))
            except Exception as error:
                log.exception("the data writer failed; the units send again")
                self._fail(f"internal error: {error!r}")
            else:
                self._backoff.reset()
                self._error = ""
                for job in self._group:
                    job.answer()
            self._group = []

    async def _hold(self) -> None:
        pause_s = self._not_before - asyncio.get_running_loop().time()
        if pause_s > 0:
            await asyncio.sleep(pause_s)

    def _join_waiting(self) -> None:
        """A transaction has each partition once: a claim must not overtake a batch before it."""
        changes = self._group[0].changes
        partitions = self._group[0].partitions
        while changes < self._group_changes_max and not self._queue.empty():
            job = self._queue.get_nowait()
            if not partitions.isdisjoint(job.partitions):
                self._carried = job
                return
            changes += job.changes
            partitions |= job.partitions
            self._group.append(job)

    async def _open(self) -> None:
        if not self._counted:
            await self._store.open()
            self._dead_letters = await self._store.dead_letter_count()
            self._counted = True

    async def _recount(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._dead_letters and now >= self._recount_at:
            self._recount_at = now + RECOUNT_S
            self._dead_letters = await self._store.dead_letter_count()

    def _fail(self, error: str) -> None:
        if error != self._error:
            log.error("the store does not take changes: %s", error)
        self._error = error
        self._not_before = asyncio.get_running_loop().time() + self._backoff.next_s()
        for job in self._group:
            job.retry(error)

    async def _write(self, jobs: list[_Job]) -> None:
        """Claims of all frames, then all their batches in one transaction."""
        epochs: dict[int, int] = {}
        for job in jobs:
            for partition, epoch in job.frame.claims:
                epochs[partition] = max(epoch, epochs.get(partition, 0))
        claimed = await self._store.claim(epochs) if epochs else {}
        for job in jobs:
            for partition, epoch in job.frame.claims:
                found = claimed[partition]
                answer = Answer.CLAIMED if found.epoch == epoch else Answer.FENCED
                job.answers.append((partition, epoch, found.cursor, answer))
        todo, schemas = await self._storable(jobs)
        if todo:
            outcomes = await self._store.apply([batch for _, batch in todo], schemas)
            for (job, batch), outcome in zip(todo, outcomes, strict=True):
                self._take(job, batch, outcome)

    def _take(self, job: _Job, batch: PartitionBatch, outcome: Outcome) -> None:
        job.answers.append((batch.partition, batch.epoch, outcome.cursor, ANSWERS[outcome.status]))
        if outcome.status is Status.APPLIED:
            self._persisted_records += batch.to_sequence - batch.from_sequence
            self._dead_letters += outcome.dead_letters
            job.dead_rows += outcome.dead_rows
        if outcome.status is Status.FULL:
            job.error = (
                f"a change of it cannot be stored, and the {self._dead_letters_max} dead letters "
                "that the store may hold are there: retry or drop some (tupelo dead-letters)"
            )
        if outcome.status is Status.NO_TABLE:
            job.error = outcome.error
        if outcome.status is Status.UNCLAIMED:
            job.error = f"partition {batch.partition} was not claimed: was the store replaced?"

    async def _storable(
        self, jobs: Iterable[_Job]
    ) -> tuple[list[tuple[_Job, PartitionBatch]], dict[str, SpaceSchema]]:
        """The batches whose spaces are all known, and their schemas; the others are answered."""
        known: dict[str, SpaceSchema | None] = {}
        todo: list[tuple[_Job, PartitionBatch]] = []
        for job in jobs:
            for batch in job.frame.batches:
                names = {change[0] for change in batch.changes}
                for name in names - known.keys():
                    known[name] = await self._schema(name)
                if unknown := sorted(name for name in names if known[name] is None):
                    job.answers.append((batch.partition, batch.epoch, 0, Answer.RETRY))
                    job.error = f"space {unknown[0]!r} is not declared at the state store"
                else:
                    todo.append((job, batch))
        return todo, {name: schema for name, schema in known.items() if schema is not None}

    async def _schema(self, name: str) -> SpaceSchema | None:
        found = self._schemas.get(name)
        if found is None and name == DEFAULT_SPACE.name:
            return DEFAULT_SPACE
        if found is None and self._fetch is not None:
            try:
                found = await self._fetch(name)
            except grpc.aio.AioRpcError as error:
                log.warning("no schema of space %r: %s %s", name, error.code(), error.details())
        return found
