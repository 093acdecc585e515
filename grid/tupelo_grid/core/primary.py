"""The primary of one partition: what it needs to commit, and how its in-sync set changes.

A record is committed when every member of the in-sync set *recorded at the state store* has it, and
the joiner as well while one is being taken in. The set shrinks and grows by compare-and-swap only,
one at a time. See PacificA (Microsoft Research, 2008) for the family of protocols.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from tupelo_grid.core.batch import COPIES_MAX, Pending
from tupelo_grid.core.link import Link
from tupelo_grid.core.minimums import Minimums
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.progress import STREAMING, Phase, Progress
from tupelo_grid.core.records import NOOP, Record, mutations_of
from tupelo_grid.core.swaps import Purpose, Swap, SwapOutcome, SwapResult
from tupelo_grid.core.table import PartitionConfig, Versioned

# So much of the journal is kept for replicas that were cut off for a moment.
JOURNAL_KEEP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Peers:
    """What the primary knows of other units, and where it leaves its wishes.

    Attributes:
        link: the stream to a peer, made when first asked for.
        silent: whether nothing was heard of a peer for too long, or its lease is fenced.
        swaps: changes of configuration to be asked of the state store.
        durable: up to where a replica is on this unit's disk; None: nothing waits for a disk.
    """

    link: Callable[[str], Link]
    silent: Callable[[str], bool]
    swaps: list[Swap]
    durable: Callable[[Partition], int] | None = None


class Primary:
    """One partition's primary.

    Attributes:
        ready: the first record of this epoch is committed; before that nothing is answered.
        handing_over: a hand-over was or will be asked for: nothing is answered until its end is
            known.
        need: replicas whose acknowledgement a commit takes, besides our own.
        replicas: all that are sent records as soon as they are streaming.
        writable: the in-sync set is large enough to take writes of every space.
        minimums: how large it must be for which.
        joiner: a learner that counts already, while the store may not know it.
        doubt: the end of `swap` is not known.
        told: commit and persisted sequences that the backups were last told.
    """

    __slots__ = (
        "config",
        "copies",
        "doubt",
        "epoch",
        "handing_over",
        "joiner",
        "me",
        "minimums",
        "need",
        "noop",
        "number",
        "partition",
        "peers",
        "progress",
        "ready",
        "replicas",
        "revision",
        "swap",
        "told",
        "waiters",
        "writable",
    )

    def __init__(
        self,
        me: str,
        partition: Partition,
        versioned: Versioned,
        peers: Peers,
        minimums: Minimums,
    ) -> None:
        self.me = me
        self.partition = partition
        self.number = partition.number
        self.config = versioned.config
        self.revision = versioned.revision
        self.epoch = versioned.config.epoch
        self.peers = peers
        self.minimums = minimums
        self.ready = False
        self.handing_over = False
        self.joiner = ""
        self.swap: Swap | None = None
        self.doubt = False
        self.progress: dict[str, Progress] = {}
        self.replicas: tuple[Progress, ...] = ()
        self.need: tuple[Progress, ...] = ()
        self.copies = 1
        self.writable = False
        self.told = (-1, -1)
        self.waiters: deque[tuple[int, Pending]] = deque()
        self.noop = 0

    def start(self, in_doubt: bool) -> None:
        """Begins recovery. The whole journal is kept: some of it may be acknowledged.

        `in_doubt`: an earlier life of this role left a swap whose end it did not see.
        """
        self._follow_members()
        self.noop = self.append((NOOP, 0, 0, 0, None, ()))
        if in_doubt:
            self._ask(self.config, Purpose.RESOLVE)
            self.doubt = True
        self.advance()

    @property
    def settled(self) -> bool:
        """Nothing is under way or asked for; `maintain` has work only where a peer is silent."""
        config = self.config
        return (
            self.ready
            and self.swap is None
            and not (config.learner or config.leaving or config.next_primary or config.load)
            and all(progress.phase is STREAMING for progress in self.replicas)
        )

    @property
    def serving(self) -> bool:
        return self.ready and not self.handing_over

    def append(self, record: Record) -> int:
        """Adds a record and sends it to everyone who is up to date."""
        journal = self.partition.journal
        before = journal.bytes
        sequence = self.partition.append(record, self.epoch)
        size = journal.bytes - before
        for progress in self.replicas:
            if progress.phase is STREAMING:
                link = progress.link
                link.carried.append(progress)
                link.sequences.append(sequence)
                link.records.append(record)
                link.records_bytes += size
                progress.sent = sequence
        return sequence

    # -- commit

    def advance(self) -> bool:
        """Commits what everybody has. True: the commit rose, or the role became ready."""
        if self.doubt and not self.ready:
            return False
        partition, durable = self.partition, self.peers.durable
        commit = partition.journal.last if durable is None else durable(partition)
        for progress in self.need:
            if progress.acked < commit:
                commit = progress.acked
        if commit <= partition.commit:
            return False
        partition.advance_commit(commit)
        if not self.ready:
            self._look_ready()
        return True

    def _look_ready(self) -> None:
        """Nothing is answered before the first record of this epoch is committed, nor while a
        successor would load the partition from the store again and lose what we acknowledged."""
        if self.partition.commit >= self.noop and not self.config.load:
            self.ready = True

    def take_committed(self) -> list[Pending]:
        """Batches whose last wait this was."""
        waiters, commit = self.waiters, self.partition.commit
        done = []
        while waiters and waiters[0][0] <= commit:
            pending = waiters.popleft()[1]
            if not self.writable:
                # The set shrank while it waited: it is committed, with too few copies to say so.
                pending.too_few(self.number, self.short_of)
            pending.waits -= 1
            if not pending.waits:
                done.append(pending)
        return done

    def short_of(self, space: str, sequence: int) -> str:
        """Why a write of that space, which is `sequence`, has too few copies to be called done; ""
        when it has enough. "": of a command, which takes what the spaces take that it wrote to."""
        if self.writable:
            return ""
        minimums, journal = self.minimums, self.partition.journal
        if space:
            want = minimums.of(space)
        elif not sequence:  # it changed nothing
            want = minimums.grid
        elif sequence > journal.base:
            changes = mutations_of(journal.at(sequence))
            want = minimums.of_all(mutation[0] for mutation in changes)
        else:  # what it wrote is not known any more
            want = minimums.most
        have = len(self.config.in_sync)
        if have >= want:
            return ""
        return (
            f"partition {self.number} has {have} of the {want} in-sync replicas that this write "
            "takes: it is written, and may yet be lost; a retry is answered when there are enough"
        )

    def give_up(self) -> list[Pending]:
        """The role is over: what waits can no longer be told. Returns the batches that are done."""
        done = []
        while self.waiters:
            pending = self.waiters.popleft()[1]
            pending.give_up(self.number)
            pending.waits -= 1
            if not pending.waits:
                done.append(pending)
        return done

    # -- members

    def adopt(self, versioned: Versioned) -> None:
        """A newer configuration of this same epoch: any swap of ours is settled by it."""
        self.config = versioned.config
        self.revision = versioned.revision
        for progress in self.replicas:
            progress.revision = self.revision
        self.swap, self.doubt, self.handing_over = None, False, False
        if self.joiner and (
            self.joiner in self.config.in_sync or self.joiner != self.config.learner
        ):
            self.joiner = ""
        self._follow_members()
        self._look_ready()

    def _follow_members(self) -> None:
        config = self.config
        wanted = [peer for peer in (*config.in_sync, config.learner) if peer and peer != self.me]
        for peer in [peer for peer in self.progress if peer not in wanted]:
            self.progress.pop(peer).retire()
        for peer in wanted:
            if peer not in self.progress:
                added = Progress(self.partition, self.epoch, self.revision, self.peers.link(peer))
                self.progress[peer] = added
                added.probe()
        self.recount()

    def recount(self) -> None:
        """After any change of members, of a member's phase, or of what spaces want."""
        needed = [peer for peer in self.config.in_sync if peer != self.me]
        if self.joiner and self.joiner not in needed:
            needed.append(self.joiner)
        self.need = tuple([self.progress[peer] for peer in needed])
        self.replicas = tuple(self.progress.values())
        self.writable = len(self.config.in_sync) >= self.minimums.most
        copies = min(len(self.need) + 1, COPIES_MAX)
        if copies != self.copies:
            self.copies = copies
            for _, pending in self.waiters:
                pending.set_copies(self.number, copies)

    def journal_floor(self) -> int:
        """The journal must keep everything after it."""
        floor = min(self.partition.commit, self.partition.persisted)
        for progress in self.progress.values():
            if progress.hold is not None:
                floor = min(floor, progress.hold)
        return floor

    def tend(self, full: bool = False) -> None:
        """Now and then: tells the backups what they may forget, and forgets it here. `full`: there
        is no room, so nothing is kept for replicas that might want it."""
        partition = self.partition
        partition.deadlines.shrink(partition.spaces)
        told = (partition.commit, partition.persisted)
        if self.told != told:
            self.told = told
            for progress in self.replicas:
                if progress.streaming:
                    progress.link.commits.append((self.number, self.epoch, *told))
        if full:
            for progress in self.replicas:
                progress.let_go()
        if full or partition.journal.bytes > JOURNAL_KEEP_BYTES:
            partition.journal.trim(self.journal_floor())

    # -- changes of the in-sync set

    def maintain(self) -> None:
        """Asks for the most pressing change, if none is under way."""
        if self.swap is not None:
            if self.doubt:
                self._ask(self.config, Purpose.RESOLVE)
            return
        for progress in self.replicas:
            quiet = not progress.link.in_flight and not progress.link.probes
            if progress.phase in (Phase.IDLE, Phase.PROBING) and quiet:
                progress.probe()
        self.handing_over = False
        config = self.config
        for peer in config.in_sync:
            if peer != self.me and self.peers.silent(peer):
                self._ask(_without(config, peer), Purpose.SHRINK)
                return
        if config.load and self.partition.commit >= self.noop:
            self._ask(replace(config, load=False), Purpose.LOADED)
        elif config.learner:
            self._bring_in(config)
        elif config.leaving in config.in_sync and config.leaving != self.me:
            self._ask(_without(config, config.leaving), Purpose.LEAVE)
        elif self.ready and config.next_primary in config.in_sync:
            self._hand_over(config)

    def _bring_in(self, config: PartitionConfig) -> None:
        learner = config.learner
        if self.peers.silent(learner):
            self.joiner = ""
            self.recount()
            self._ask(replace(config, learner=""), Purpose.DROP_LEARNER)
            return
        progress = self.progress.get(learner)
        if progress is None or not progress.streaming or not self.ready:
            return
        if progress.acked < self.partition.commit or progress.acked < self.noop:
            return
        if progress.probed != self.revision:
            # It may have dropped its data by a table between that revision and ours.
            progress.probe()
            return
        # It counts from here on, before the store knows: a growth in doubt must be safe both ways.
        self.joiner = learner
        self.recount()
        grown = replace(config, learner="", in_sync=(*config.in_sync, learner))
        self._ask(grown, Purpose.GROW, lease_guard=learner)

    def _hand_over(self, config: PartitionConfig) -> None:
        target = config.next_primary
        if target == self.me or not self.progress[target].streaming or self.peers.silent(target):
            return
        # First stop answering, then ask: the target may serve before we hear of it.
        self.handing_over = True
        if self.waiters:
            return
        handed = replace(config, epoch=config.epoch + 1, primary=target, next_primary="")
        self._ask(handed, Purpose.HAND_OVER, lease_guard=target)

    def _ask(self, config: PartitionConfig, purpose: Purpose, lease_guard: str = "") -> None:
        self.swap = Swap(self.number, self.revision, config, purpose, lease_guard)
        self.peers.swaps.append(self.swap)

    def swapped(self, result: SwapResult) -> None:
        """The end of a swap that did not change the revision. WON comes as a new configuration."""
        if self.swap is None or result.swap.revision != self.revision:
            return
        if result.outcome is SwapOutcome.IN_DOUBT:
            self.doubt = True
        elif result.outcome is SwapOutcome.LOST and not self.doubt:
            self.swap, self.handing_over = None, False


def _without(config: PartitionConfig, peer: str) -> PartitionConfig:
    return replace(
        config,
        in_sync=tuple([one for one in config.in_sync if one != peer]),
        leaving="" if config.leaving == peer else config.leaving,
        next_primary="" if config.next_primary == peer else config.next_primary,
    )
