"""What a client's near caches know of the partitions: frames of Near streams in, caches kept right.

Pure. Frames may be lost, repeated, late or out of order (gRPC does none of it, but nothing here
relies on that): sections join by sequence number, and what a frame proves, it proves as of the time
its ping was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tupelo.batch import GarbledAnswer, Outcome
from tupelo.codec import DECODE_ERRORS
from tupelo.near import NEVER, NearAnswer, NearCache, Part, SpaceCache, Ticket
from tupelo.v1.data_pb2 import NearFrame

# Pings of one stream that are remembered; the answer to an older one counts for nothing.
PINGS_MAX: Final = 64


_answer: Final = msgspec.msgpack.Decoder(tuple[bytes | None, int, int, int]).decode
_UNCHANGEABLE: Final = frozenset({type(None), bool, int, float, str, bytes})


def read_answer(outcome: Outcome) -> NearAnswer:
    """Of a GET_NEAR; `value` as stored. Raises GarbledAnswer."""
    try:
        value, lives_ms, epoch, seen = _answer(outcome[2])
    except DECODE_ERRORS as error:
        raise GarbledAnswer(f"the answer of a near read is malformed: {error}") from error
    return NearAnswer(value, 0 if value is None else outcome[1], epoch, seen, lives_ms)


def is_shared(value: Any) -> bool:
    """Whether it cannot be changed by who gets it."""
    return value.__class__ in _UNCHANGEABLE


class Link:
    """One Near stream: the spaces it was opened for, and when its pings were sent."""

    __slots__ = ("number", "pings", "sent", "spaces")

    def __init__(self, number: int, spaces: Sequence[str]) -> None:
        self.number = number
        self.spaces = spaces
        self.pings = 0
        self.sent: dict[int, float] = {}


class Follower:
    """The partitions as one client's near caches know them.

    Attributes:
        parts: by partition.
        caches: by the name of their space.
    """

    def __init__(self, partitions: int) -> None:
        self.parts = [Part() for _ in range(partitions)]
        self.caches: dict[str, SpaceCache] = {}
        self._links = 0

    def cache(self, name: str, settings: NearCache) -> SpaceCache:
        """Makes the near cache of a space; streams opened before do not cover it."""
        cache = self.caches[name] = SpaceCache(settings, self.parts)
        return cache

    def begin_anew(self, partitions: int) -> None:
        """It is another grid, which has nothing to do with what was known."""
        for partition in range(len(self.parts)):
            self._replace(partition, Part())
        self.parts[:] = [Part() for _ in range(partitions)]

    # Streams.

    def opened(self) -> Link:
        """A stream that will be opened for all spaces there are now."""
        self._links += 1
        return Link(self._links, tuple(self.caches))

    def ping(self, link: Link, now: float) -> int:
        """The number to send; `now` is before it is sent."""
        link.pings += 1
        link.sent[link.pings] = now
        link.sent.pop(link.pings - PINGS_MAX, None)
        return link.pings

    def closed(self, link: Link) -> None:
        """What the stream would have told is not known any more."""
        for partition, part in enumerate(self.parts):
            if part.link == link.number:
                self._replace(partition, Part(part.epoch, floor=part.floor))

    def frame(self, link: Link, frame: NearFrame) -> None:
        """Takes in a frame. Raises GarbledAnswer for one that contradicts itself."""
        partitions, counts = list(frame.partitions), list(frame.counts)
        epochs, after, through = list(frame.epochs), list(frame.after), list(frame.through)
        counts = counts or [0] * len(partitions)
        resets = frame.resets or bytes(len(partitions))
        self._check(link, frame, partitions, counts, resets)
        keys, versions, index = list(frame.keys), list(frame.versions), list(frame.space_index)
        caches = [self.caches.get(name) for name in link.spaces]
        place = 0
        for at, partition in enumerate(partitions):
            end = place + counts[at]
            if self._section(link, partition, epochs[at], after[at], through[at], resets[at]):
                for key_at in range(place, end):
                    cache = caches[index[key_at] if index else 0]
                    if cache is not None:
                        cache.changed(keys[key_at], versions[key_at])
                self.parts[partition].refresh()
            place = end
        if frame.echo:
            self._echoed(link, frame.echo, dict(zip(partitions, epochs, strict=True)))

    def _section(
        self, link: Link, partition: int, epoch: int, after: int, through: int, reset: int
    ) -> bool:
        """Where the partition stands by a section; False when the section is of the past."""
        part = self.parts[partition]
        if epoch < part.epoch or (epoch == part.epoch and part.link > link.number):
            return False
        gap = after > part.through
        if reset or gap or epoch != part.epoch or part.link != link.number:
            # What was acknowledged in earlier epochs lies before the first section of this one.
            floor = part.floor if epoch == part.epoch else 0
            self._replace(partition, Part(epoch, link.number, through, floor))
        else:
            part.through = max(part.through, through)
        return True

    def _echoed(self, link: Link, echo: int, told: dict[int, int]) -> None:
        sent = link.sent.get(echo)
        if sent is None:
            return
        for ping in [ping for ping in link.sent if ping <= echo]:
            del link.sent[ping]
        for partition, part in enumerate(self.parts):
            if part.link != link.number:
                continue
            if told.get(partition) == part.epoch:
                part.heard = max(part.heard, sent)
                part.refresh()
            else:
                # The unit does not answer for it any more.
                self._replace(partition, Part(part.epoch, floor=part.floor))

    @staticmethod
    def _columns_fit(frame: NearFrame, sections: int) -> bool:
        return (
            len(frame.epochs) == len(frame.after) == len(frame.through) == sections
            and len(frame.versions) == len(frame.keys)
            and len(frame.space_index) in (0, len(frame.keys))
        )

    def _check(
        self, link: Link, frame: NearFrame, partitions: list[int], counts: list[int], resets: bytes
    ) -> None:
        sections = len(partitions)
        if not (
            self._columns_fit(frame, sections)
            and len(counts) == len(resets) == sections
            and sum(counts) == len(frame.keys)
            and max(partitions, default=0) < len(self.parts)
            and max(frame.space_index, default=0) < max(1, len(link.spaces))
        ):
            raise GarbledAnswer("the columns of a near-cache frame do not fit each other")

    # What is known from elsewhere.

    def table(self, epochs: Sequence[int]) -> None:
        """The epochs of a newer partition table."""
        for partition, epoch in enumerate(epochs[: len(self.parts)]):
            self.saw(partition, epoch)

    def saw(self, partition: int, epoch: int) -> None:
        """An answer, or a table, is of that epoch: nothing of an earlier one is right any more."""
        part = self.parts[partition]
        if epoch > part.epoch:
            self._replace(partition, Part(epoch))

    def wrote(self, partition: int, epoch: int, sequence: int) -> None:
        """A command of this client wrote, to keys it does not know.

        Args:
            sequence: of its record; 0: not known, as where a retry got the first answer.
        """
        self.saw(partition, epoch)
        part = self.parts[partition]
        if not sequence:
            self._replace(partition, Part(part.epoch, floor=part.floor))
        elif epoch == part.epoch:
            part.floor = max(part.floor, sequence)
            part.refresh()

    def answered(
        self,
        cache: SpaceCache,
        ticket: Ticket,
        answer: NearAnswer,
        shared: bool,
        size: int,
        absent: bool = True,
    ) -> None:
        """A read of the cache was answered; what the cache may keep of it, it keeps.

        Args:
            shared: the value cannot be changed by who gets it.
            size: of key and value as stored, in bytes.
            absent: where there is no entry, that may be kept too.
        """
        self.saw(ticket.partition, answer.epoch)
        cache.answered(ticket, answer, shared, size, absent)

    def _replace(self, partition: int, part: Part) -> None:
        old = self.parts[partition]
        self.parts[partition] = part
        if old.link:
            old.as_of = NEVER
            for cache in self.caches.values():
                cache.clears += 1
