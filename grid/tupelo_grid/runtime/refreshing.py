"""Refresh, the unit's side: entries are compared with their rows in the store, and follow them.

For what somebody else changed in the store. A whole space is read partition by partition; keys that
its journal has outrun meanwhile are asked for once more, a few at a time. What the store does not
have yet stays as the grid has it, and so does what became a dead letter.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from tupelo.v1 import admin_pb2 as pb
from tupelo.v1 import pump_pb2

from tupelo_grid.config import GridConfig
from tupelo_grid.core.loads import Fence, Fit, Found, Loads, Taken
from tupelo_grid.core.unit import Unit
from tupelo_grid.messaging.reader_client import ReaderClient, StoreSilent, fences_of
from tupelo_grid.transport.unit_admin import CannotRefresh

ATTEMPTS_MAX: Final = 5
SLICE: Final = 1000
"""Keys compared before others of the event loop have their turn."""
NO_FENCE: Final = Fence(0, 0)

Outrun = list[tuple[int, bytes]]


class Refresher:
    """One refresh at a time.

    `reader` is entered by its owner; `changed` is called when records were written.
    """

    def __init__(
        self, unit: Unit, config: GridConfig, reader: ReaderClient, changed: Callable[[], None]
    ) -> None:
        self._unit = unit
        self._loads = Loads(unit)
        self._config = config
        self._reader = reader
        self._changed = changed
        self._turn = asyncio.Lock()

    async def refresh(self, request: pb.RefreshRequest) -> pb.RefreshResponse:
        """Of those of the request's partitions that this unit serves; the answer names the ones
        that were done. Raises CannotRefresh; what was done then stays done."""
        try:
            return await self._refresh(request)
        except StoreSilent as error:
            raise CannotRefresh(str(error)) from error

    async def _refresh(self, request: pb.RefreshRequest) -> pb.RefreshResponse:
        async with self._turn:
            wanted = request.partitions or sorted(self._unit.serving)
            mine = [number for number in wanted if number in self._unit.serving]
            answer = pb.RefreshResponse()
            if request.key:
                places = [(number, request.key) for number in mine[:1]]
                left = await self._keys(request.space, places, answer)
                answer.partitions.extend(mine[:1] if not left else ())
                return answer
            size = self._config.load_partitions
            for start in range(0, len(mine), size):
                await self._group(request.space, mine[start : start + size], answer)
            return answer

    async def _group(self, space: str, group: Sequence[int], answer: pb.RefreshResponse) -> None:
        fences: dict[int, Fence] = {}
        seen: dict[int, set[bytes]] = {number: set() for number in group}
        dead: frozenset[bytes] = frozenset()
        outrun: Outrun = []
        lost: set[int] = set()
        async for chunk in self._reader.load(group, space=space):
            fences |= fences_of(chunk)
            if chunk.dead_keys:
                dead = frozenset(chunk.dead_keys)
            for number, rows in self._rows(chunk, answer).items():
                seen[number].update(rows)
                fence = fences.get(number, NO_FENCE)
                self._take(number, fence, space, rows, dead, answer, outrun, lost)
        for number in group:
            fence = fences.get(number, NO_FENCE)
            for gone in self._without_row(number, space, seen[number]):
                self._take(number, fence, space, gone, dead, answer, outrun, lost)
                await asyncio.sleep(0)
        lost.update(number for number, _ in await self._keys(space, outrun, answer))
        answer.partitions.extend(number for number in group if number not in lost)

    def _rows(
        self, chunk: pump_pb2.LoadChunk, answer: pb.RefreshResponse
    ) -> Mapping[int, dict[bytes, Found | None]]:
        rows: defaultdict[int, dict[bytes, Found | None]] = defaultdict(dict)
        columns = zip(chunk.partitions, chunk.keys, chunk.values, chunk.deadlines_ms, strict=True)
        for number, key, value, deadline_ms in columns:
            rows[number][key] = (value, deadline_ms)
        return rows

    def _without_row(
        self, number: int, space: str, seen: set[bytes]
    ) -> Iterator[dict[bytes, Found | None]]:
        held = self._unit.replicas.get(number)
        keys = list(held.spaces.get(space, ())) if held is not None else []
        for start in range(0, len(keys), SLICE):
            part = keys[start : start + SLICE]
            yield dict.fromkeys([key for key in part if key not in seen])

    def _take(
        self,
        number: int,
        fence: Fence,
        space: str,
        rows: dict[bytes, Found | None],
        dead: frozenset[bytes],
        answer: pb.RefreshResponse,
        outrun: Outrun,
        lost: set[int],
    ) -> None:
        self._check_room()
        fitting = dict(self._fitting(rows, answer))
        taken = self._loads.take(number, fence, space, fitting, replace=True, dead=dead)
        if taken.fit is Fit.AGAIN:
            outrun += [(number, key) for key in fitting]
        elif taken.fit is not Fit.YES:
            lost.add(number)
        _count(answer, taken)
        self._changed()

    def _fitting(
        self, rows: dict[bytes, Found | None], answer: pb.RefreshResponse
    ) -> Iterable[tuple[bytes, Found | None]]:
        for key, row in rows.items():
            long = len(key) > self._config.key_bytes_max
            if long or (row is not None and len(row[0]) > self._config.value_bytes_max):
                answer.refused += 1
            else:
                yield key, row

    def _check_room(self) -> None:
        held = sum(one.journal.bytes for one in self._unit.replicas.values())
        if held > self._config.journal_bytes_max:
            raise CannotRefresh(f"the journals of {self._unit.me} are full: the store is behind")

    async def _keys(self, space: str, places: Outrun, answer: pb.RefreshResponse) -> Outrun:
        """Asks for single rows. Returns those that could not be compared."""
        lost: Outrun = []
        for start in range(0, len(places), self._config.read_through_batch):
            part = places[start : start + self._config.read_through_batch]
            for _ in range(ATTEMPTS_MAX):
                part = await self._some(space, part, answer, lost)
                if not part:
                    break
            lost += part
        return lost

    async def _some(
        self, space: str, places: Outrun, answer: pb.RefreshResponse, lost: Outrun
    ) -> Outrun:
        found = await self._reader.read(space, places, self._config.store_timeout_s)
        outrun: Outrun = []
        by_partition: defaultdict[int, dict[bytes, Found | None]] = defaultdict(dict)
        for number, key in places:
            by_partition[number][key] = found.rows[key]
        gone: set[int] = set()
        for number, rows in by_partition.items():
            fence = found.fences.get(number, NO_FENCE)
            self._take(number, fence, space, rows, found.dead, answer, outrun, gone)
        lost += [place for place in places if place[0] in gone]
        return outrun


def _count(answer: pb.RefreshResponse, taken: Taken) -> None:
    for name in ("added", "changed", "removed", "same", "newer", "dead"):
        setattr(answer, name, getattr(answer, name) + getattr(taken, name))
