"""Read-through: entries that a unit does not have are read from the store before what needs them.

A frame whose operations miss an entry of a space declared so waits until the store was asked, and
then runs as any other. A key is asked for once, however many wait for it; what the store does not
have is remembered for a moment, so that it is not asked for again and again. A command finds out
only as it runs what it misses: it is broken off before it wrote anything, and the caller told
NOT_READY, which clients repeat by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from tupelo import kinds
from tupelo.codec import SpaceCodec, decode_key
from tupelo.errors import ResultCode, TupeloError
from tupelo.schema import SpaceSchema
from tupelo.v1.data_pb2 import OpBatch, SessionRequest

from tupelo_grid.config import GridConfig
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.loads import Fence, Fit, Found, Loads
from tupelo_grid.core.table import MALFORMED
from tupelo_grid.core.unit import Unit
from tupelo_grid.messaging.pump_backoff import Backoff
from tupelo_grid.messaging.reader_client import KeysFound, ReaderClient, StoreSilent
from tupelo_grid.runtime.shell import Fault, Place

log = logging.getLogger(__name__)

ATTEMPTS_MAX = 4
"""A journal that outran what was read has it read again so often."""
AWAY_S_MIN = 0.05
NO_FENCE = Fence(0, 0)
REASONS = {
    Fit.ELSEWHERE: "the partition moved while its entry was read from the store; try again",
    Fit.AHEAD: "the store has more of the partition than the grid: see `tupelo status --lags`",
}

# Those that a missing entry does not matter to write without looking.
_LOOK = frozenset(
    {
        kinds.GET,
        kinds.GET_NEAR,
        kinds.CONTAINS,
        kinds.PUT_IF_ABSENT,
        kinds.REPLACE,
        kinds.COMPARE_AND_SET,
        kinds.DELETE,
        kinds.DELETE_IF_VERSION,
    }
)


class ReadThrough:
    """Of one unit.

    Args:
        reader: entered by its owner.
        partitions: of the grid.
        changed: called when records were written.

    Attributes:
        spaces: names of the spaces that are read through.
        counts: keys asked of the store ("read_through_keys"), rows found, calls, failed calls.
    """

    def __init__(
        self,
        unit: Unit,
        config: GridConfig,
        reader: ReaderClient,
        clock: Clock,
        partitions: int,
        changed: Callable[[], None],
    ) -> None:
        self._unit = unit
        self._loads = Loads(unit)
        self._config = config
        self._reader = reader
        self._clock = clock
        self._partitions = partitions
        self._changed = changed
        self._codecs: dict[str, SpaceCodec] = {}
        self._waiting: dict[Place, asyncio.Future[Fault | None]] = {}
        self._queues: defaultdict[str, list[Place]] = defaultdict(list)
        self._absent: dict[Place, float] = {}
        self._wake = asyncio.Event()
        self._backoff = Backoff(AWAY_S_MIN, config.read_through_s)
        self._away = ""
        self._not_before = 0.0
        self.spaces: frozenset[str] = frozenset()
        self.counts: Counter[str] = Counter()

    def follow(self, schemas: Mapping[str, SpaceSchema]) -> None:
        """The spaces there are now."""
        through = {name: one for name, one in schemas.items() if one.read_through}
        if through.keys() != self.spaces:
            self._codecs = {name: SpaceCodec(schema) for name, schema in through.items()}
            self.spaces = frozenset(through)

    # What is missing.

    def missing(self, request: SessionRequest) -> list[Place]:
        """Entries that the store has to be asked for before the frame can run."""
        found = dict.fromkeys(
            place
            for batch in request.batches
            for _, place in places_of(batch, self.spaces)
            if self.is_missing(*place)
        )
        return list(found)

    def is_missing(self, partition: int, space: str, key: bytes) -> bool:
        """Whether only the store can tell, and has not just told that it has none."""
        if space not in self.spaces or not self._loads.missing(partition, space, key):
            return False
        known_until = self._absent.get((partition, space, key), 0.0)
        return known_until <= self._clock.now() and self._belongs(partition, space, key)

    def _belongs(self, partition: int, space: str, key: bytes) -> bool:
        """What is asked for in the wrong partition, or is no key, is nowhere to be found."""
        if len(key) > self._config.key_bytes_max:
            return False
        try:
            located = self._codecs[space].locate(decode_key(key), self._partitions)
        except (*MALFORMED, TupeloError):
            return False
        return located == (key, partition)

    # Asking.

    def lacks(self, partition: int, space: str, key: bytes) -> bool:
        """As `is_missing`, for a command that runs: the entry is asked for, and nobody waits."""
        if not self.is_missing(partition, space, key):
            return False
        self.ask((partition, space, key))
        return True

    async def load(self, places: Sequence[Place]) -> dict[Place, Fault]:
        """Returns when the store has been asked for all of them, or cannot be within
        read_through_s: then with the reasons."""
        asked = {place: self.ask(place) for place in places}
        timeout_s = self._config.read_through_s
        await asyncio.wait(asked.values(), timeout=timeout_s)
        late = (ResultCode.NOT_READY, f"the store did not answer within {timeout_s:g} s")
        ended = {place: one.result() if one.done() else late for place, one in asked.items()}
        return {place: fault for place, fault in ended.items() if fault is not None}

    def ask(self, place: Place) -> asyncio.Future[Fault | None]:
        """The answer is None when the entry is there, or the store has none. Shared by all who ask
        before it comes."""
        future = self._waiting.get(place)
        if future is not None:
            return future
        future = asyncio.get_running_loop().create_future()
        if self._away and self._clock.now() < self._not_before:
            future.set_result((ResultCode.NOT_READY, self._away))
        elif len(self._waiting) >= self._config.read_through_keys_max:
            text = f"{len(self._waiting)} entries already wait to be read from the store"
            future.set_result((ResultCode.OVERLOADED, text))
        else:
            self._waiting[place] = future
            self._queues[place[1]].append(place)
            self._wake.set()
        return future

    def faults(self, batch: OpBatch, failed: Mapping[Place, Fault]) -> dict[int, Fault]:
        """By index of the operation, or group, that still needs an entry of `failed`."""
        return {
            index: failed[place]
            for index, place in places_of(batch, self.spaces)
            if place in failed and self._loads.missing(*place)
        }

    # One call after another.

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(max(1, self._config.read_through_calls_max)):
                tasks.create_task(self._work(), name=f"read-through {number}")

    async def _work(self) -> None:
        while True:
            space = next(iter(self._queues), None)
            if space is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            queue = self._queues.pop(space)
            part = queue[: self._config.read_through_batch]
            if rest := queue[len(part) :]:
                # Behind those of other spaces.
                self._queues[space] = rest
            try:
                await self._read(space, part)
            except StoreSilent as error:
                self._fail(space, part, str(error))
            except Exception as error:
                log.exception("read-through of %s failed", space)
                self._fail(space, part, f"internal error: {error!r}")

    async def _read(self, space: str, places: list[Place]) -> None:
        for _ in range(ATTEMPTS_MAX):
            self.counts["read_through_calls"] += 1
            self.counts["read_through_keys"] += len(places)
            found = await self._reader.read(
                space, [(number, key) for number, _, key in places], self._config.read_through_s
            )
            self._away = ""
            self._backoff.reset()
            places = self._settle(space, places, found)
            self._changed()
            if not places:
                return
        text = "what was read from the store was outrun by changes each time; try again"
        self._end(places, (ResultCode.NOT_READY, text))

    def _settle(self, space: str, places: list[Place], found: KeysFound) -> list[Place]:
        """Ends those that are known now; returns the others."""
        again: list[Place] = []
        by_partition: defaultdict[int, list[Place]] = defaultdict(list)
        for place in places:
            by_partition[place[0]].append(place)
        full = sum(held.journal.bytes for held in self._unit.replicas.values())
        for number, mine in by_partition.items():
            rows: dict[bytes, Found | None] = {}
            for place in mine:
                row = found.rows[place[2]]
                if row is not None and (fault := self._refusal(row, full)):
                    self._end([place], fault)
                else:
                    rows[place[2]] = row
            fence = found.fences.get(number, NO_FENCE)
            fit = self._loads.take(number, fence, space, rows).fit
            left = [place for place in mine if place[2] in rows]
            if fit is Fit.AGAIN:
                again += left
            elif fit is Fit.YES:
                self._note(left, rows)
                self._end(left, None)
            else:
                self._end(left, (ResultCode.NOT_READY, REASONS[fit]))
        return again

    def _refusal(self, row: Found, journal_bytes: int) -> Fault | None:
        if len(row[0]) > self._config.value_bytes_max:
            text = f"the store's row has {len(row[0])} bytes, more than value_bytes_max"
            return ResultCode.VALUE_TOO_LARGE, text
        if journal_bytes > self._config.journal_bytes_max:
            return ResultCode.OVERLOADED, "the journals are full: the store is behind"
        return None

    def _note(self, places: list[Place], rows: Mapping[bytes, Found | None]) -> None:
        """Remembers what the store does not have."""
        absent, now = self._absent, self._clock.now()
        until = now + self._config.read_through_absent_s
        for place in places:
            if rows[place[2]] is None:
                absent.pop(place, None)
                absent[place] = until
            else:
                self.counts["read_through_found"] += 1
        # They are in the order of their time.
        for place in list(_first(absent, now, self._config.read_through_absent_max)):
            del absent[place]

    def _fail(self, space: str, places: list[Place], error: str) -> None:
        self.counts["read_through_failures"] += 1
        self._away = f"space {space!r} is read through, and the store does not answer: {error}"
        self._not_before = self._clock.now() + self._backoff.next_s()
        log.warning("%d entries cannot be read: %s", len(places), self._away)
        self._end(places, (ResultCode.NOT_READY, self._away))

    def _end(self, places: list[Place], fault: Fault | None) -> None:
        for place in places:
            future = self._waiting.pop(place, None)
            if future is not None and not future.done():
                future.set_result(fault)


def _first(absent: Mapping[Place, float], now: float, most: int) -> Iterator[Place]:
    """Those to forget: whose time is over, and the oldest of more than `most`."""
    over = len(absent) - most
    for index, (place, until) in enumerate(absent.items()):
        if index >= over and until > now:
            return
        yield place


def places_of(batch: OpBatch, spaces: frozenset[str]) -> Iterator[tuple[int, Place]]:
    """What operations look at in these spaces, each with its index, or that of its bulk group
    behind all operations. Nothing of columns that do not fit: the batch is refused as it is."""
    concerned = [name in spaces for name in batch.targets]
    count = len(batch.kinds)
    if any(concerned) and len(batch.partitions) == len(batch.keys) == count:
        index = batch.target_index or [0] * count
        if len(index) == count and max(index, default=0) < len(concerned):
            for at, target in enumerate(index):
                if concerned[target] and batch.kinds[at] in _LOOK:
                    yield at, (batch.partitions[at], batch.targets[target], batch.keys[at])
    bulk = batch.bulk
    if bulk.space in spaces and bulk.kind == kinds.GET and sum(bulk.counts) == len(bulk.keys):
        start = 0
        for group, (number, length) in enumerate(zip(bulk.partitions, bulk.counts, strict=False)):
            for key in bulk.keys[start : start + length]:
                yield count + group, (number, bulk.space, key)
            start += length
