"""What things are called in NATS, and who reads what. Pure.

One stream a grid; one subject a partition, `tupelo.GRID.p.GROUP.PARTITION`. Writers divide the
groups among themselves: a group is read by one consumer, whose filter is a wildcard, so that a
writer of many partitions needs few consumers.

    tupelo.GRID.p.>             the stream: claims and changes, from units to writers
    tupelo.GRID.a.INCARNATION   answers with cursors, from writers to a unit; not stored
    tupelo.GRID.w               signs of life of the writers; not stored
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import xxhash

from tupelo_grid.core.pump_frames import PumpFrame
from tupelo_grid.core.pump_split import subject_of

GROUPS: Final = 32
"""Parts of a grid that writers divide. Fixed, since messages on their way carry it: as many
writers can share the work, further ones wait for one of those to die."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


class Names:
    """Of one grid. `grid_id`: the 16 raw bytes."""

    def __init__(self, grid_id: bytes) -> None:
        self.stream = f"tupelo-{grid_id.hex()}"
        self._base = f"tupelo.{grid_id.hex()}"
        self.stored = f"{self._base}.p.>"
        self.writers = f"{self._base}.w"

    def partition(self, partition: int) -> str:
        return f"{self._base}.p.{partition % GROUPS}.{partition}"

    def group(self, group: int) -> str:
        """The subjects of a group's partitions, as a filter."""
        return f"{self._base}.p.{group}.*"

    def answers(self, incarnation: str) -> str:
        return f"{self._base}.a.{_token(incarnation)}"


def _token(text: str) -> str:
    """Equal for equal texts only, and without what means something in a subject."""
    return _UNSAFE.sub(lambda found: f"={ord(found[0]):x}=", text)


def message_id(frame: PumpFrame, run: str) -> str:
    """By which JetStream knows a repetition: partition, epoch, sequences, and the attempt.

    The attempt (`run` of the pump, position of the frame) is part of it since a unit that is told
    to send the same sequences again must not be taken for one that repeats itself: what it sent
    before may have been handled and forgotten.
    """
    partition, epoch, first, last = subject_of(frame)
    return f"{partition}.{epoch}.{first}-{last}.{run}{frame.position}"


def consumer_name(group: int, turn: int, writer: str) -> str:
    """`turn`: how often the writer has made one for the group. A name is not used again: what a
    server that is coming back still knows by it would be in the way."""
    return f"g{group}-{turn}-{writer}"


def consumer_owner(name: str) -> str:
    """The writer whose consumer it is; "" for a name that is not one of `consumer_name`."""
    return name.partition("-")[2].partition("-")[2]


def divide(writers: Iterable[str]) -> dict[int, str]:
    """Group -> writer: by highest random weight, none with more than its even share rounded up.

    All who know of the same writers find the same; one that comes or goes moves little else.
    """
    names = sorted(set(writers))
    if not names:
        return {}
    room = dict.fromkeys(names, -(-GROUPS // len(names)))
    found = {}
    for group in range(GROUPS):
        best = max((name for name in names if room[name]), key=lambda name: _weight(name, group))
        room[best] -= 1
        found[group] = best
    return found


def _weight(writer: str, group: int) -> tuple[int, str]:
    return xxhash.xxh3_64_intdigest(f"{writer}/{group}".encode()), writer
