"""Cold start, the unit's side: partitions whose entries are in the store only are read from it."""

from __future__ import annotations

import asyncio
import logging

import grpc
import grpc.aio
from tupelo.v1 import pump_pb2 as pb
from tupelo.v1 import pump_pb2_grpc as pb_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.dedupe import session_now
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.servers import open_channel

log = logging.getLogger(__name__)

RETRY_S = 0.5


class Loader:
    """Reads what `unit.loading` asks for, all of it in one call, until it is there."""

    def __init__(self, unit: Unit, config: GridConfig, grid_id: bytes, clock: Clock) -> None:
        self._unit = unit
        self._config = config
        self._grid_id = grid_id
        self._clock = clock
        self._wake = asyncio.Event()

    def look(self) -> None:
        """The table changed: there may be something to load."""
        if self._unit.loading:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with open_channel(self._config, self._config.messaging_address) as channel:
            stub = pb_grpc.DataReaderStub(channel)  # type: ignore[no-untyped-call]
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._unit.loading:
                    wanted = sorted(self._unit.loading)
                    try:
                        found = await self._read(stub, wanted)
                    except grpc.aio.AioRpcError as error:
                        log.warning("%d partitions wait: %s", len(wanted), error.details())
                        await asyncio.sleep(RETRY_S)
                        continue
                    entries = sum(one.entries() for one in found)
                    log.info("%d entries of %d partitions loaded", entries, len(found))
                    for partition in found:
                        self._unit.loaded(partition.number, partition)

    async def _read(self, stub: pb_grpc.DataReaderStub, wanted: list[int]) -> list[Partition]:
        """Raises AioRpcError."""
        sessions_before = session_now(self._clock.wall_ms())
        partitions = {number: Partition(number) for number in wanted}
        request = pb.LoadRequest(grid_id=self._grid_id, partitions=wanted)
        call = stub.Load(request, timeout=self._config.load_timeout_s)
        fences: dict[int, tuple[int, int]] = {}
        while isinstance(chunk := await call.read(), pb.LoadChunk):
            rows = zip(chunk.fence_epochs, chunk.fence_cursors, strict=True)
            fences |= zip(chunk.fence_partitions, rows, strict=True)
            _take(partitions, chunk)
        for number, partition in partitions.items():
            epoch, cursor = fences.get(number, (0, 0))
            partition.begin_at(cursor, epoch, sessions_before)
        return list(partitions.values())


def _take(partitions: dict[int, Partition], chunk: pb.LoadChunk) -> None:
    rows = zip(
        chunk.partitions,
        chunk.keys,
        chunk.values,
        chunk.versions,
        chunk.deadlines_ms,
        strict=True,
    )
    for number, key, value, version, deadline_ms in rows:
        held = partitions[number].spaces.setdefault(chunk.space, {})
        held[key] = (value, version, deadline_ms)
