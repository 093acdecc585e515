"""Cold start, the unit's side: partitions whose entries are in the store only are read from it.

They are read in groups, a few groups at a time, so that the first ones answer early and no more
than some of them are held half read. A partition answers when all of it is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from tupelo.v1 import pump_pb2 as pb

from tupelo_grid.config import GridConfig
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.dedupe import session_now
from tupelo_grid.core.loads import Fence
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Entry
from tupelo_grid.core.table import Versioned
from tupelo_grid.core.unit import Unit
from tupelo_grid.messaging.pump_backoff import Backoff
from tupelo_grid.messaging.reader_client import ReaderClient, StoreSilent, fences_of

log = logging.getLogger(__name__)

RETRY_S_MIN = 0.2


class Loader:
    """Reads what `unit.loading` asks for until it is there.

    Attributes:
        done: partitions that were loaded.
        entries: rows that came so far, those of partitions under way too.
        error: why the last attempt failed; "" when it did not.
    """

    def __init__(self, unit: Unit, config: GridConfig, reader: ReaderClient, clock: Clock) -> None:
        self._unit = unit
        self._config = config
        self._reader = reader
        self._clock = clock
        self._wake = asyncio.Event()
        self._under_way: set[int] = set()
        self.done = 0
        self.entries = 0
        self.error = ""

    def look(self) -> None:
        """The table changed: there may be something to load."""
        if self._unit.loading:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(max(1, self._config.load_calls_max)):
                tasks.create_task(self._work(), name=f"loader {number}")

    async def _work(self) -> None:
        backoff = Backoff(RETRY_S_MIN, self._config.pump_retry_s_max)
        while True:
            group = self._take()
            if not group:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                found = await self._read(group)
            except StoreSilent as error:
                self._say(str(error), len(group))
                await asyncio.sleep(backoff.next_s())
            else:
                self.error = ""
                backoff.reset()
                self._deliver(group, found)
            finally:
                self._under_way -= group.keys()

    def _take(self) -> dict[int, Versioned]:
        """The next partitions, each with the configuration that it is loaded for."""
        waiting = sorted(self._unit.loading.keys() - self._under_way)
        group = waiting[: self._config.load_partitions]
        self._under_way.update(group)
        return {number: self._unit.loading[number] for number in group}

    def _say(self, error: str, partitions: int) -> None:
        if error != self.error:
            log.warning("%d partitions wait to be loaded: %s", partitions, error)
        self.error = error

    async def _read(self, group: Mapping[int, Versioned]) -> list[Partition]:
        """Raises StoreSilent."""
        sessions_before = session_now(self._clock.wall_ms())
        partitions = {number: Partition(number) for number in group}
        fences: dict[int, Fence] = {}
        taken = 0
        try:
            epochs = [versioned.config.epoch for versioned in group.values()]
            async for chunk in self._reader.load(list(group), epochs):
                fences |= fences_of(chunk)
                _put(partitions, chunk)
                taken += len(chunk.keys)
                self.entries += len(chunk.keys)
        except StoreSilent:
            self.entries -= taken
            raise
        for number, partition in partitions.items():
            fence = fences.get(number, Fence(0, 0))
            partition.begin_at(fence.cursor, fence.epoch, sessions_before)
        return list(partitions.values())

    def _deliver(self, group: Mapping[int, Versioned], found: list[Partition]) -> None:
        for partition in found:
            # What was read for a role that ended meanwhile may be older than what its successor
            # wrote; it counts for that very configuration only.
            if self._unit.loading.get(partition.number) is group[partition.number]:
                self._unit.loaded(partition.number, partition)
                self.done += 1
        entries = sum(one.entries() for one in found)
        log.info("%d entries of %d partitions loaded", entries, len(found))


def _put(partitions: Mapping[int, Partition], chunk: pb.LoadChunk) -> None:
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
        held[key] = Entry(value, version, deadline_ms)
