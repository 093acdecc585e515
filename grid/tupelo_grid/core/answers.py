"""Batches whose answers may not leave yet, and read rounds they wait for."""

from __future__ import annotations

from tupelo_grid.core.batch import Pending


class ReadRound:
    """A confirmed read of one partition: waits until every in-sync peer has acknowledged, after the
    value was taken, that it knows no newer epoch. `peers`: those still to answer."""

    __slots__ = ("ended", "partition", "peers", "pending")

    def __init__(self, partition: int, peers: set[str], pending: Pending) -> None:
        self.partition = partition
        self.peers = peers
        self.pending = pending
        self.ended = False


class Answers:
    """`waiting`: batches under way with their deadlines; `completed`: answers that may leave."""

    def __init__(self) -> None:
        self.waiting: dict[Pending, float] = {}
        self.completed: list[Pending] = []

    def hold(self, pending: Pending) -> None:
        self.waiting[pending] = pending.batch.deadline

    def release(self, pending: Pending) -> None:
        """One thing less to wait for."""
        pending.waits -= 1
        if not pending.waits:
            self.complete(pending)

    def complete(self, pending: Pending) -> None:
        if self.waiting.pop(pending, None) is not None:
            self.completed.append(pending)

    def end_round(self, one: ReadRound, failed: bool) -> None:
        if one.ended:
            return
        one.ended = True
        if failed:
            one.pending.withhold_reads(one.partition)
        self.release(one.pending)

    def confirmed_by(self, one: ReadRound, peer: str, refused: bool) -> None:
        one.peers.discard(peer)
        if refused:
            self.end_round(one, failed=True)
        elif not one.peers:
            self.end_round(one, failed=False)

    def expire(self, now: float) -> None:
        """Answers batches whose deadline passed: what they wait for is not known."""
        for pending in [one for one, deadline in self.waiting.items() if deadline <= now]:
            for partition in pending.partitions():
                pending.give_up(partition)
            self.complete(pending)
