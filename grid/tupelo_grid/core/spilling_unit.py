"""A unit whose journals may go to files while the store is away; see core.spill. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tupelo_grid.core.clock import Clock
from tupelo_grid.core.commands import CommandRunner
from tupelo_grid.core.frames import Ack
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.spill import Spill
from tupelo_grid.core.unit import Unit


class SpillingUnit(Unit):
    """Takes writes of spaces that spill while the journals are full, and bounds the memory of its
    backups' journals by itself.

    Attributes:
        spill: the files; its `spaces` are kept fresh by their owner. Without any, nothing here is
            different from a Unit.
    """

    def __init__(
        self,
        me: str,
        clock: Clock,
        limits: Limits,
        runner: CommandRunner,
        space_ttls: Mapping[str, int],
        spill_bytes_max: int,
    ) -> None:
        super().__init__(me, clock, limits, runner, space_ttls)
        self.spill = Spill(self.replicas, self._receiver.arriving, spill_bytes_max)
        self._receiver.spill = self.spill

    def tick(self) -> None:
        super().tick()
        spill = self.spill
        if spill.idle:
            return
        spill.tick(self.primaries, self.limits.journal_bytes_max)
        for primary in self.primaries.values():
            for progress in primary.replicas:
                progress.go_on()
        mine = others = spilled = 0
        for number, held in self.replicas.items():
            if number not in self.primaries:
                others += held.journal.bytes
                continue
            mine += held.journal.bytes
            if held.spilled is not None:
                spilled += held.spilled.size
        self._watch(mine, spilled)
        self._receiver.trouble = self._say(others) if spill.spaces else ""

    def _watch(self, mine: int, spilled: int) -> None:
        """What is in files counts for the spaces that do not spill. The others are stopped by what
        could not be put there."""
        admission, bound = self._evaluator.admission, self.limits.journal_bytes_max
        admission.spilled = ()
        if mine + spilled <= bound:
            return
        trouble = self.spill.trouble or self._troubled_peer()
        if spilled:
            admission.overloaded = (
                f"the journals hold {mine + spilled} bytes, {spilled} of them in files, more than "
                f"journal_bytes_max={bound}: {self.behind()}; writes go on when it has caught up"
            )
        if trouble:
            admission.overloaded += f"; no more goes to files: {trouble}"
        elif mine <= bound:
            admission.spilled = self.spill.spaces

    def _troubled_peer(self) -> str:
        needed = [progress.link for one in self.primaries.values() for progress in one.need]
        return next((link.trouble for link in needed if link.trouble), "")

    def _say(self, size: int) -> str:
        """What primaries are told of our backups' journals; "" when there is room."""
        bound = self.limits.journal_bytes_max
        if size <= bound:
            return ""
        why = self.spill.trouble or "they are being written to files"
        return (
            f"the journals of the backups of {self.me} hold {size} bytes, more than "
            f"journal_bytes_max={bound}: {why}"
        )

    def acknowledged(self, ack: Ack) -> None:
        super().acknowledged(ack)
        link = self.links.get(ack.sender)
        if link is None or ack.stream_id != link.stream_id or not link.up:
            return
        before, link.paused, link.trouble = link.paused, ack.paused, ack.trouble
        for number in before:
            if number not in ack.paused:
                primary = self.primaries.get(number)
                progress = primary.progress.get(ack.sender) if primary is not None else None
                if progress is not None:
                    progress.go_on()
