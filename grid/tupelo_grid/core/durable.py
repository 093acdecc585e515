"""A unit whose replicas are on its disk as well, and that may begin with what was there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tupelo_grid.core.clock import Clock
from tupelo_grid.core.commands import CommandRunner
from tupelo_grid.core.disk import Disk
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Peers
from tupelo_grid.core.rejoin import Ends, Place, named
from tupelo_grid.core.table import Versioned
from tupelo_grid.core.unit import Unit


class DurableUnit(Unit):
    """Commits and acknowledges what is on its disk; see core.disk.

    Attributes:
        place: whose place it may take.
        recovered: replicas from the disk, until the table names this incarnation for them, or
            nobody whose they were. Until then they are neither served nor replaced: they may be
            the last copy.
    """

    def __init__(
        self,
        place: Place,
        recovered: dict[int, Partition],
        clock: Clock,
        limits: Limits,
        runner: CommandRunner,
        space_ttls: Mapping[str, int],
    ) -> None:
        super().__init__(place.me, clock, limits, runner, space_ttls)
        self.place = place
        self.recovered = recovered
        self.disk = Disk(self.replicas, recovered)
        self._peers = Peers(self._link, self._silent, self._peers.swaps, self.disk.durable)
        self._receiver.withheld = recovered

    def ends(self) -> Ends:
        """Of the replicas that have no place yet."""
        return {
            number: (held.journal.last_epoch, held.journal.last)
            for number, held in self.recovered.items()
        }

    def synced(self, numbers: Iterable[int]) -> None:
        """More of these partitions is on disk."""
        for number in numbers:
            primary = self.primaries.get(number)
            if primary is not None:
                self._advance(primary)

    def tick(self) -> None:
        super().tick()
        if self.disk.trouble:
            self._evaluator.admission.overloaded = self.disk.trouble

    def _follow(self, number: int, versioned: Versioned) -> None:
        if number in self.recovered:
            config = versioned.config
            if self.me in config.in_sync:
                self.replicas[number] = self.recovered.pop(number)
            elif named(config, self.place):
                # Not even as a learner is anything begun beside it: that would be written over it.
                return
            else:
                del self.recovered[number]
        super()._follow(number, versioned)
