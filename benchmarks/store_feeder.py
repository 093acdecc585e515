"""Plays three units that send pump frames to a data writer, for benchmarks.store.

    python -m benchmarks.store_feeder ADDRESS KIND SECONDS IN_FLIGHT

Prints a line when it begins, and at its end {"rows", "cpu"}: changes that were answered as stored,
and the CPU it took, in cores. The parts of its frames that do not change are made beforehand, since
units have them at hand too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Final

import grpc.aio
from tupelo.v1 import pump_pb2, pump_pb2_grpc
from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import Answer

from benchmarks.store import GRID, MAKERS

STREAMS: Final = 3
FRAME: Final = GridConfig().pump_batch_records
PER_FRAME: Final = 10
"""Partitions of one frame."""
ROUNDS: Final = 20
"""Frames with other keys, before the first ones come again."""


class Slot:
    """Partitions that are always in a frame together, and the next frame of them."""

    def __init__(self, number: int, kind: str) -> None:
        self.partitions = [number * PER_FRAME + n for n in range(PER_FRAME)]
        self._each = FRAME // PER_FRAME
        self._space = kind
        self.cursor = 0  # the same for all of them
        self._columns = []
        for turn in range(ROUNDS):
            changes = [
                MAKERS[kind](p * 1_000_000 + turn * self._each + n, turn + 1)
                for p in self.partitions
                for n in range(self._each)
            ]
            self._columns.append(([c[1] for c in changes], [c[2] for c in changes]))

    def claim(self, position: int) -> pump_pb2.PumpFrame:
        return pump_pb2.PumpFrame(
            grid_id=GRID,
            position=position,
            claim_partitions=self.partitions,
            claim_epochs=[1] * PER_FRAME,
        )

    def frame(self, position: int) -> pump_pb2.PumpFrame:
        first = self.cursor
        self.cursor += self._each
        keys, values = self._columns[first // self._each % ROUNDS]
        versions = list(range(first + 1, first + self._each + 1)) * PER_FRAME
        return pump_pb2.PumpFrame(
            grid_id=GRID,
            position=position,
            changes=pump_pb2.PumpColumns(
                spaces=[self._space],
                partitions=self.partitions,
                epochs=[1] * PER_FRAME,
                from_sequences=[first] * PER_FRAME,
                to_sequences=[self.cursor] * PER_FRAME,
                counts=[self._each] * PER_FRAME,
                space_index=[0] * FRAME,
                keys=keys,
                values=values,
                deleted=bytes(FRAME),
                versions=versions,
                deadlines_ms=[0] * FRAME,
            ),
        )


async def unit(stub: Any, slots: list[Slot], seconds: float, begin: asyncio.Barrier) -> int:
    call = stub.Persist()
    flying: dict[int, Slot] = {}
    position = stored = 0
    for slot in slots:
        position += 1
        flying[position] = slot
        await call.write(slot.claim(position))
    while flying:
        ack = await call.read()
        flying.pop(ack.position).cursor = ack.cursors[0]
    await begin.wait()
    deadline = time.perf_counter() + seconds
    for slot in slots:
        position += 1
        flying[position] = slot
        await call.write(slot.frame(position))
    while flying:
        ack = await call.read()
        slot = flying.pop(ack.position)
        assert set(ack.statuses) == {int(Answer.PERSISTED)}, ack
        stored += FRAME
        if time.perf_counter() < deadline:
            position += 1
            flying[position] = slot
            await call.write(slot.frame(position))
    await call.done_writing()
    return stored


async def feed(address: str, kind: str, seconds: float, in_flight: int) -> dict[str, float]:
    slots = [Slot(number, kind) for number in range(STREAMS * in_flight)]
    begin = asyncio.Barrier(STREAMS + 1)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pump_pb2_grpc.DataWriterStub(channel)  # type: ignore[no-untyped-call]
        tasks = [
            asyncio.create_task(unit(stub, slots[n::STREAMS], seconds, begin))
            for n in range(STREAMS)
        ]
        await begin.wait()
        print("{}", flush=True)
        cpu, began = time.process_time(), time.perf_counter()
        stored = sum(await asyncio.gather(*tasks))
        cores = (time.process_time() - cpu) / (time.perf_counter() - began)
    return {"rows": stored, "cpu": round(cores, 2)}


if __name__ == "__main__":
    print(
        json.dumps(
            asyncio.run(feed(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
        ),
        flush=True,
    )
