"""What the model of near caches holds them against: a grid, and every state its keys were in."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from tupelo_grid.core.records import WRITE, Record

PARTITIONS = 2
KEYS = [b"a", b"b"]

Place = tuple[int, bytes]
places = st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from(KEYS))


def wire_key(place: Place) -> bytes:
    return b"%d%s" % place


@dataclass
class State:
    """What a key was from some committed record on."""

    sequence: int
    acknowledged: float
    value: int | None
    deadline: float


@dataclass
class Part:
    """One partition of the grid, its primary's view."""

    epoch: int = 1
    journal: list[Record] = field(default_factory=list)
    trimmed: int = 0
    commit: int = 0
    entries: dict[bytes, tuple[int | None, int, float]] = field(default_factory=dict)


class Grid:
    """The truth. `states` has every committed state of every key, in order."""

    def __init__(self) -> None:
        self.now = 10.0
        self.parts = [Part() for _ in range(PARTITIONS)]
        first = State(0, 0.0, None, float("inf"))
        self.states = {(p, key): [first] for p in range(PARTITIONS) for key in KEYS}
        self.values = 0
        self.lease = True
        # By partition: key, sequence, value and deadline of what is not committed.
        self.pending: dict[int, list[tuple[bytes, int, int | None, float]]] = {}

    def write(self, place: Place, lives_s: float | None, remove: bool = False) -> int:
        number, key = place
        part = self.parts[number]
        self.values += 1
        value = None if remove else self.values
        # Rounded, as is the clock: a deadline in whole milliseconds is what both sides agree on.
        deadline = round(self.now + lives_s, 3) if lives_s and not remove else float("inf")
        part.journal.append((WRITE, 1, 1, 0, None, (("s", wire_key(place), b"v", 0),)))
        part.entries[key] = (value, len(part.journal), deadline)
        self.pending.setdefault(number, []).append((key, len(part.journal), value, deadline))
        return len(part.journal)

    def commit(self, number: int) -> None:
        part = self.parts[number]
        part.commit = len(part.journal)
        for key, sequence, value, deadline in self.pending.pop(number, []):
            self.states[number, key].append(State(sequence, self.now, value, deadline))

    def expire(self) -> None:
        for number, part in enumerate(self.parts):
            due = [key for key, entry in part.entries.items() if entry[2] <= self.now]
            for key in due:
                self.write((number, key), None, remove=True)
            if due:
                self.commit(number)

    # As tupelo_grid.core.near.NearSource.

    def serving(self) -> dict[int, int]:
        return {number: part.epoch for number, part in enumerate(self.parts)}

    def leased(self) -> bool:
        return self.lease

    def committed(self, partition: int) -> int:
        return self.parts[partition].commit

    def base(self, partition: int) -> int:
        return self.parts[partition].trimmed

    def read(self, partition: int, after: int, limit: int) -> list[Record]:
        return self.parts[partition].journal[after : after + limit]
