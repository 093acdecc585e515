"""Servicers that other processes of the grid talk to, and what travels between them by NATS."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

import grpc.aio
from google.protobuf.message import DecodeError
from tupelo.schema import SpaceSchema
from tupelo.v1 import admin_pb2, data_pb2, pump_pb2
from tupelo_grid.config import GridConfig
from tupelo_grid.core.near_source import UnitNearSource
from tupelo_grid.core.persist_waits import PersistWaits
from tupelo_grid.messaging import pump_wire
from tupelo_grid.messaging.nats_beats import decode_beat
from tupelo_grid.messaging.nats_parts import MESSAGE_ID, PART, Assembler, BadPart
from tupelo_grid.messaging.reader import DataReader
from tupelo_grid.messaging.writer import DataWriter
from tupelo_grid.store.port import KeyRows, Outcome, Status
from tupelo_grid.transport.near import NearStreams
from tupelo_grid.transport.persisting import UnitPersisting
from tupelo_grid.transport.unit_admin import UnitServicer

from tests.fuzz.context import AnyContext
from tests.fuzz.generate import message, mutated, packed, pick, wire
from tests.fuzz.harness import Broken
from tests.fuzz.unit import PARTITIONS, OneUnit
from tests.fuzz.wire import GRID_ID, HINTS, Stateless

STREAM_S: Final = 5.0
_EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it
_partition: Final = pick((0, 1, 2, 3, PARTITIONS, 2**32 - 1))


class StreamContext(AnyContext):
    """Of a stream of requests, which then ends. What is written must be a message."""

    def __init__(self, requests: Sequence[Any]) -> None:
        super().__init__()
        self._requests = list(requests)
        self.written = 0

    async def read(self) -> Any:
        await asyncio.sleep(0)
        return self._requests.pop(0) if self._requests else _EOF

    async def write(self, answer: Any) -> None:
        answer.SerializeToString()
        self.written += 1

    async def served(self, call: Any) -> bool:
        """Whether anything was answered; an abort with words is an answer of its own."""
        async with asyncio.timeout(STREAM_S):
            try:
                await call
            except grpc.aio.AbortError:
                return False
        return self.written > 0


class Figures:
    """Of a pump that has nothing to do."""

    lag_records, lag_s, lag_bytes, error = 0, 0.0, 0, ""
    stopped: Final[list[int]] = []

    def lags(self) -> list[Any]:
        return []

    def hurry(self, partitions: Collection[int]) -> None: ...


class UnitService:
    """Status, Drain and Holdings of a unit, and the wait for its store."""

    name = "unit_service"
    fresh_every = 3000

    def __init__(self) -> None:
        self._unit = OneUnit()
        unit, figures = self._unit.shell.unit, Figures()
        self._servicer = UnitServicer(
            unit, "unit-1", lambda: "127.0.0.1:1", figures, lambda: "running", _drained, dict
        )
        config = GridConfig(persist_wait_s_max=0.001)
        pump: Any = figures
        self._waits = UnitPersisting(unit, config, PersistWaits(100), lambda: pump, {})

    async def one(self, rng: random.Random) -> bool:
        context: Any = AnyContext()
        hints = {"partition": _partition, "partitions": _partition, "epoch": pick((0, 1, 2))}
        name, kind = rng.choice(
            (
                ("Status", admin_pb2.UnitStatusRequest),
                ("Drain", admin_pb2.DrainRequest),
                ("Holdings", admin_pb2.HoldingsRequest),
                ("wait", data_pb2.WaitPersistedRequest),
            )
        )
        request = message(rng, kind, hints)
        async with asyncio.timeout(STREAM_S):
            if name == "wait":
                answer = await self._waits.wait(request)
                if len(answer.states) != len(request.tokens):
                    raise Broken("not one state a token")
                return True
            return await context.answer(getattr(self._servicer, name)(request, context)) is not None

    def close(self) -> None:
        self._unit.close()


async def _drained(seconds: float) -> int:
    return 0


class NearCaches:
    """The streams that near caches follow a unit by."""

    name = "near_streams"
    fresh_every = 3000

    def __init__(self) -> None:
        self._unit = OneUnit()
        config = GridConfig(near_interval_s=0.0001)
        self._streams = NearStreams(UnitNearSource(self._unit.shell.unit), config, GRID_ID)

    async def one(self, rng: random.Random) -> bool:
        hints = {"grid_id": pick((b"", GRID_ID, b"x")), "spaces": HINTS["spaces"]}
        requests = [message(rng, data_pb2.NearRequest, hints) for _ in range(rng.randrange(4))]
        context: Any = StreamContext(requests)
        return await context.served(self._streams.serve(context))

    def close(self) -> None:
        self._streams.close()
        self._unit.close()


class AnyStore:
    """A store whose rows are nonsense, and that takes whatever it is given."""

    name, concurrency = "any", 1

    def __init__(self) -> None:
        self.rng = random.Random(0)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def claim(self, epochs: Mapping[int, int]) -> dict[int, Outcome]:
        return {
            number: Outcome(number, Status.CLAIMED, epoch, 0) for number, epoch in epochs.items()
        }

    async def apply(self, batches: Sequence[Any], schemas: Mapping[str, Any]) -> list[Outcome]:
        statuses = (Status.APPLIED, Status.FENCED, Status.APPLIED)
        return [
            Outcome(batch.partition, self.rng.choice(statuses), batch.epoch, 0) for batch in batches
        ]

    async def dead_letter_count(self) -> int:
        return 0

    async def cursors(self) -> dict[int, tuple[int, int]]:
        return {number: (self.rng.randrange(9), self.rng.randrange(9)) for number in range(6)}

    def _row(self) -> tuple[bytes, bytes, int, int]:
        return packed(self.rng), packed(self.rng), self.rng.randrange(1, 9), 0

    async def read_rows(self, space: str, partitions: Any = None) -> AsyncIterator[Any]:
        for _ in range(self.rng.randrange(4)):
            yield self._row()

    async def read_pages(self, space: str, partitions: Any = None) -> AsyncIterator[Any]:
        yield [self._row() for _ in range(self.rng.randrange(4))]

    async def find_space(self, schema: SpaceSchema) -> None: ...

    async def dead_keys(self, space: str) -> frozenset[bytes]:
        return frozenset(packed(self.rng) for _ in range(self.rng.randrange(3)))

    async def read_keys(
        self, schema: SpaceSchema, partitions: Any, keys: Sequence[bytes]
    ) -> KeyRows:
        rows = {key: self._row() for key in keys if self.rng.random() < 0.5}
        return KeyRows(await self.cursors(), rows, await self.dead_keys(schema.name))


class Loads(Stateless):
    """What a unit asks the data reader for, of a store that somebody else has written to."""

    name = "data_reader"

    async def one(self, rng: random.Random) -> bool:
        store: Any = AnyStore()
        store.rng = rng
        schemas = {"default": SpaceSchema("default")}
        reader = DataReader(store, lambda: schemas, lambda: PARTITIONS, GRID_ID)
        hints = {
            "grid_id": pick((GRID_ID, GRID_ID, b"")),
            "partitions": _partition,
            "space": pick(("", "default", "default", "other")),
            "keys": packed,
        }
        context: Any = StreamContext(())
        if rng.random() < 0.5:
            request = message(rng, pump_pb2.LoadRequest, hints)
            return await context.served(reader.Load(request, context))
        rows = message(rng, pump_pb2.ReadRowsRequest, hints)
        return await context.served(reader.ReadRows(rows, context))


class Writers:
    """Streams of frames to a data writer."""

    name = "persist_streams"
    fresh_every = 3000

    def __init__(self) -> None:
        store: Any = AnyStore()
        schemas = {"default": SpaceSchema("default")}
        self._writer = DataWriter(GridConfig(), store, schemas, GRID_ID)
        self._entered = False

    async def one(self, rng: random.Random) -> bool:
        if not self._entered:
            await self._writer.__aenter__()
            self._entered = True
        frames = [message(rng, pump_pb2.PumpFrame, HINTS) for _ in range(rng.randrange(4))]
        context: Any = StreamContext(frames)
        return await context.served(self._writer.Persist(None, context))

    def close(self) -> None:
        for task in asyncio.all_tasks():
            if task.get_name().startswith("data writer"):
                task.cancel()


class NatsMessages:
    """Parts of frames and signs of life, as any other program on the server may send them."""

    name = "nats_messages"
    fresh_every = 2000

    def __init__(self) -> None:
        self._assembler: Assembler[int] = Assembler()
        self._numbers = 0

    async def one(self, rng: random.Random) -> bool:
        if rng.random() < 0.2:
            beat = b'{"writer":"w1","groups":[1,2],"error":""}'
            return decode_beat(mutated(rng, beat)) is not None
        data = wire(rng, message(rng, pump_pb2.PumpFrame, HINTS))
        parts = ("0/2", "1/2", "2/2", "0/1", "0/0", "-1/2", "x", "\u00b2/3", "9" * 40, "")
        headers = {PART: rng.choice(parts), MESSAGE_ID: rng.choice(("a/0", "a/1", "", "b/1"))}
        self._numbers += 1
        try:
            subject = rng.choice(("p.1", "p.2"))
            some = headers if rng.random() < 0.7 else None
            whole, *_ = self._assembler.add(subject, some, data, self._numbers)
            if whole is None:
                return True
            pump_wire.decode_frame(pump_pb2.PumpFrame.FromString(whole))
        except (BadPart, DecodeError, pump_wire.BadFrame):
            return False
        finally:
            if rng.random() < 0.1:
                self._assembler.grow_older()
        return True

    def close(self) -> None:
        """Nothing is kept elsewhere."""


SERVERS: Final = (UnitService, NearCaches, Loads, Writers, NatsMessages)
