"""A processing unit without its shell: every decision it takes, none of its I/O.

The shell hands in what happened (batches, frames, acknowledgements, table changes, ends of swaps,
ticks) and carries out what comes back: answers in `answers.completed`, frames from `flush`, swaps
from `take_swaps`. Nothing here waits, and time comes from the clock it is given, so that the
simulator can run many units through millions of steps (after etcd-io/raft's RawNode).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter

from tupelo.errors import ResultCode

from tupelo_grid.core.admission import Refusal, not_served
from tupelo_grid.core.answers import Answers, ReadRound
from tupelo_grid.core.antientropy import Auditor
from tupelo_grid.core.backup import Receiver
from tupelo_grid.core.batch import Batch, Pending
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.commands import CommandRunner
from tupelo_grid.core.evaluate import Evaluator
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.link import Link
from tupelo_grid.core.minimums import Minimums
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Peers, Primary
from tupelo_grid.core.records import Record
from tupelo_grid.core.swaps import Swap, SwapResult
from tupelo_grid.core.table import Lease, Versioned

# Partitions that tell their backups in one tick what to forget; they take turns, since what is told
# of each in every tick would cost as much as its writes.
TENDED_MAX = 16


class Unit:
    """One incarnation of a processing unit.

    Attributes:
        me: the incarnation.
        replicas: partitions held, as primary or backup.
        primaries: partitions this unit is primary of, ready or not.
        serving: those it answers for.
        answers: batches whose answers wait, and in `answers.completed` those that may leave; the
            shell empties that.
        loading: partitions this unit is to be primary of once the shell has read them from the
            store and said so by `loaded`.
        lease_until: reads need no confirmation before it.
        audit: compares replicas with their primaries'.
        minimums: how many in-sync replicas a write takes, by space.
        dirty: partitions with records committed since the pump last looked; it empties it.
        behind: says how far the store is behind, and why, when writes are refused for it.
    """

    def __init__(
        self,
        me: str,
        clock: Clock,
        limits: Limits,
        runner: CommandRunner,
        space_ttls: Mapping[str, int],
    ) -> None:
        self.me = me
        self.clock = clock
        self.limits = limits
        self.minimums = Minimums(limits.min_in_sync)
        self.replicas: dict[int, Partition] = {}
        self.epochs: dict[int, int] = {}
        self.configs: dict[int, Versioned] = {}
        self.leases: Mapping[str, Lease] = {}
        self.primaries: dict[int, Primary] = {}
        self.serving: dict[int, Primary] = {}
        self.links: dict[str, Link] = {}
        self.answers = Answers()
        self.dirty: set[int] = set()
        self.behind: Callable[[], str] = lambda: "the store does not have them yet"
        self.lease_until = 0.0
        self.peers_wanted: set[str] = set()
        self._streams = 0
        self._suspended = False
        self._unresolved: dict[int, int] = {}
        self.loading: dict[int, Versioned] = {}
        self._last_tick = clock.now()
        self._turn = 0
        self._store_heard = clock.now()
        self._receiver = Receiver(me, self.replicas, self.epochs, self._step_down)
        self.audit = Auditor(self.primaries, self._receiver, limits, self._last_tick)
        self._evaluator = Evaluator(self.serving, self._refuse, space_ttls, runner, limits, clock)
        self._peers = Peers(self._link, self._silent, [])

    # -- client batches

    def submit(self, batch: Batch) -> Pending:
        """Carries a batch out. The answer may leave at once when it is `done`, else it comes in
        `answers.completed`."""
        pending = Pending(batch)
        waiting = len(self.answers.waiting)
        if waiting >= self.limits.frames_pending_max:
            message = f"{waiting} batches already wait for acknowledgements in this unit"
            pending.refuse_all(ResultCode.OVERLOADED, message)
            return pending
        waits, reads = self._evaluator.run(pending)
        for primary, sequence in waits.items():
            if not primary.need:
                self._advance(primary)
            if primary.partition.commit < sequence:
                primary.waiters.append((sequence, pending))
                pending.waits += 1
        if reads and (batch.strict or self.clock.now() >= self.lease_until):
            for primary in sorted(reads, key=attrgetter("number")):
                self._confirm(primary, pending)
        if pending.waits:
            self.answers.hold(pending)
        return pending

    def _refuse(self, number: int) -> Refusal:
        changing = number in self.primaries
        return not_served(number, self.configs.get(number), number in self.loading, changing)

    def write(self, primary: Primary, record: Record) -> None:
        """Adds a record of the unit's own to a partition that it serves."""
        primary.append(record)
        self._advance(primary)

    # -- confirmed reads

    def _confirm(self, primary: Primary, pending: Pending) -> None:
        """Asks every in-sync replica, after the value was taken, whether our epoch still holds."""
        peers = {progress.link.peer for progress in primary.need}
        if not peers:
            return
        if not all(progress.link.up for progress in primary.need):
            pending.withhold_reads(primary.number)
            return
        one = ReadRound(primary.number, peers, pending)
        pending.waits += 1
        for progress in primary.need:
            progress.link.confirms.append((primary.number, primary.epoch))
            progress.link.rounds.append(one)

    # -- replication

    def receive(self, frame: Frame) -> Ack | None:
        return self._receiver.receive(frame)

    def acknowledged(self, ack: Ack) -> None:
        """An acknowledgement of a stream of ours."""
        link = self.links.get(ack.sender)
        if link is None or ack.stream_id != link.stream_id or not link.up:
            return
        for position in ack.positions:
            primary = self.primaries.get(position.partition)
            if primary is None:
                continue
            if position.epoch > primary.epoch:
                self._step_down(position.partition)
                continue
            progress = primary.progress.get(ack.sender)
            if progress is not None:
                if position.refused:
                    progress.refused()
                else:
                    progress.position(position)
        if ack.reset:
            self.link_up(ack.sender)
            return
        refused = {one.partition for one in ack.positions if one.refused}
        touched = {one.partition for one in ack.positions}
        for sent in link.acknowledged(ack.position, self.clock.now()):
            for carried, generation, sequence in sent.marks:
                if carried.generation == generation and carried.settled(sequence):
                    touched.add(carried.partition)
            for one in sent.rounds:
                self.answers.confirmed_by(one, ack.sender, one.partition in refused)
        for number in touched:
            primary = self.primaries.get(number)
            if primary is not None:
                self._advance(primary)

    def _advance(self, primary: Primary) -> None:
        was_ready = primary.ready
        if not primary.advance():
            return
        self.dirty.add(primary.number)
        waiters = primary.waiters
        if waiters and waiters[0][0] <= primary.partition.commit:
            for pending in primary.take_committed():
                self.answers.complete(pending)
        if primary.ready != was_ready or primary.handing_over or primary.config.learner:
            self._maintain(primary)

    def _maintain(self, primary: Primary) -> None:
        primary.maintain()
        self._show(primary)

    def _show(self, primary: Primary) -> None:
        if primary.serving:
            self.serving[primary.number] = primary
        else:
            self.serving.pop(primary.number, None)

    def link_up(self, peer: str) -> None:
        """A connection to the peer is open: begin a stream and ask where its journals end."""
        link = self._link(peer)
        self._lost_rounds(link)
        self._streams += 1
        link.open(self._streams)
        for primary in self.primaries.values():
            progress = primary.progress.get(peer)
            if progress is not None:
                progress.probe()

    def link_down(self, peer: str) -> None:
        link = self.links.get(peer)
        if link is not None:
            self._lost_rounds(link)
            for primary in self.primaries.values():
                progress = primary.progress.get(peer)
                if progress is not None:
                    progress.reset()

    def _lost_rounds(self, link: Link) -> None:
        for one in link.close():
            self.answers.end_round(one, failed=True)

    def _link(self, peer: str) -> Link:
        link = self.links.get(peer)
        if link is None:
            link = self.links[peer] = Link(self.me, peer, heard=self.clock.now())
        return link

    def _silent(self, peer: str) -> bool:
        lease = self.leases.get(peer)
        if lease is not None and lease.fenced:
            return True
        heard = self._link(peer).heard
        if self.clock.now() - heard <= self.limits.silent_backup_s:
            return False
        # Who hears the store as little as the peer may be deaf itself: what it says would still
        # take healthy replicas out of their sets, and leave a deaf unit as the only member.
        return self._store_heard >= heard

    def flush(self) -> list[Frame]:
        """The frames to send now, at most one a peer."""
        now, frames = self.clock.now(), []
        for link in self.links.values():
            frame = link.flush(now, self.limits.heartbeat_s)
            if frame is not None:
                frames.append(frame)
        return frames

    # -- table, leases, swaps

    def set_leases(self, leases: Mapping[str, Lease]) -> None:
        """The leases as last read; a peer whose lease is fenced counts as silent at once."""
        self.leases = leases
        self._receiver.forget(leases)

    def set_table(self, parts: Mapping[int, Versioned]) -> None:
        """Configurations as read at the state store; older ones than known are passed over."""
        if self._suspended:
            return
        for number, versioned in parts.items():
            known = self.configs.get(number)
            if known is None or known.revision < versioned.revision:
                self.configs[number] = versioned
                self._follow(number, versioned)

    def _follow(self, number: int, versioned: Versioned) -> None:
        config = versioned.config
        known_epoch = self.epochs.get(number, 0)
        primary = self.primaries.get(number)
        if config.epoch < known_epoch and not (primary and primary.epoch == config.epoch):
            # A primary of a later epoch has spoken to us already; the table will follow.
            return
        self.epochs[number] = config.epoch
        if config.primary == self.me:
            if primary is not None and primary.epoch == config.epoch:
                primary.adopt(versioned)
                self._advance(primary)
                self._maintain(primary)
            else:
                self._step_down(number)
                self._become_primary(number, versioned)
            return
        self._step_down(number)
        if self.me in config.in_sync or self.me == config.learner:
            self.replicas.setdefault(number, Partition(number))
        else:
            self._receiver.drop(number, versioned.revision)

    def loaded(self, number: int, partition: Partition) -> None:
        """The store's entries of a partition in `loading`, as a replica that ends at its cursor."""
        versioned = self.loading.pop(number, None)
        if versioned is not None:
            self.replicas[number] = partition
            self._begin(number, versioned)

    def _become_primary(self, number: int, versioned: Versioned) -> None:
        if versioned.config.load:
            self.loading[number] = versioned
        else:
            self._begin(number, versioned)

    def _begin(self, number: int, versioned: Versioned) -> None:
        partition = self.replicas.setdefault(number, Partition(number))
        primary = Primary(self.me, partition, versioned, self._peers, self.minimums)
        self.primaries[number] = primary
        in_doubt = self._unresolved.pop(number, -1) == versioned.revision
        primary.start(in_doubt)
        self.dirty.add(number)
        self._advance(primary)
        self._maintain(primary)

    def _step_down(self, number: int, _higher_epoch: int = 0) -> None:
        primary = self.primaries.pop(number, None)
        self.serving.pop(number, None)
        self.loading.pop(number, None)
        if primary is None:
            return
        if primary.swap is not None:
            self._unresolved[number] = primary.revision
        for pending in primary.give_up():
            self.answers.complete(pending)
        for progress in primary.replicas:
            progress.retire()

    def fenced(self) -> None:
        """The lease was taken away: no role is ours until the table has been read again.

        The table counts as unknown from here on, so that the next reading is acted on in full.
        """
        self.lease_until = 0.0
        self._suspended = True
        for number in [*self.primaries, *self.loading]:
            self._step_down(number)
            self.configs.pop(number, None)

    def renewed(self, lease_until: float) -> None:
        """The lease holds until then. After `fenced`, a table read since must follow."""
        if lease_until > self.lease_until:
            self._store_heard = self.clock.now()
        self.lease_until = lease_until
        self._suspended = False

    def take_swaps(self) -> list[Swap]:
        """Swaps to carry out now."""
        taken = self._peers.swaps[:]
        self._peers.swaps.clear()
        return taken

    def swapped(self, result: SwapResult) -> None:
        """A swap of ours ended, or nobody knows."""
        number = result.swap.partition
        if result.current is not None:
            self.set_table({number: result.current})
        primary = self.primaries.get(number)
        if primary is not None:
            # What comes next is left to the tick: a store that is away must not be asked at once.
            primary.swapped(result)
            self._show(primary)

    # -- time

    def tick(self) -> None:
        """To be called every heartbeat or so: expiry, silent peers, trimming, time-outs."""
        now = self.clock.now()
        if now - self._last_tick > self.limits.silent_backup_s / 2:
            # It was we who were silent; what peers said meanwhile has not been read yet.
            for link in self.links.values():
                link.heard = now
        self._last_tick = now
        now_ms, journal_bytes = self.clock.wall_ms(), 0
        silent = {peer for peer in self.links if self._silent(peer)}
        full = bool(self._evaluator.admission.overloaded)
        primaries = list(self.primaries.values())
        turn, self._turn = self._turn, (self._turn + TENDED_MAX) % max(1, len(primaries))
        for place, primary in enumerate(primaries):
            if primary.serving and primary.partition.deadlines.next_ms <= now_ms:
                self._evaluator.expire(primary, now_ms)
                self._advance(primary)
            if full or (place - turn) % len(primaries) < TENDED_MAX:
                primary.tend(full)
            if silent or not primary.settled:
                self._maintain(primary)
            journal_bytes += primary.partition.journal.bytes
        self._evaluator.admission.watch(journal_bytes, self.behind)
        self.answers.expire(now)
        self.audit.tick(now)
        self._choose_peers()

    def _choose_peers(self) -> None:
        """Links to units that hold nothing of ours any more are forgotten."""
        primaries = self.primaries.values()
        self.peers_wanted = {peer for primary in primaries for peer in primary.progress}
        for peer in [peer for peer in self.links if peer not in self.peers_wanted]:
            self._lost_rounds(self.links.pop(peer))
