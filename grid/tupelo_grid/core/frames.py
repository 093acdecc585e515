"""What primaries and backups send each other, as the core sees it.

The shell turns these into the protobuf messages of proto/tupelo/v1/replication.proto and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tupelo_grid.core.journal import Run
from tupelo_grid.core.records import Record


@dataclass(slots=True)
class CatchUp:
    """A run of a partition's journal after (previous_sequence, previous_epoch)."""

    partition: int
    epoch: int
    previous_sequence: int
    previous_epoch: int
    commit: int
    runs: list[Run]
    records: list[Record]


@dataclass(slots=True)
class SnapshotChunk:
    partition: int
    epoch: int
    snapshot_id: int
    index: int
    last: bool
    crc: int
    body: bytes


@dataclass(slots=True)
class Frame:
    """One message of a replication stream.

    `appends` are parallel lists, one element a record; the records follow what the stream already
    carried for their partition. `probes`: (partition, epoch, revision of the configuration that
    the sender acts on). `confirms`: (partition, epoch). `commits`: (partition, epoch, commit,
    persisted). `audits`: (kind, partition, epoch, sequence, digest), see core.antientropy.
    """

    sender: str
    receiver: str
    stream_id: int
    position: int
    partitions: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    catch_ups: list[CatchUp] = field(default_factory=list)
    snapshots: list[SnapshotChunk] = field(default_factory=list)
    probes: list[tuple[int, int, int]] = field(default_factory=list)
    confirms: list[tuple[int, int]] = field(default_factory=list)
    commits: list[tuple[int, int, int, int]] = field(default_factory=list)
    audits: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    @property
    def only_records(self) -> bool:
        """There are some, and it says nothing else."""
        return bool(self.records) and not (
            self.catch_ups
            or self.snapshots
            or self.probes
            or self.confirms
            or self.commits
            or self.audits
        )


@dataclass(slots=True)
class Position:
    """Where a replica's journal of a partition ends; `cut_base`: how far back it can be cut.

    `refused`: the frame acknowledged did not take effect for the partition, as `epoch` is newer or
    the journals do not meet. `damaged`: the replica is not what its journal says, and needs a
    snapshot. `snapshot_id`, `next_chunk`: the receiver has the beginning of that snapshot, of the
    sender's and of this epoch, up to that chunk; 0: of none.
    """

    partition: int
    epoch: int
    refused: bool
    last: int
    cut_base: int
    runs: list[Run]
    damaged: bool = False
    snapshot_id: int = 0
    next_chunk: int = 0


@dataclass(slots=True)
class Ack:
    """The receiver took in frames 1..position of the stream, but for the positions refused.

    `paused`: partitions of which no more extents are to be sent until it says otherwise.
    `trouble`: why its journals can take no more; "": they can.
    """

    sender: str
    receiver: str
    stream_id: int
    position: int
    reset: bool = False
    positions: list[Position] = field(default_factory=list)
    paused: Sequence[int] = ()
    trouble: str = ""

    @property
    def only_position(self) -> bool:
        """It says nothing else."""
        return not (self.reset or self.positions or self.paused or self.trouble)
