"""Journals that outgrow their bound while the store is away: the oldest records go to files. Pure.

The shell calls `tick` with each of the unit's, does what `take_reads`, `take_deletes` and `collect`
say, off its loop, and tells how it ended:

    collect       -> writes, none of which is in a file before `written`: until then memory keeps
                    the records. Those of this unit's own journals are cut where they are committed
                    and nobody is being sent them; those of a primary's tail, for a copy that this
                    unit is to become, come as they are.
    take_reads    -> extents for the pump, decoded, and for learners, as they are
    take_deletes  -> files of which the store has everything, or whose replica is gone

Files mean nothing to a later process: what they hold is what memory held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tupelo_grid.core.journal import record_bytes
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.records import Record
from tupelo_grid.core.tail import Extent, Ready, Tail

# What an extent takes in memory, which its last record may exceed.
EXTENT_BYTES = 512 * 1024
# Of one batch of writes.
EXTENTS_AT_A_TIME = 4
# Above this share of their bound journals are spilled, until they are below that one.
START: Final = 0.75
STOP: Final = 0.5
# Of a primary's tail, received and in no file yet: above it the primary is asked to wait.
INCOMING_BYTES_MAX = 4 * 1024 * 1024
# Of extents read for the pump, as they count in memory. One may always be.
READ_BYTES_MAX = 16 * 1024 * 1024
# What the pump did not ask for in so many ticks makes room for others.
IDLE_TICKS: Final = 10

NONE: Final[Sequence[int]] = ()


@dataclass(slots=True, eq=False)
class Write:
    """An extent to be put into a file. `held`: whose journal has its `records`; None: they are the
    extent's payload."""

    extent: Extent
    held: Partition | None = None
    records: Sequence[Record] = ()


@dataclass(slots=True, eq=False)
class Read:
    """An extent to be read. `ready`: for a learner, as it is; None: for the pump, decoded."""

    extent: Extent
    ready: Ready | None = None


class Spill:
    """The tails of all replicas of one unit, and of those it is being sent.

    Args:
        replicas: those of the unit.
        arriving: the tails that come with snapshots which are not complete.
        bytes_max: of all files.

    Attributes:
        spaces: those whose writes are taken although the journals are full.
        failed: what the disk said when it last took nothing; "" when it does.
        bytes: of all files.
        damaged: why extents cannot be read.
        wake: called when there is something to do.
    """

    def __init__(
        self,
        replicas: Mapping[int, Partition],
        arriving: Callable[[], Iterable[Tail]],
        bytes_max: int,
    ) -> None:
        self.spaces: Collection[str] = frozenset()
        self.failed = ""
        self.bytes = 0
        self.bytes_max = bytes_max
        self.damaged: dict[Extent, str] = {}
        self.wake: Callable[[], None] = lambda: None
        self._replicas = replicas
        self._primaries: Mapping[int, Primary] = {}
        self._arriving = arriving
        self._tails: dict[Tail, None] = {}
        self._due: dict[int, tuple[Partition, int]] = {}
        self._queue: deque[Extent] = deque()
        self._incoming: dict[Extent, int] = {}
        self._reads: list[Read] = []
        self._again: list[Read] = []
        self._wanted: dict[Extent, None] = {}
        self._read: dict[Extent, list[Record]] = {}
        self._used: dict[Extent, int] = {}
        self._deletes: list[int] = []
        self._ticks = 0

    @property
    def trouble(self) -> str:
        """Why nothing more goes to files; "" when it does."""
        if self.failed or self.bytes < self.bytes_max:
            return self.failed
        return f"{self.bytes} bytes are spilled already, spill_bytes_max={self.bytes_max}"

    @property
    def idle(self) -> bool:
        """Nothing was spilled, and nothing may be."""
        return not self._tails and not self.spaces

    @property
    def records_held(self) -> int:
        """Records in files, of all replicas."""
        tails = [held.spilled for held in self._replicas.values() if held.spilled is not None]
        return sum(tail.through - tail.after for tail in tails if tail.extents)

    # -- time

    def tick(self, primaries: Mapping[int, Primary], bound: int) -> None:
        """Lets go what is stored, and says what is to be spilled of journals above `bound`: those
        of the primaries together, and those of the backups together."""
        self._ticks += 1
        self._primaries = primaries
        self._sweep()
        mine: list[tuple[Partition, int]] = []
        others: list[tuple[Partition, int]] = []
        for number, held in self._replicas.items():
            primary = primaries.get(number)
            floor = _floor(held, primary)
            if held.spilled is not None:
                self._let_go(held, floor)
            (others if primary is None else mine).append((held, floor))
        self._due.clear()
        if self.spaces:
            self._plan(mine, bound)
            self._plan(others, bound)
        if self._ticks % IDLE_TICKS == 0 and self._again:
            self._reads += self._again
            self._again = []
        if self._due or self._reads or self._deletes or self._queue:
            self.wake()

    def _let_go(self, held: Partition, floor: int) -> None:
        tail = held.spilled
        assert tail is not None
        for extent in tail.forget(held.persisted):
            self._release(extent)
        if tail.extents:
            _trim(held, tail, floor)
        else:
            held.spilled = None
            self._tails.pop(tail, None)

    def _sweep(self) -> None:
        """Tails whose replica was dropped or replaced, or whose snapshot was broken off."""
        if not self._tails:
            return
        alive = {held.spilled for held in self._replicas.values()} | set(self._arriving())
        for tail in [tail for tail in self._tails if tail not in alive]:
            del self._tails[tail]
            for extent in tail.extents:
                self._release(extent)

    def _plan(self, replicas: list[tuple[Partition, int]], bound: int) -> None:
        """The largest journals first, so that the files are few."""
        total = sum(held.journal.bytes for held, _ in replicas)
        if total <= START * bound:
            return
        for held, floor in sorted(replicas, key=lambda one: one[0].journal.bytes, reverse=True):
            if total <= STOP * bound:
                return
            self._due[held.number] = (held, floor)
            total -= held.journal.bytes

    def _release(self, extent: Extent) -> None:
        extent.gone = True
        extent.payload = None
        self._incoming.pop(extent, None)
        self.damaged.pop(extent, None)
        self._read.pop(extent, None)
        self._used.pop(extent, None)
        if extent.file:
            self._deletes.append(extent.file)
            self.bytes -= extent.file_bytes

    # -- to files

    def collect(self) -> list[Write]:
        """What is to be written now; only when no batch is under way."""
        writes: list[Write] = []
        if self.bytes >= self.bytes_max:
            return writes
        while self._queue and len(writes) < EXTENTS_AT_A_TIME:
            extent = self._queue.popleft()
            if not extent.gone:
                writes.append(Write(extent))
        for number, (held, floor) in list(self._due.items()):
            after = _start(held)
            while len(writes) < EXTENTS_AT_A_TIME:
                write = _cut(held, after, floor)
                if write is None:
                    del self._due[number]
                    break
                writes.append(write)
                after = write.extent.through
        return writes

    def written(self, write: Write, file: int, file_bytes: int) -> None:
        """The file holds the extent: memory need not any more."""
        extent, held = write.extent, write.held
        self.failed = ""
        self.bytes += file_bytes
        extent.file, extent.file_bytes, extent.payload = file, file_bytes, None
        self._incoming.pop(extent, None)
        if extent.gone:
            self._release(extent)
        elif held is not None:
            self._keep(held, extent)

    def _keep(self, held: Partition, extent: Extent) -> None:
        if self._replicas.get(held.number) is not held or extent.through <= held.persisted:
            self._release(extent)
            return
        if held.spilled is None:
            held.spilled = self.begin()
        for gone in held.spilled.forget(held.persisted):
            self._release(gone)
        held.spilled.add(extent)
        # Bit by bit, as files are written: to free very many records takes long.
        _trim(held, held.spilled, _floor(held, self._primaries.get(held.number)))

    def not_written(self, writes: Iterable[Write], error: str) -> None:
        """The disk took none of them. They are tried again when somebody calls `collect`."""
        self.failed = error
        self._queue.extendleft(
            write.extent for write in reversed(list(writes)) if write.held is None
        )

    def take_deletes(self) -> list[int]:
        """Files to remove."""
        taken, self._deletes = self._deletes, []
        return taken

    # -- from files

    def records(self, extent: Extent, following: Extent | None) -> Sequence[Record]:
        found = self._read.get(extent)
        if found is None:
            self._want(extent, READ_BYTES_MAX)
            return ()
        self._used[extent] = self._ticks
        if following is not None and following not in self._read:
            self._want(following, READ_BYTES_MAX // 2)
        return found

    def _want(self, extent: Extent, room: int) -> None:
        if extent in self._wanted:
            return
        there = [*self._read, *self._wanted]
        total = sum(one.size for one in there) + extent.size
        for one in list(self._read):
            if total <= room:
                break
            if self._ticks - self._used.get(one, 0) > IDLE_TICKS:
                total -= one.size
                del self._read[one]
                self._used.pop(one, None)
        if total <= room or not (self._read or self._wanted):
            self._wanted[extent] = None
            self._reads.append(Read(extent))
            self.wake()

    def fetch(self, extent: Extent, ready: Ready) -> None:
        self._reads.append(Read(extent, ready))
        self.wake()

    def take_reads(self) -> list[Read]:
        """Extents to read, from their payload or else their file."""
        taken, self._reads = self._reads, []
        for read in taken:
            if read.extent.gone:
                self._gone(read)
        return [read for read in taken if not read.extent.gone]

    def _gone(self, read: Read) -> None:
        self._wanted.pop(read.extent, None)
        if read.ready is not None:
            read.ready(None)

    def fetched(self, read: Read, payload: bytes) -> None:
        """A learner's extent was read."""
        assert read.ready is not None
        self.damaged.pop(read.extent, None)
        read.ready(None if read.extent.gone else payload)

    def decoded(self, read: Read, records: list[Record]) -> None:
        """The pump's extent was read."""
        extent = read.extent
        self._wanted.pop(extent, None)
        self.damaged.pop(extent, None)
        if not extent.gone:
            self._read[extent] = records
            self._used[extent] = self._ticks

    def not_read(self, read: Read, error: str) -> None:
        """It is tried again after a while; until then nobody goes past it."""
        if read.extent.gone:
            self._gone(read)
        else:
            self.damaged[read.extent] = error
            self._again.append(read)

    # -- tails of others

    def begin(self) -> Tail:
        """A new tail, also for a snapshot that arrives with one."""
        tail = Tail(self)
        self._tails[tail] = None
        return tail

    def receive(self, number: int, tail: Tail, extent: Extent) -> bool:
        """An extent of a primary's tail. False: it does not follow those before."""
        if extent.after < tail.through or extent.through <= extent.after or extent.size < 0:
            return False
        if extent.after > tail.through:
            # The store has what is left out, and everything before it.
            for one in tail.forget(tail.through):
                self._release(one)
        tail.add(extent)
        self._queue.append(extent)
        self._incoming[extent] = number
        self.wake()
        return True

    @property
    def paused(self) -> Sequence[int]:
        """Partitions of which no more is taken in for the moment."""
        if not self._incoming:
            return NONE
        total = sum(extent.size for extent in self._incoming)
        if total > INCOMING_BYTES_MAX or self.trouble:
            return sorted(set(self._incoming.values()))
        return NONE


def _floor(held: Partition, primary: Primary | None) -> int:
    """Records behind it stay in memory: not committed, or being sent to somebody."""
    floor = held.commit
    if primary is not None:
        for progress in primary.progress.values():
            if progress.hold is not None:
                floor = min(floor, progress.hold)
    return floor


def _trim(held: Partition, tail: Tail, floor: int) -> None:
    """Memory lets go of what is in files."""
    journal, through = held.journal, min(tail.through, floor)
    if through > journal.base:
        known = None
        if journal.base >= tail.after:
            known = min(journal.bytes, tail.size_between(journal.base, through))
        journal.trim(through, at_once=True, size=known)


def _start(held: Partition) -> int:
    """Behind what is in files; where the store has all of that, behind what the store has."""
    after = max(held.journal.base, held.persisted)
    return max(after, held.spilled.through) if held.spilled is not None else after


def _cut(held: Partition, after: int, floor: int) -> Write | None:
    """An extent of the journal's records behind `after`; None when there are none."""
    if after >= floor:
        return None
    records: list[Record] = []
    size, at = 0, after
    while at < floor and size < EXTENT_BYTES:
        some = held.journal.read(at, min(CUT_RECORDS, floor - at))
        for record in some:
            records.append(record)
            size += record_bytes(record)
            at += 1
            if size >= EXTENT_BYTES:
                break
    return Write(Extent(after, at, size), held, records)


# Looked at in one piece.
CUT_RECORDS: Final = 256
