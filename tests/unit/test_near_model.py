"""Near caches under a grid that fails over and a network that loses, repeats, delays, reorders.

The cursors of the unit's side and the caches of the client's side are the real ones. Whatever
happens between them, a read served from the cache

- misses nothing that was acknowledged longer ago than `staleness_max_s`,
- is never older than what the same client has read, or written, before,
- is never of an entry past its deadline,

and after one ping has come back, on a quiet grid, no stale entry is left.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tupelo.following import Follower, Link
from tupelo.near import NearAnswer, NearCache, Ticket
from tupelo.v1.data_pb2 import NearFrame
from tupelo_grid.core.near import NearFeed, NearLimits
from tupelo_grid.core.records import WRITE, Record
from tupelo_grid.transport.near import frame_of

PARTITIONS = 2
KEYS = [b"a", b"b"]
STALENESS_S = 1.0
LIMITS = NearLimits(records_max=4, bytes_max=200, lag_records_max=12)

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

    def write(self, place: Place, lives_s: float | None, remove: bool = False) -> int:
        number, key = place
        part = self.parts[number]
        self.values += 1
        value = None if remove else self.values
        deadline = self.now + lives_s if lives_s and not remove else float("inf")
        part.journal.append((WRITE, 1, 1, 0, None, (("s", wire_key(place), b"v", 0),)))
        part.entries[key] = (value, len(part.journal), deadline)
        self.pending.setdefault(number, []).append((key, len(part.journal), value, deadline))
        return len(part.journal)

    pending: dict[int, list[tuple[bytes, int, int | None, float]]]

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


@dataclass
class Asked:
    place: Place
    ticket: Ticket
    answer: NearAnswer | None = None
    index: int = 0


class NearMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.grid = Grid()
        self.grid.pending = {}
        self.follower = Follower(PARTITIONS)
        config = NearCache(entries_max=4, bytes_max=4 * 500, staleness_max_s=STALENESS_S)
        self.cache = self.follower.cache("s", config)
        self.frames: list[tuple[Link, bytes]] = []
        self.pings: list[tuple[NearFeed, int]] = []
        self.asked: list[Asked] = []
        self.known = dict.fromkeys(self.grid.states, 0)
        self.hits = 0
        self.connect()

    def connect(self) -> None:
        self.link = self.follower.opened()
        self.feed = NearFeed(self.grid, self.link.spaces, LIMITS)
        self.pings.append((self.feed, self.follower.ping(self.link, self.grid.now)))

    def send(self) -> None:
        columns = self.feed.frame()
        if columns is not None:
            self.frames.append((self.link, frame_of(columns).SerializeToString()))

    # The grid.

    @rule(place=places, lives_s=st.sampled_from([None, None, 0.3, 2.0]), commit=st.booleans())
    def write(self, place: Place, lives_s: float | None, commit: bool) -> None:
        self.grid.write(place, lives_s)
        if commit:
            self.grid.commit(place[0])

    @rule(place=places)
    def remove(self, place: Place) -> None:
        self.grid.write(place, None, remove=True)
        self.grid.commit(place[0])

    @rule(number=st.integers(0, PARTITIONS - 1))
    def commit(self, number: int) -> None:
        self.grid.commit(number)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.4, 1.5]))
    def time_passes(self, seconds: float) -> None:
        self.grid.now += seconds
        self.grid.expire()

    @rule(number=st.integers(0, PARTITIONS - 1), keep=st.booleans(), told=st.booleans())
    def fail_over(self, number: int, keep: bool, told: bool) -> None:
        part = self.grid.parts[number]
        if keep:
            self.grid.commit(number)
        else:
            del part.journal[part.commit :]
            self.grid.pending.pop(number, None)
            for key in KEYS:
                state = self.grid.states[number, key][-1]
                part.entries[key] = (state.value, state.sequence, state.deadline)
        part.epoch += 1
        part.journal.append((WRITE, 0, 0, 0, None, ()))
        part.commit = len(part.journal)
        if told:
            self.follower.table([one.epoch for one in self.grid.parts])

    @rule(number=st.integers(0, PARTITIONS - 1))
    def trim(self, number: int) -> None:
        self.grid.parts[number].trimmed = self.grid.parts[number].commit

    @rule(lease=st.booleans())
    def lease(self, lease: bool) -> None:
        self.grid.lease = lease

    # The network.

    @rule()
    def push(self) -> None:
        self.feed.look(range(PARTITIONS))
        self.send()

    @rule()
    def ping(self) -> None:
        self.pings.append((self.feed, self.follower.ping(self.link, self.grid.now)))

    @rule(data=st.data(), lost=st.sampled_from([False, False, False, True]))
    def ping_arrives(self, data: st.DataObject, lost: bool) -> None:
        if self.pings:
            feed, ping = self.pings.pop(data.draw(st.integers(0, len(self.pings) - 1)))
            if feed is self.feed and not lost:
                feed.ask(ping)
                self.send()

    @rule(data=st.data(), fate=st.sampled_from(["first", "first", "any", "twice", "lost"]))
    def frame_arrives(self, data: st.DataObject, fate: str) -> None:
        if not self.frames:
            return
        place = 0 if fate == "first" else data.draw(st.integers(0, len(self.frames) - 1))
        link, frame = self.frames[place] if fate == "twice" else self.frames.pop(place)
        if fate != "lost":
            self.follower.frame(link, NearFrame.FromString(frame))

    @rule()
    def reconnect(self) -> None:
        self.follower.closed(self.link)
        self.connect()

    @rule()
    def everything_arrives(self) -> None:
        for feed, ping in self.pings:
            if feed is self.feed:
                feed.ask(ping)
                self.send()
        self.pings.clear()
        for link, frame in self.frames:
            self.follower.frame(link, NearFrame.FromString(frame))
        self.frames.clear()

    # The client.

    @rule(place=places)
    def ask(self, place: Place) -> None:
        ticket = self.cache.ask(wire_key(place), place[0], self.grid.now)
        self.asked.append(Asked(place, ticket))

    @rule(data=st.data())
    def primary_answers(self, data: st.DataObject) -> None:
        waiting = [one for one in self.asked if one.answer is None]
        if waiting:
            self.answer(waiting[data.draw(st.integers(0, len(waiting) - 1))])

    @rule(data=st.data(), lost=st.sampled_from([False, False, False, True]))
    def answer_arrives(self, data: st.DataObject, lost: bool) -> None:
        arriving = [one for one in self.asked if one.answer is not None]
        if arriving:
            one = arriving[data.draw(st.integers(0, len(arriving) - 1))]
            self.asked.remove(one)
            self.take(one, lost)

    @rule(place=places)
    def read(self, place: Place) -> None:
        """Ask, answer and arrival at once."""
        one = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.answer(one)
        self.take(one, lost=False)

    @rule(
        place=places,
        meanwhile=st.sampled_from(["changed", "reset", "reconnect", "own put", "fail-over"]),
    )
    def slow_answer(self, place: Place, meanwhile: str) -> None:
        """The race that every near cache must win: an answer that was overtaken."""
        one = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.answer(one)
        if meanwhile == "own put":
            self.own_put(place)
        else:
            self.write(place, None, commit=True)
        if meanwhile == "reset":
            self.trim(place[0])
        elif meanwhile == "reconnect":
            self.reconnect()
        elif meanwhile == "fail-over":
            self.fail_over(place[0], keep=True, told=False)
        self.push()
        self.everything_arrives()
        self.take(one, lost=False)

    @rule(place=places)
    def own_put(self, place: Place) -> None:
        self.grid.write(place, None)
        self.grid.commit(place[0])
        self.cache.forget(wire_key(place))
        self.known[place] = len(self.grid.states[place]) - 1

    @rule(place=places)
    def own_command(self, place: Place) -> None:
        sequence = self.grid.write(place, None)
        self.grid.commit(place[0])
        self.follower.wrote(place[0], self.grid.parts[place[0]].epoch, sequence)
        self.known[place] = len(self.grid.states[place]) - 1

    # Helpers.

    def answer(self, one: Asked) -> None:
        number, key = one.place
        part = self.grid.parts[number]
        value, sequence, deadline = part.entries.get(key, (None, 0, float("inf")))
        if value is None or sequence > part.commit:
            self.grid.commit(number)
        one.index = len(self.grid.states[one.place]) - 1
        lives_ms = 0 if deadline == float("inf") else max(1, int((deadline - self.grid.now) * 1000))
        version = sequence if value is not None else 0
        one.answer = NearAnswer(one.index, version, part.epoch, len(part.journal), lives_ms)

    def take(self, one: Asked, lost: bool) -> None:
        if lost or one.answer is None:
            self.cache.gave_up(one.ticket)
            return
        self.follower.answered(self.cache, one.ticket, one.answer, True, 20)
        self.known[one.place] = max(self.known[one.place], one.index)

    def look_up(self, place: Place) -> int | None:
        slot = self.cache.lookup(wire_key(place), self.grid.now)
        if slot is None:
            return None
        self.hits += 1
        index: int = slot.value
        states, now = self.grid.states[place], self.grid.now
        times = [state.acknowledged for state in states]
        # What was acknowledged at the very edge may be told or not.
        must = bisect_right(times, now - STALENESS_S - 1e-9) - 1
        assert index >= must, f"state {index} of {place} served, {must} is due since a while"
        assert index >= self.known[place], "older than what was known already"
        assert now < states[index].deadline, "past its deadline"
        self.known[place] = index
        return index

    @invariant()
    def every_read_is_right(self) -> None:
        for place in self.grid.states:
            self.look_up(place)
        self.cache.validate()

    def teardown(self) -> None:
        """Quiet: one ping and its answer, and nothing stale is left; and the cache is of use."""
        self.grid.lease = True
        for number in range(PARTITIONS):
            self.grid.commit(number)
        self.feed.ask(self.follower.ping(self.link, self.grid.now))
        while (columns := self.feed.frame()) is not None:
            self.follower.frame(self.link, frame_of(columns))
        for place, states in self.grid.states.items():
            index = self.look_up(place)
            assert index in (None, len(states) - 1), "a stale entry was left"
            self.read(place)
            assert self.look_up(place) == len(states) - 1, "an answer was not kept"


TestNearCaches = NearMachine.TestCase
TestNearCaches.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
