"""The sending side of a replication stream: one for each unit that holds backups of ours.

Frames are numbered; an acknowledgement of position n stands for every frame up to n. The link
remembers for each frame on its way which partitions it took how far. A broken stream is never
mended: the next one begins with a probe of every partition it carries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from tupelo_grid.core.answers import ReadRound
from tupelo_grid.core.frames import CatchUp, Frame, SnapshotChunk
from tupelo_grid.core.records import Record, content_bytes

FRAME_RECORDS_MAX = 4096
FRAME_BYTES_MAX = 4 * 1024 * 1024
# Beyond it the next frame fills up instead of leaving.
FRAMES_IN_FLIGHT_MAX = 32


class Carried(Protocol):
    """A replica whose records travel on the link. `generation` rises when it starts over: what an
    older one sent says nothing any more."""

    @property
    def partition(self) -> int: ...

    @property
    def epoch(self) -> int: ...

    @property
    def generation(self) -> int: ...

    def settled(self, sequence: int) -> bool: ...


@dataclass(slots=True)
class Sent:
    """A frame on its way. `marks`: (replica, its generation then, sequence it was taken to)."""

    position: int
    at: float
    marks: list[tuple[Carried, int, int]]
    rounds: list[ReadRound]


@dataclass(slots=True)
class Link:
    """The stream to one peer.

    Attributes:
        up: a connection exists and a stream is open on it.
        blocked: the connection takes no more at the moment; set by the shell.
        heard: when the peer last acknowledged anything, or the link was made.
        waiting_since: when the oldest frame not yet acknowledged was sent; 0.0: none is.
        carried, sequences, records: what the next frames carry, one element a record.
        records_bytes: at least as much as they take in a frame.
        paused: partitions of which the peer takes in no more of what is in files for the moment.
        trouble: why its journals can take no more.
    """

    me: str
    peer: str
    up: bool = False
    blocked: bool = False
    stream_id: int = 0
    position: int = 0
    acked: int = 0
    heard: float = 0.0
    sent_at: float = 0.0
    snapshots_made: int = 0
    carried: list[Carried] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    records_bytes: int = 0
    catch_ups: list[tuple[Carried, CatchUp]] = field(default_factory=list)
    snapshots: list[tuple[Carried, SnapshotChunk]] = field(default_factory=list)
    probes: list[tuple[int, int, int]] = field(default_factory=list)
    confirms: list[tuple[int, int]] = field(default_factory=list)
    rounds: list[ReadRound] = field(default_factory=list)
    commits: list[tuple[int, int, int, int]] = field(default_factory=list)
    audits: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    in_flight: deque[Sent] = field(default_factory=deque)
    paused: Collection[int] = ()
    trouble: str = ""

    @property
    def waiting_since(self) -> float:
        return self.in_flight[0].at if self.in_flight else 0.0

    def open(self, stream_id: int) -> None:
        """Begins a new stream. Its number must be higher than any this peer has had from us."""
        assert not self.up
        assert stream_id > self.stream_id
        self.up = True
        self.stream_id = stream_id
        self.position = self.acked = 0

    def close(self) -> list[ReadRound]:
        """Whatever the stream carried or waited for is void. Returns the read rounds among it."""
        lost = [one for sent in self.in_flight for one in sent.rounds] + self.rounds
        self.up = False
        self.carried, self.sequences, self.records, self.records_bytes = [], [], [], 0
        self.catch_ups, self.snapshots = [], []
        self.probes, self.confirms, self.rounds, self.commits = [], [], [], []
        self.audits = []
        self.paused, self.trouble = (), ""
        self.in_flight.clear()
        return lost

    def pending(self) -> bool:
        return bool(
            self.records
            or self.catch_ups
            or self.snapshots
            or self.probes
            or self.confirms
            or self.commits
            or self.audits
        )

    def flush(self, now: float, heartbeat_s: float) -> Frame | None:
        """The next frame, if there is something to say or it is time for a sign of life."""
        if not self.up or self.blocked or len(self.in_flight) >= FRAMES_IN_FLIGHT_MAX:
            return None
        if not self.pending() and now - self.sent_at < heartbeat_s:
            return None
        self.position += 1
        self.sent_at = now
        frame = Frame(self.me, self.peer, self.stream_id, self.position)
        marks: dict[Carried, int] = {}
        self._fill_large(frame, marks)
        if not self.catch_ups:
            # What is said of journals follows what leads up to it.
            if self.records:
                self._fill(frame, marks)
            frame.commits, self.commits = self.commits, []
            frame.audits, self.audits = self.audits, []
        frame.probes, frame.confirms = self.probes, self.confirms
        stamped = [(carried, carried.generation, sequence) for carried, sequence in marks.items()]
        self.in_flight.append(Sent(self.position, now, stamped, self.rounds))
        self.probes, self.confirms, self.rounds = [], [], []
        return frame

    def _fill_large(self, frame: Frame, marks: dict[Carried, int]) -> None:
        """Catch-ups and snapshots, no more than one frame takes: after a connection broke, all
        partitions have some. The chunks of one snapshot stay together, as one acknowledgement
        stands for them."""
        size = count = 0
        for progress, catch_up in self.catch_ups:
            if size >= FRAME_BYTES_MAX:
                break
            count += 1
            size += sum(map(content_bytes, catch_up.records))
            frame.catch_ups.append(catch_up)
            end = catch_up.previous_sequence + len(catch_up.records)
            marks[progress] = max(end, marks.get(progress, 0))
        self.catch_ups = self.catch_ups[count:]
        count, last = 0, None
        for progress, chunk in self.snapshots:
            if size >= FRAME_BYTES_MAX and progress is not last:
                break
            count, last = count + 1, progress
            size += len(chunk.body)
            frame.snapshots.append(chunk)
            marks.setdefault(progress, 0)
        self.snapshots = self.snapshots[count:]

    def _fill(self, frame: Frame, marks: dict[Carried, int]) -> None:
        carried, sequences, records = self.carried, self.sequences, self.records
        few = len(records) <= FRAME_RECORDS_MAX and self.records_bytes <= FRAME_BYTES_MAX
        count = len(records) if few else _fit(records)
        self.carried, self.sequences = carried[count:], sequences[count:]
        self.records = records[count:]
        if self.records:
            del carried[count:], sequences[count:], records[count:]
        else:
            self.records_bytes = 0
        frame.partitions = [one.partition for one in carried]
        frame.epochs = [one.epoch for one in carried]
        frame.sequences, frame.records = sequences, records
        # Later ones of a replica come later in the list.
        marks.update(zip(carried, sequences, strict=True))

    def take_back(self, carried: Carried) -> None:
        """Whatever the replica was to be sent in the next frames is not sent."""
        kept = [place for place, one in enumerate(self.carried) if one is not carried]
        if len(kept) < len(self.carried):
            self.carried = [self.carried[place] for place in kept]
            self.sequences = [self.sequences[place] for place in kept]
            self.records = [self.records[place] for place in kept]
        self.catch_ups = [one for one in self.catch_ups if one[0] is not carried]
        self.snapshots = [one for one in self.snapshots if one[0] is not carried]

    def acknowledged(self, position: int, now: float) -> list[Sent]:
        """Frames that an acknowledgement settles, oldest first."""
        self.heard = now
        settled = []
        while self.in_flight and self.in_flight[0].position <= position:
            settled.append(self.in_flight.popleft())
        self.acked = max(self.acked, min(position, self.position))
        return settled


def _fit(records: list[Record]) -> int:
    """How many of the records fit into one frame; at least one."""
    size = 0
    for count, record in enumerate(records):
        if count >= FRAME_RECORDS_MAX or size >= FRAME_BYTES_MAX:
            return count
        size += content_bytes(record)
    return len(records)
