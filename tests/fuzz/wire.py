"""Targets between servers: replication streams, snapshots, pump frames, rows of the state store."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from tupelo.v1 import coordinator_pb2, pump_pb2
from tupelo.v1 import replication_pb2 as pb
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.coordinator.service import StateStoreServicer
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Record
from tupelo_grid.core.snapshot import Snapshot as PartitionSnapshot
from tupelo_grid.core.snapshot import SnapshotBuilder, SnapshotError, spilled_chunk
from tupelo_grid.core.spill import Spill
from tupelo_grid.core.statestore import KeyValue, Snapshot
from tupelo_grid.core.tail import Extent
from tupelo_grid.core.view import ViewReader
from tupelo_grid.messaging import pump_wire
from tupelo_grid.transport.record_columns import encode_appends
from tupelo_grid.transport.replication import ReceiverProtocol
from tupelo_grid.transport.replication_codec import (
    BadFrame,
    FrameReader,
    FrameWriter,
    decode_ack,
    encode_ack,
)

from tests.fuzz.context import AnyContext
from tests.fuzz.generate import WORDS, message, mutated, packed, pick, value, wire
from tests.fuzz.harness import Broken
from tests.memory_store import MemoryStateStore

GRID_ID: Final = bytes(range(16))
FRAME_BYTES_MAX: Final = 1 << 20
_small: Final = pick((0, 1, 1, 2, 3, 4))
_pack: Final = msgspec.msgpack.encode

_RECORDS: Final[list[Record]] = [
    (1, 7, 1, 0, None, "s", b"k", b"v", 0),
    (1, 7, 2, 0, None, (("s", b"k", None, 0), ("s", b"l", b"v", 0))),
]
_APPENDS: Final = encode_appends([1, 2], [1, 1], [1, 1], _RECORDS)

HINTS: Final = {
    "appends": lambda rng: _APPENDS if rng.random() < 0.5 else packed(rng),
    "grid_id": lambda rng: GRID_ID if rng.random() < 0.95 else rng.randbytes(16),
    "sender": pick(("a#1", "c#3", "")),
    "receiver": pick(("b#2", "b#2", "x")),
    "stream_id": _small,
    "position": _small,
    "partitions": _small,
    "partition": _small,
    "epochs": _small,
    "epoch": _small,
    "sequences": _small,
    "counts": pick((0, 1, 1, 2)),
    "space_index": pick((0, 0, 1)),
    "spaces": pick(("default", "seats", "")),
    "deleted": pick((0, 1)),
    "kinds": pick(range(14)),
    "results": lambda rng: _pack((0, 1, b"x")) if rng.random() < 0.8 else packed(rng),
    "statuses": pick((0, 1, 2, 3, 4, 9)),
}


class Stateless:
    """A target that remembers nothing."""

    name = ""
    fresh_every = 0

    def close(self) -> None:
        """There is nothing to close."""


class ReplicationFrames(Stateless):
    name = "replication_frames"

    async def one(self, rng: random.Random) -> bool:
        data = wire(rng, message(rng, pb.ReplicationFrame, HINTS))
        reader = FrameReader(GRID_ID)
        if rng.random() < 0.5:
            reader.read(FrameWriter(GRID_ID).write(Frame("a#1", "b#2", 1, 1)))
        try:
            frame = reader.read(data)
        except (BadFrame, DecodeError):
            return False
        rows = {len(frame.partitions), len(frame.epochs), len(frame.sequences), len(frame.records)}
        if len(rows) != 1:
            raise Broken(f"columns of unequal length: {rows}")
        return True


class ReplicationAcks(Stateless):
    name = "replication_acks"

    async def one(self, rng: random.Random) -> bool:
        data = wire(rng, message(rng, pb.ReplicationAck, HINTS))
        try:
            ack = decode_ack(pb.ReplicationAck.FromString(data))
        except (BadFrame, DecodeError):
            return False
        again = encode_ack(ack, GRID_ID)
        if decode_ack(again) != ack:
            raise Broken(f"{ack} does not survive")
        return True


class FakeTransport:
    """Takes what is written; `abort` is remembered."""

    def __init__(self) -> None:
        self.closed = False
        self.written = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class ReplicationStreams(Stateless):
    """Bytes as TCP brings them: frames cut anywhere, some with wrong lengths."""

    name = "replication_streams"

    def __init__(self) -> None:
        self.frames = 0

    def _receive(self, frame: Frame, answer: Callable[[Ack], None]) -> None:
        self.frames += 1
        answer(Ack(frame.receiver, frame.sender, frame.stream_id, frame.position))

    async def one(self, rng: random.Random) -> bool:
        transport: Any = FakeTransport()
        protocol = ReceiverProtocol(GRID_ID, self._receive, FRAME_BYTES_MAX, set())
        protocol.connection_made(transport)
        for chunk in cut(rng, stream(rng)):
            protocol.data_received(chunk)
            if transport.closed:
                break
            if len(protocol._buffer) > FRAME_BYTES_MAX + 4:
                raise Broken(f"{len(protocol._buffer)} bytes are held")
        protocol.connection_lost(None)
        return transport.written > 0


def stream(rng: random.Random) -> bytes:
    parts = []
    for _ in range(rng.randrange(1, 5)):
        body = wire(rng, message(rng, pb.ReplicationFrame, HINTS, depth=3))
        length = len(body) if rng.random() < 0.95 else rng.getrandbits(32)
        parts.append(length.to_bytes(4, "big") + body)
    data = b"".join(parts)
    return data if rng.random() < 0.9 else mutated(rng, data)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    chunks, start = [], 0
    while start < len(data):
        size = rng.choice((1, 3, 50, 1000, 1 << 16))
        chunks.append(data[start : start + size])
        start += size
    return chunks


class Snapshots(Stateless):
    """Chunks of whole snapshots with accidents, and chunks of anything; their sums are right."""

    name = "snapshot_chunks"

    def __init__(self) -> None:
        spilled = [spilled_chunk(Extent(after, after + 5, 900), b"r") for after in (0, 5)]
        self._whole = [*spilled, *PartitionSnapshot(small_partition()).chunks()]

    async def one(self, rng: random.Random) -> bool:
        builder = SnapshotBuilder(1, 0, spill=Spill({}, list, 1 << 30))
        chunks = [self._accident(rng, chunk) for chunk in self._whole]
        if rng.random() < 0.3:
            rng.shuffle(chunks)
        try:
            for index, body in enumerate(chunks[: rng.randrange(len(chunks) + 2)]):
                crc = zlib.crc32(body) if rng.random() < 0.99 else 7
                builder.add(index, body, crc)
            built = builder.build()
        except SnapshotError:
            return False
        if built.number != 0:
            raise Broken("a partition of another number")
        return True

    def _accident(self, rng: random.Random, chunk: bytes) -> bytes:
        chance = rng.random()
        if chance < 0.6:
            return chunk
        if chance < 0.8:
            return mutated(rng, chunk)
        if chance < 0.9:
            return _pack((rng.randrange(6), value(rng)))
        kind, payload = msgspec.msgpack.decode(chunk)
        if payload:
            payload[rng.randrange(len(payload))] = value(rng)
        return _pack((kind, payload))


def small_partition() -> Partition:
    partition = Partition(0)
    for number in range(1, 6):
        mutation = ("default", b"k%d" % number, b"v" if number % 2 else None, 0)
        partition.append((3, 77, number, 1, (0, number, b""), (mutation,)), 1)
    partition.advance_commit(4)
    return partition


class PumpFrames(Stateless):
    name = "pump_frames"

    async def one(self, rng: random.Random) -> bool:
        kind = rng.choice((pump_pb2.PumpFrame, pump_pb2.PumpAck))
        data = wire(rng, message(rng, kind, HINTS))
        try:
            if kind is pump_pb2.PumpFrame:
                pump_wire.decode_frame(pump_pb2.PumpFrame.FromString(data))
            else:
                pump_wire.decode_ack(pump_pb2.PumpAck.FromString(data))
        except (pump_wire.BadFrame, DecodeError):
            return False
        return True


STORED: Final = (
    b'{"epoch":3,"primary":"unit-1#1","in_sync":["unit-1#1","unit-2#2"]}',
    b'{"unit":"unit-1","address":"h:1","replication_address":"h:2","nonce":"n"}',
    b'{"grid_id":"000102030405060708090a0b0c0d0e0f","partitions":4}',
    b'{"name":"seats","key":["event"],"fields":[{"name":"event","type":"str"}]}',
    b'{"route":["event"],"read_only":false}',
    b"17",
)
PREFIXES: Final = ("part/", "lease/", "space/", "command/", "grid", "next_incarnation", "")


def stored_key(rng: random.Random) -> str:
    return rng.choice(PREFIXES) + rng.choice(("", "0", "1", "unit-1#1", "x", "-1", *WORDS))


def stored_value(rng: random.Random) -> bytes:
    good = rng.choice(STORED)
    return good if rng.random() < 0.4 else mutated(rng, good)


class OneSnapshot:
    """A state store that has just this."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    async def read(self, prefix: str) -> Snapshot:
        return self.snapshot


class StateStoreRows(Stateless):
    """What stands in the state store, as the controller, routers and units read it."""

    name = "state_store_rows"

    async def one(self, rng: random.Random) -> bool:
        rows = {
            stored_key(rng): KeyValue(stored_value(rng), rng.randrange(1, 9))
            for _ in range(rng.randrange(8))
        }
        snapshot = Snapshot(rows, 9)
        view = ViewReader().read(snapshot)
        store: Any = OneSnapshot(snapshot)
        state = await TableKeeper(store, GridConfig()).refresh()
        if state.table.parts.keys() != view.parts.keys():
            raise Broken("controller and routers see different partitions")
        return bool(view.parts or view.leases or state.commands or len(state.spaces) > 1)


class Coordinator:
    """Read and Txn of the coordinator's service."""

    name = "coordinator"
    fresh_every = 2000

    def __init__(self) -> None:
        self._servicer = StateStoreServicer(MemoryStateStore(GridConfig()))

    async def one(self, rng: random.Random) -> bool:
        context: Any = AnyContext()
        hints = {"key": stored_key, "value": stored_value, "deletes": stored_key}
        if rng.random() < 0.5:
            read = message(rng, coordinator_pb2.ReadRequest, {"prefix": stored_key})
            return await context.answer(self._servicer.Read(read, context)) is not None
        txn = message(rng, coordinator_pb2.TxnRequest, hints)
        return await context.answer(self._servicer.Txn(txn, context)) is not None

    def close(self) -> None:
        """The store is garbage from here on."""


WIRE: Final = (
    ReplicationFrames,
    ReplicationAcks,
    ReplicationStreams,
    Snapshots,
    PumpFrames,
    StateStoreRows,
    Coordinator,
)
