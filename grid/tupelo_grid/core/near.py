"""What one client's near cache must forget, read from the journals by a cursor per partition.

Nothing is kept per change: a subscriber that is slow is a cursor that lies further back, and one
that lies too far back, or before what the journal still holds, jumps to the end with a reset, which
tells the client to forget the partition. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tupelo_grid.core.records import Record, mutations_of

# What a key costs in a frame beside its bytes, roughly: its length, version and space.
KEY_OVERHEAD_BYTES: Final = 16


class NearSource(Protocol):
    """The journals of one unit, as near caches follow them."""

    def serving(self) -> Mapping[int, int]:
        """Partition -> epoch of the partitions this unit answers for."""
        ...

    def leased(self) -> bool:
        """Whether nobody else can answer for them at this moment."""
        ...

    def committed(self, partition: int) -> int:
        """Sequence of the newest committed record."""
        ...

    def base(self, partition: int) -> int:
        """Records up to it are no longer held."""
        ...

    def read(self, partition: int, after: int, limit: int) -> Sequence[Record]:
        """At most `limit` committed records that follow `after`, in order."""
        ...


@dataclass(frozen=True, slots=True)
class NearLimits:
    """Records and bytes of keys of one frame, and how far a cursor may lie back."""

    records_max: int
    bytes_max: int
    lag_records_max: int


@dataclass(slots=True)
class NearColumns:
    """A frame as columns; see NearFrame in proto/tupelo/v1/data.proto."""

    echo: int = 0
    partitions: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    through: list[int] = field(default_factory=list)
    resets: bytearray = field(default_factory=bytearray)
    counts: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    space_index: list[int] = field(default_factory=list)

    def section(self, partition: int, epoch: int, after: int, through: int, reset: bool) -> None:
        self.partitions.append(partition)
        self.epochs.append(epoch)
        self.after.append(after)
        self.through.append(through)
        self.resets.append(reset)
        self.counts.append(0)


class NearFeed:
    """One subscription.

    Args:
        spaces: names, in the order the client gave them.
    """

    def __init__(self, source: NearSource, spaces: Sequence[str], limits: NearLimits) -> None:
        self._source = source
        self._limits = limits
        self._spaces = {name: index for index, name in enumerate(spaces)}
        self._cursors: dict[int, tuple[int, int]] = {}  # partition -> epoch, sequence
        self._due: dict[int, None] = {}
        self._ping = 0

    def look(self, partitions: Iterable[int]) -> None:
        """They have something new."""
        self._due.update(dict.fromkeys(partitions))

    def ask(self, ping: int) -> None:
        """The client wants to know how everything stands; the newest question counts."""
        self._ping = max(self._ping, ping)

    def frame(self) -> NearColumns | None:
        """The next frame; None while there is nothing to tell."""
        serving = self._source.serving()
        if self._ping:
            self._due.update(dict.fromkeys(serving))
        columns = NearColumns()
        self._tell_changes(columns, serving)
        if self._ping and not self._due:
            if self._source.leased():
                self._complete(columns, serving)
            self._ping = 0
        return columns if columns.partitions or columns.echo else None

    def _complete(self, columns: NearColumns, serving: Mapping[int, int]) -> None:
        """Every cursor is at its end now: says so of those that had nothing to tell as well."""
        told = set(columns.partitions)
        for partition, epoch in serving.items():
            if partition not in told:
                at = self._cursors[partition][1]
                columns.section(partition, epoch, at, at, False)
        for partition in self._cursors.keys() - serving.keys():
            # The client finds it missing here, and begins anew if it comes back.
            del self._cursors[partition]
        columns.echo = self._ping

    def _tell_changes(self, columns: NearColumns, serving: Mapping[int, int]) -> None:
        records_left, bytes_left = self._limits.records_max, self._limits.bytes_max
        for partition in list(self._due):
            if records_left <= 0 or bytes_left <= 0:
                return
            del self._due[partition]
            epoch = serving.get(partition)
            if epoch is None:
                continue
            known, at = self._cursors.get(partition, (0, 0))
            end = self._source.committed(partition)
            if known != epoch or self._lost(partition, at, end):
                self._reset(columns, partition, epoch, end)
                continue
            if at == end:
                continue
            records = self._source.read(partition, at, min(records_left, end - at))
            records_left -= len(records)
            bytes_left -= self._tell(columns, partition, epoch, at, records)
            if self._cursors[partition][1] < end:
                self._due[partition] = None

    def _lost(self, partition: int, at: int, end: int) -> bool:
        return at < self._source.base(partition) or end - at > self._limits.lag_records_max

    def _reset(self, columns: NearColumns, partition: int, epoch: int, end: int) -> None:
        self._cursors[partition] = (epoch, end)
        columns.section(partition, epoch, end, end, True)

    def _tell(
        self,
        columns: NearColumns,
        partition: int,
        epoch: int,
        at: int,
        records: Sequence[Record],
    ) -> int:
        """A section of these records; returns the bytes it takes."""
        changed: dict[tuple[int, bytes], int] = {}
        spaces = self._spaces
        for version, record in enumerate(records, at + 1):
            for mutation in mutations_of(record):
                index = spaces.get(mutation[0])
                if index is not None:
                    changed[index, mutation[1]] = version
        through = at + len(records)
        size = sum([len(key) for _, key in changed]) + KEY_OVERHEAD_BYTES * len(changed)
        if size > self._limits.bytes_max:
            self._reset(columns, partition, epoch, through)
            return 0
        self._cursors[partition] = (epoch, through)
        columns.section(partition, epoch, at, through, False)
        columns.counts[-1] = len(changed)
        columns.keys += [key for _, key in changed]
        columns.space_index += [index for index, _ in changed]
        columns.versions += changed.values()
        return size
