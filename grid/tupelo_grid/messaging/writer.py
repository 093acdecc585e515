"""The data writer: takes pump frames of all units and writes them to the store.

Frames that wait are joined into store transactions, several at a time where the store has
connections for it. While the store is away, frames are held
until the next attempt is due and answered RETRY when it fails: the journals of the units keep what
the store does not have, so nothing is ever dropped here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2, pump_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import Answer, PartitionBatch, PumpAck, PumpFrame
from tupelo_grid.messaging.pump_backoff import Backoff
from tupelo_grid.messaging.pump_wire import BadFrame, decode_frame, encode_ack
from tupelo_grid.messaging.writer_lanes import Job, Lanes
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
        self._lanes_count = max(1, store.concurrency)
        self._lanes = Lanes(
            config.writer_frames_max, config.writer_batch_records, self._lanes_count
        )
        self._backoff = Backoff(config.store_retry_s_min, config.store_retry_s_max)
        self._not_before = 0.0
        self._persisted_records = 0
        self._dead_letters = 0
        self._dead_letters_max = config.dead_letters_max
        self._recount_at = 0.0
        self._error = ""
        self._counted = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Opens the store. Raises StoreUnusable (a FatalStartError) when that needs a person; a
        store that is merely away is tried again, and no unit waits for it."""
        try:
            await self._open()
        except StoreAway as error:
            self._fail(str(error))
        self._tasks = [
            asyncio.create_task(self._run(), name=f"data writer {lane}")
            for lane in range(self._lanes_count)
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Frames under way are answered RETRY; a transaction that began is waited for."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        await self._store.close()
        for job in self._lanes.clear():
            job.retry("the data writer is shutting down")

    def stats(self) -> WriterStats:
        return WriterStats(
            self._persisted_records,
            self._dead_letters,
            self._error,
            self._store.name,
            len(self._lanes),
        )

    # One stream a unit.

    async def Persist(self, _requests: object, context: Context) -> None:
        """Answers the frames of a stream, each when it is stored. A frame that contradicts itself
        ends the stream with INVALID_ARGUMENT, one of another grid with FAILED_PRECONDITION."""
        acks: asyncio.Queue[PumpAck] = asyncio.Queue()
        pending: set[asyncio.Future[PumpAck]] = set()

        def on_done(done: asyncio.Future[PumpAck]) -> None:
            pending.discard(done)
            if not done.cancelled():
                acks.put_nowait(done.result())

        answering = asyncio.create_task(_answer(acks, context))
        try:
            while (message := await context.read()) is not _EOF:
                done = await self.submit(await self._frame(message, context))
                pending.add(done)
                done.add_done_callback(on_done)
            if pending:
                await asyncio.wait(pending)
            # All that is answered is on its way before the stream ends, unless it is lost already.
            flushed = asyncio.ensure_future(acks.join())
            await asyncio.wait([flushed, answering], return_when=asyncio.FIRST_COMPLETED)
            flushed.cancel()
        finally:
            # The unit sends them again on the next stream.
            for done in list(pending):
                done.cancel()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def _frame(self, message: pump_pb2.PumpFrame, context: Context) -> PumpFrame:
        if message.grid_id != self._grid_id:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"this is the data writer of grid {self._grid_id.hex()}, the frame is of "
                f"{message.grid_id.hex() or 'none'}: check the messaging address of the unit",
            )
        try:
            return decode_frame(message)
        except BadFrame as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"pump frame: {error}")
            raise

    async def write(self, frame: PumpFrame) -> PumpAck:
        """Stores a frame, together with others that wait, and answers it. Takes as long as there
        is no room in the queue, and at most one pause of the backoff more while the store is
        away."""
        return await (await self.submit(frame))

    async def submit(self, frame: PumpFrame) -> asyncio.Future[PumpAck]:
        """Puts a frame behind those that wait, as soon as there is room; what is returned has its
        answer. The frames of a partition are stored in the order of their submission."""
        job = Job(frame, asyncio.get_running_loop().create_future())
        await self._lanes.put(job)
        return job.done

    # One lane: a transaction at a time.

    async def _run(self) -> None:
        while True:
            jobs = await self._lanes.take()
            await self._hold()
            try:
                await self._open()
                await self._write(jobs)
                await self._recount()
            except StoreError as error:
                self._fail(str(error), jobs)
            except Exception as error:
                log.exception("the data writer failed; the units send again")
                self._fail(f"internal error: {error!r}", jobs)
            else:
                self._backoff.reset()
                self._error = ""
                for job in jobs:
                    job.answer()
            self._lanes.release(jobs)

    async def _hold(self) -> None:
        pause_s = self._not_before - asyncio.get_running_loop().time()
        if pause_s > 0:
            await asyncio.sleep(pause_s)

    async def _open(self) -> None:
        if not self._counted:
            await self._store.open()
            self._dead_letters = await self._store.dead_letter_count()
            self._counted = True

    def counted(self, dead_letters: int) -> None:
        """Somebody else has counted them in the store."""
        self._dead_letters = dead_letters

    async def _recount(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._dead_letters and now >= self._recount_at:
            self._recount_at = now + RECOUNT_S
            self._dead_letters = await self._store.dead_letter_count()

    def _fail(self, error: str, jobs: Iterable[Job] = ()) -> None:
        if error != self._error:
            log.error("the store does not take changes: %s", error)
        self._error = error
        now = asyncio.get_running_loop().time()
        if now >= self._not_before:
            # Lanes that fail together make one pause longer, not each.
            self._not_before = now + self._backoff.next_s()
        for job in jobs:
            job.retry(error)

    async def _write(self, jobs: list[Job]) -> None:
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

    def _take(self, job: Job, batch: PartitionBatch, outcome: Outcome) -> None:
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
        self, jobs: Iterable[Job]
    ) -> tuple[list[tuple[Job, PartitionBatch]], dict[str, SpaceSchema]]:
        """The batches whose spaces are all known, and their schemas; the others are answered."""
        known: dict[str, SpaceSchema | None] = {}
        todo: list[tuple[Job, PartitionBatch]] = []
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


async def _answer(acks: asyncio.Queue[PumpAck], context: Context) -> None:
    while True:
        await context.write(encode_ack(await acks.get()))
        acks.task_done()
