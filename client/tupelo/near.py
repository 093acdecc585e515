"""Near caches: entries of a space kept in the client. Pure: time and answers come in as arguments.

A cached entry is served while everything that was acknowledged up to `staleness_max_s` ago is known
to have been told about its partition (`tupelo.following` keeps that), and never past its deadline.
See docs/decisions/0010-near-caches-follow-the-journal.md.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple

import msgspec

from tupelo.seconds import is_seconds

NEVER: Final = float("-inf")
FOREVER: Final = float("inf")

# What an entry costs beside its key and its value as stored, roughly.
ENTRY_OVERHEAD_BYTES: Final = 400
# Entries passed over for having been used, before the next one has to go all the same.
SECOND_CHANCES_MAX: Final = 32


class NearCache(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one space's near cache (`grid.space(name, near_cache=NearCache(...))`).

    Attributes:
        entries_max: entries kept; those not used lately go first.
        bytes_max: of all of them, estimated: key and value as stored, and 400 bytes each.
        staleness_max_s: a read served from the cache misses nothing that was acknowledged longer
            ago than that. Ordinarily it misses some milliseconds. Above 2 * near_heartbeat_s.
        absent: whether it is also remembered that there is no entry of a key. In a space that is
            read through from the store it never is, since the store may have it by now.
    """

    entries_max: int = 10_000
    bytes_max: int = 64 * 1024 * 1024
    staleness_max_s: float = 1.0
    absent: bool = True

    def __post_init__(self) -> None:
        for name in ("entries_max", "bytes_max"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ValueError(f"{name} must be above 0, not {value!r}")
        if not is_seconds(self.staleness_max_s):
            raise ValueError(f"staleness_max_s must be above 0, not {self.staleness_max_s!r}")


class NearStats(msgspec.Struct, frozen=True):
    """What became of a near cache since it was made.

    Attributes:
        hits: reads served from it.
        misses: reads that asked the primary, `strict` ones not counted.
        fills: entries put into it.
        refusals: answers that were not kept, since something newer was known by then, or they
            were too large.
        invalidations: entries dropped because they were changed.
        evictions: entries dropped for want of room.
        clears: partitions forgotten as a whole: a fail-over, a move, a lost stream, a gap.
        entries, bytes: held now; those of forgotten partitions are among them until they go.
    """

    hits: int
    misses: int
    fills: int
    refusals: int
    invalidations: int
    evictions: int
    clears: int
    entries: int
    bytes: int


class Part:
    """What is known of one partition. It is replaced where all that was cached in view of it must
    be forgotten, and an old one is never served from again.

    Attributes:
        epoch: 0: none is known.
        link: the stream it is followed by; 0: none, so nothing is kept.
        through: the records up to it have been told.
        floor: own commands wrote up to there; not served before it is told.
        heard: everything acknowledged before that time has been told.
        as_of: the same, or NEVER while it may not be served.
    """

    __slots__ = ("as_of", "epoch", "floor", "heard", "link", "through")

    def __init__(self, epoch: int = 0, link: int = 0, through: int = 0, floor: int = 0) -> None:
        self.epoch = epoch
        self.link = link
        self.through = through
        self.floor = floor
        self.heard = NEVER
        self.as_of = NEVER

    def refresh(self) -> None:
        self.as_of = self.heard if self.through >= self.floor else NEVER


class NearAnswer(NamedTuple):
    """What the primary says of a key.

    Attributes:
        value: as in `Slot`, and so are `version` and `seen`.
        epoch: of the primary.
        lives_ms: time to live when it was read; 0: it does not fall due.
    """

    value: Any
    version: int
    epoch: int
    seen: int
    lives_ms: int


class Slot:
    """One cached entry.

    Attributes:
        value: the entry, or its bytes where a caller could change the entry (`shared` False).
        version: 0: there is no entry.
        seen: the entry is what the records up to this one make it.
        deadline: when it falls due, by the client's clock, or earlier.
    """

    __slots__ = ("deadline", "part", "seen", "shared", "size", "used", "value", "version")

    def __init__(
        self,
        part: Part,
        answer: NearAnswer,
        shared: bool,
        deadline: float,
        size: int,
    ) -> None:
        self.part = part
        self.value = answer.value
        self.shared = shared
        self.version = answer.version
        self.seen = answer.seen
        self.deadline = deadline
        self.size = size
        self.used = False


class Ticket:
    """A read under way. What is told meanwhile raises `floor`: an answer from before is not kept.

    Attributes:
        part: of the moment it began; if that is another one by the end, the answer is not kept.
        began: when it was sent or before, so that deadlines are counted from there.
    """

    __slots__ = ("began", "floor", "key", "part", "partition")

    def __init__(self, key: bytes, partition: int, part: Part, began: float) -> None:
        self.key = key
        self.partition = partition
        self.part = part
        self.began = began
        self.floor: float = 0


class SpaceCache:
    """The near cache of one space.

    Args:
        parts: by partition; shared with `tupelo.following.Follower`, which replaces its elements.
    """

    def __init__(self, settings: NearCache, parts: list[Part]) -> None:
        self.settings = settings
        self._parts = parts
        self._staleness_s = settings.staleness_max_s
        self._slots: OrderedDict[bytes, Slot] = OrderedDict()
        self._tickets: dict[bytes, list[Ticket]] = {}
        self._bytes = 0
        self.hits = self.misses = self.fills = self.refusals = 0
        self.invalidations = self.evictions = self.clears = 0

    def lookup(self, key: bytes, now: float) -> Slot | None:
        """The entry, if it may be served now."""
        slot = self._slots.get(key)
        if slot is not None and slot.part.as_of >= now - self._staleness_s and now < slot.deadline:
            slot.used = True
            self.hits += 1
            return slot
        self.misses += 1
        return None

    # A read that asks the primary.

    def ask(self, key: bytes, partition: int, now: float) -> Ticket:
        """To be called before the read is sent; `answered` or `gave_up` must follow."""
        ticket = Ticket(key, partition, self._parts[partition], now)
        self._tickets.setdefault(key, []).append(ticket)
        return ticket

    def gave_up(self, ticket: Ticket) -> None:
        """No answer came."""
        tickets = self._tickets[ticket.key]
        tickets.remove(ticket)
        if not tickets:
            del self._tickets[ticket.key]

    def answered(
        self, ticket: Ticket, answer: NearAnswer, shared: bool, size: int, absent: bool
    ) -> None:
        """The primary's answer is kept if nothing speaks against it. See `Follower.answered`."""
        self.gave_up(ticket)
        key, part = ticket.key, self._parts[ticket.partition]
        assert answer.epoch <= part.epoch, "an answer from an epoch that is not known yet"
        if answer.epoch < part.epoch:
            self.refusals += 1
            return
        seen = answer.seen
        slot = self._slots.get(key)
        if slot is not None:
            if slot.part is part and slot.seen >= seen:
                return
            self._drop(key, slot)
        # Whoever asked earlier and is answered later must not bring back what is older.
        for other in self._tickets.get(key, ()):
            other.floor = max(other.floor, seen)
        size += ENTRY_OVERHEAD_BYTES
        if (
            ticket.part is not part
            or not part.link
            or seen < ticket.floor
            or size > self.settings.bytes_max
        ):
            self.refusals += 1
            return
        if not answer.version and not (absent and self.settings.absent):
            return
        deadline = ticket.began + answer.lives_ms / 1000 if answer.lives_ms else FOREVER
        self._make_room(size)
        self._slots[key] = Slot(part, answer, shared, deadline, size)
        self._bytes += size
        self.fills += 1

    # What is not right any more.

    def changed(self, key: bytes, version: int) -> None:
        """The journal has a change of the key at `version`."""
        slot = self._slots.get(key)
        if slot is not None and slot.seen < version:
            self._drop(key, slot)
            self.invalidations += 1
        for ticket in self._tickets.get(key, ()):
            ticket.floor = max(ticket.floor, version)

    def forget(self, key: bytes) -> None:
        """The client itself wrote the key, or found it otherwise than it is cached."""
        slot = self._slots.get(key)
        if slot is not None:
            self._drop(key, slot)
            self.invalidations += 1
        for ticket in self._tickets.get(key, ()):
            ticket.floor = FOREVER

    def _drop(self, key: bytes, slot: Slot) -> None:
        del self._slots[key]
        self._bytes -= slot.size

    def _make_room(self, size: int) -> None:
        """CLOCK: what was used since it was last looked at is passed over."""
        slots, settings = self._slots, self.settings
        chances = SECOND_CHANCES_MAX
        while slots and (
            len(slots) >= settings.entries_max or self._bytes + size > settings.bytes_max
        ):
            key, slot = slots.popitem(last=False)
            if slot.used and chances and slot.part.as_of > NEVER:
                slot.used = False
                slots[key] = slot
                chances -= 1
            else:
                self._bytes -= slot.size
                self.evictions += 1

    def stats(self) -> NearStats:
        return NearStats(
            hits=self.hits,
            misses=self.misses,
            fills=self.fills,
            refusals=self.refusals,
            invalidations=self.invalidations,
            evictions=self.evictions,
            clears=self.clears,
            entries=len(self._slots),
            bytes=self._bytes,
        )

    def validate(self) -> None:
        """Asserts what always holds; called by tests after every step."""
        assert self._bytes == sum([slot.size for slot in self._slots.values()])
        assert len(self._slots) <= self.settings.entries_max
        assert self._bytes <= self.settings.bytes_max
        assert all(self._tickets.values())
