"""Anti-entropy: do the backups really hold what the primary holds? They always should.

The primary goes through its partitions, one at a time. In the stream of records it asks the in-sync
backups to remember how the partition looks at a sequence, and does so itself. Everybody hashes what
was remembered, in slices, a slice a tick. The primary then tells its digest; a backup whose own one
differs calls its replica damaged: it refuses what follows, and is sent a fresh snapshot. Until that
has come it keeps what it has, which may be the last copy of something.

To remember a partition is to copy its dictionaries, entries being immutable: 50 ns an entry, so
that what has more than `digest_entries_max` entries is passed over (100,000: 5 ms). A backup that
is not at the sequence asked for, as more has come in between, passes over it too. Both are counted;
the next round tries again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import msgspec
import xxhash

from tupelo_grid.core.backup import Receiver
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.progress import Progress
from tupelo_grid.core.records import Entry

# One slice, about a millisecond.
SLICE_ENTRIES = 1000
SLICE_BYTES = 1024 * 1024
# Remembered results of client operations are hashed in one go, unless there are more.
RESULTS_MAX = 8192

MASK = 0xFFFF_FFFF_FFFF_FFFF


class AuditKind(IntEnum):
    """What a row of a frame's digests says."""

    ASK = 0  # remember the entries as of this sequence
    ASK_ALL = 1  # and the results of client operations
    TELL = 2  # the digest of what was remembered


# (kind, partition, epoch, sequence, digest or 0)
Audit = tuple[int, int, int, int, int]


class Fingerprint:
    """A partition as of one moment, hashed bit by bit. With `results` it is `Partition.digest`."""

    def __init__(self, partition: Partition, results: bool) -> None:
        self.partition = partition
        self.sequence = partition.journal.last
        self.digest: int | None = None
        self._total = 0
        if results:
            sessions = (partition.sessions.evicted_through, partition.sessions.dump())
            self._total = xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(sessions))
        self._rows = self._walk([(name, held.copy()) for name, held in partition.spaces.items()])

    @staticmethod
    def _walk(spaces: list[tuple[str, dict[bytes, Entry]]]) -> Iterator[tuple[int, int]]:
        """(hash, bytes) of every entry."""
        for name, held in spaces:
            seed = xxhash.xxh3_64_intdigest(name.encode())
            for key, entry in held.items():
                line = msgspec.msgpack.encode((key, entry.value, entry.version, entry.deadline_ms))
                yield xxhash.xxh3_64_intdigest(line, seed), len(line)

    def work(self) -> None:
        """One slice; `digest` is there after the last one."""
        if self.digest is not None:
            return
        size = 0
        for count, (value, length) in enumerate(self._rows, 1):
            self._total += value
            size += length
            if count >= SLICE_ENTRIES or size >= SLICE_BYTES:
                return
        self.digest = self._total & MASK


@dataclass(slots=True)
class Asked:
    """What a primary has this unit compare."""

    epoch: int
    mine: Fingerprint
    theirs: int | None = None


@dataclass(slots=True)
class Counts:
    """Attributes:
    compared: digests of ours, as a backup, that were compared.
    mismatches: those that differed.
    skipped: partitions too large, or not at the sequence asked for.
    """

    compared: int = 0
    mismatches: int = 0
    skipped: int = 0

    def named(self) -> dict[str, int]:
        """As `tupelo status` shows them."""
        return {
            "digests_compared": self.compared,
            "digest_mismatches": self.mismatches,
            "digests_skipped": self.skipped,
        }


class Auditor:
    """Both sides of it, in one unit.

    Attributes:
        found: (partition, sequence, sender) of each mismatch, for the shell to report and empty.

    Args:
        primaries: those of this unit.
        receiver: of its backups; hands in what primaries ask and tell.
    """

    def __init__(
        self,
        primaries: Mapping[int, Primary],
        receiver: Receiver,
        limits: Limits,
        now: float,
    ) -> None:
        self.counts = Counts()
        self.found: list[tuple[int, int, str]] = []
        self._primaries = primaries
        self._receiver = receiver
        receiver.audit = self.take
        self._limits = limits
        self._due = now + limits.digest_interval_s
        self._round: list[int] = []
        self._own: Fingerprint | None = None
        self._peers: list[tuple[Progress, int]] = []
        self._epoch = 0
        self._asked: dict[str, Asked] = {}

    def tick(self, now: float) -> None:
        """One slice for each side."""
        self._work_for_others()
        if self._own is not None:
            self._own.work()
            if self._own.digest is not None:
                self._tell(self._own, self._own.digest)
                self._own = None
            return
        if not self._round and now >= self._due:
            self._due = now + self._limits.digest_interval_s
            self._round = sorted(self._primaries, reverse=True)
        while self._round and self._own is None:
            primary = self._primaries.get(self._round.pop())
            if primary is not None:
                self._ask(primary)

    # -- the primary's side

    def _ask(self, primary: Primary) -> None:
        partition = primary.partition
        ready = primary.serving and primary.need and all(one.streaming for one in primary.need)
        if not ready or partition.entries() > self._limits.digest_entries_max:
            self.counts.skipped += bool(ready)
            return
        remembered = sum(len(state.results) for state in partition.sessions.states.values())
        results = remembered <= RESULTS_MAX
        self._own = Fingerprint(partition, results)
        self._epoch = primary.epoch
        self._peers = [(progress, progress.generation) for progress in primary.need]
        kind = AuditKind.ASK_ALL if results else AuditKind.ASK
        for progress in primary.need:
            audit = (int(kind), primary.number, primary.epoch, self._own.sequence, 0)
            progress.link.audits.append(audit)

    def _tell(self, own: Fingerprint, digest: int) -> None:
        number = own.partition.number
        for progress, generation in self._peers:
            if progress.generation == generation and progress.streaming:
                audit = (int(AuditKind.TELL), number, self._epoch, own.sequence, digest)
                progress.link.audits.append(audit)
        self._peers = []

    # -- the backup's side

    def take(self, sender: str, partition: Partition, audit: Audit) -> None:
        """From a stream in which the partition's journals have met. One at a time a sender."""
        kind, _, epoch, sequence, digest = audit
        if kind != AuditKind.TELL:
            self._asked.pop(sender, None)
            if partition.journal.last == sequence:
                mine = Fingerprint(partition, kind == AuditKind.ASK_ALL)
                self._asked[sender] = Asked(epoch, mine)
            else:
                self.counts.skipped += 1
            return
        asked = self._asked.get(sender)
        if asked is None or asked.mine.partition is not partition:
            return
        if (asked.epoch, asked.mine.sequence) == (epoch, sequence):
            asked.theirs = digest

    def _work_for_others(self) -> None:
        """One slice for the first that needs one; those before it are compared, when told."""
        for sender, asked in list(self._asked.items()):
            mine = asked.mine
            if self._receiver.replicas.get(mine.partition.number) is not mine.partition:
                del self._asked[sender]  # it was dropped or replaced meanwhile
            elif mine.digest is None:
                mine.work()
                return
            elif asked.theirs is not None:
                del self._asked[sender]
                self._compare(sender, asked)

    def _compare(self, sender: str, asked: Asked) -> None:
        mine, number = asked.mine, asked.mine.partition.number
        self.counts.compared += 1
        if mine.digest != asked.theirs:
            self.counts.mismatches += 1
            self.found.append((number, mine.sequence, sender))
            self._receiver.damaged(number, sender)
