"""The disk as one more cursor of the journals: what is to be written, and what is safe there. Pure.

A unit with `durability = "disk"` writes all of its replicas into one series of blocks. What is to
be written is found by comparing each journal with a mark that says how far it was written, so
nothing is done where records are made:

    collect      -> a batch: the records behind the marks, and snapshots of replicas that do not
                    continue what was written (replaced, cut back, trimmed beyond the mark)
    the shell writes and syncs the batch, one at a time
    done(batch)  -> the marks are durable: commits may rise, acknowledgements may leave

A primary's commit waits for its own disk as it waits for a backup (`durable`), and a backup's
acknowledgement is held until everything in memory at that moment is on its disk (`hold`). So a
record that is acknowledged to a client is on the disks of the whole in-sync set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from tupelo_grid.core.disk_format import (
    BLOCK_BYTES,
    Chunk,
    Drop,
    Item,
    Records,
    encode_item,
    join_items,
    pieces,
)
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import stored
from tupelo_grid.core.snapshot import Snapshot

Answer = Callable[[], None]


@dataclass(slots=True)
class Mark:
    """How far a replica was handed to the writer, and how far it is safe on disk. `last` is -1
    before the first time."""

    held: Partition
    last: int = 0
    epoch: int = 0
    durable: int = 0
    durable_epoch: int = 0


@dataclass(slots=True)
class Whole:
    """A replica to be written anew; encoded bit by bit by whoever writes it."""

    partition: int
    snapshot: Snapshot

    def chunks(self, snapshot_id: int) -> Iterator[Chunk]:
        ahead = self.snapshot.chunks()
        body, index = next(ahead), 0
        for following in ahead:
            yield Chunk(self.partition, snapshot_id, index, False, body)
            body, index = following, index + 1
        yield Chunk(self.partition, snapshot_id, index, True, body)


@dataclass(slots=True)
class Batch:
    """What is written and synced together.

    `wholes` come first. `spare`: those of them that only make room later, with the records to
    write instead where there is no room for them now.
    """

    number: int
    wholes: list[Whole] = field(default_factory=list)
    spare: dict[int, Records | None] = field(default_factory=dict)
    records: list[Records] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    ends: list[tuple[Mark, int, int]] = field(default_factory=list)

    def leave_out_spare(self) -> None:
        self.wholes = [one for one in self.wholes if one.partition not in self.spare]
        self.records += [records for records in self.spare.values() if records is not None]
        self.spare.clear()

    def payloads(self) -> Iterator[tuple[list[Item], bytes]]:
        """Of one block each: the items, and their bytes."""
        items: list[Item] = []
        encoded: list[bytes] = []
        size = 0
        for item in self._items():
            items.append(item)
            encoded.append(encode_item(item))
            size += len(encoded[-1])
            if size >= BLOCK_BYTES:
                yield items, join_items(encoded)
                items, encoded, size = [], [], 0
        if items:
            yield items, join_items(encoded)

    def _items(self) -> Iterator[Item]:
        """A snapshot's number is that of its batch, so that the pieces of one that was never
        finished are told from those of the next."""
        yield from self.drops
        for whole in self.wholes:
            yield from whole.chunks(self.number)
        for records in self.records:
            yield from pieces(records)


class Disk:
    """Marks of all replicas of one unit.

    Attributes:
        replicas: those of the unit.
        recovered: replicas read from the disk that no table names this incarnation for yet; they
            stay on disk.
        trouble: why nothing more is taken in at the moment; "" when it is.
    """

    def __init__(
        self, replicas: Mapping[int, Partition], recovered: Mapping[int, Partition]
    ) -> None:
        self.replicas = replicas
        self.recovered = recovered
        self.trouble = ""
        self._marks: dict[int, Mark] = {number: _safe(held) for number, held in recovered.items()}
        self._batches = 0
        self._held: deque[tuple[int, Answer]] = deque()

    # -- cursors

    def durable(self, held: Partition) -> int:
        """Up to where this very replica is safe on disk."""
        mark = self._marks.get(held.number)
        if mark is None or mark.held is not held:
            return 0
        journal, durable = held.journal, mark.durable
        if durable > journal.last or journal.epoch_at(durable) != mark.durable_epoch:
            return 0  # cut back since; it is written anew by the next batch
        return durable

    def hold(self, answer: Answer) -> None:
        """Calls it when everything that is in memory now is on disk."""
        self._held.append((self._batches + 1, answer))

    # -- batches

    def collect(self, due: Collection[int] = ()) -> Batch | None:
        """What is to be written now; only when no batch is under way. None: nothing is.

        `due`: replicas to be written anew, so that older blocks can go.
        """
        batch = Batch(self._batches + 1)
        marks = self._marks
        for number, held in self.replicas.items():
            mark, journal = marks.get(number), held.journal
            if (
                mark is None
                or mark.held is not held
                or journal.last != mark.last
                or journal.last_epoch != mark.epoch
                or number in due
            ):
                self._look(batch, number, held, number in due)
        for number in due:
            waiting = self.recovered.get(number)
            if waiting is not None:
                self._look(batch, number, waiting, True)
        gone = [
            number
            for number in self._marks
            if number not in self.replicas and number not in self.recovered
        ]
        for number in gone:
            del self._marks[number]
            batch.drops.append(Drop(number))
        if not batch.ends and not batch.drops:
            self._release(batch.number)
            return None
        self._batches += 1
        return batch

    def _look(self, batch: Batch, number: int, held: Partition, due: bool) -> None:
        mark, journal = self._marks.get(number), held.journal
        if mark is None or mark.held is not held:
            mark = self._marks[number] = Mark(held, -1)
        records = None
        if _continues(mark, held):
            if journal.last > mark.last:
                records = _after(mark, held)
            if due:
                batch.spare[number] = records
            elif records is None:
                return
        if records is not None and not due:
            batch.records.append(records)
        else:
            batch.wholes.append(Whole(number, Snapshot(held)))
        mark.last, mark.epoch = journal.last, journal.last_epoch
        batch.ends.append((mark, mark.last, mark.epoch))

    def done(self, batch: Batch) -> list[int]:
        """The batch is on disk. Returns the partitions that it took further."""
        for mark, last, epoch in batch.ends:
            mark.durable, mark.durable_epoch = last, epoch
        self._release(batch.number)
        return [mark.held.number for mark, _, _ in batch.ends]

    def _release(self, through: int) -> None:
        held = self._held
        while held and held[0][0] <= through:
            held.popleft()[1]()


def _safe(held: Partition) -> Mark:
    last, epoch = held.journal.last, held.journal.last_epoch
    return Mark(held, last, epoch, last, epoch)


def _continues(mark: Mark, held: Partition) -> bool:
    """What was written is a beginning of what is there. Equal sequence and epoch are one record,
    so the journals need not be compared any further."""
    journal = held.journal
    return journal.base <= mark.last <= journal.last and (journal.epoch_at(mark.last) == mark.epoch)


def _after(mark: Mark, held: Partition) -> Records:
    journal = held.journal
    first = mark.last + 1
    return Records(
        held.number,
        mark.last,
        mark.epoch,
        [(first, journal.epoch_at(first)), *[run for run in journal.runs if run[0] > first]],
        held.commit,
        held.persisted,
        stored(journal.read(mark.last, journal.last - mark.last)),
    )
