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
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tupelo.following import Follower, Link
from tupelo.near import NearAnswer, NearCache, Ticket
from tupelo.v1.data_pb2 import NearFrame
from tupelo_grid.core.near import NearFeed, NearLimits
from tupelo_grid.core.records import WRITE
from tupelo_grid.transport.near import frame_of

from tests.unit.near_grid import KEYS, PARTITIONS, Grid, Place, places, wire_key

STALENESS_S = 1.0
ENTRIES_MAX = 3
LIMITS = NearLimits(records_max=4, bytes_max=200, lag_records_max=12)


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
        self.follower = Follower(PARTITIONS)
        config = NearCache(entries_max=ENTRIES_MAX, staleness_max_s=STALENESS_S)
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

    @rule(place=places, what=st.sampled_from(["", "brief", "long", "remove"]), commit=st.booleans())
    def write(self, place: Place, what: str, commit: bool) -> None:
        lives_s = {"brief": 0.3, "long": 2.0}.get(what)
        self.grid.write(place, lives_s, remove=what == "remove")
        if commit:
            self.grid.commit(place[0])

    @rule(seconds=st.sampled_from([0.01, 0.4, 1.5]))
    def time_passes(self, seconds: float) -> None:
        self.grid.now = round(self.grid.now + seconds, 3)
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

    @rule(data=st.data(), lost=st.sampled_from([False, False, True]))
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

    def everything_arrives(self) -> None:
        for feed, ping in self.pings:
            if feed is self.feed:
                feed.ask(ping)
                self.send()
        self.pings.clear()
        for link, frame in self.frames:
            self.follower.frame(link, NearFrame.FromString(frame))
        self.frames.clear()

    @rule()
    def warm_up(self) -> None:
        """A network and a client at their best: what is cached now is what the rest must spoil."""
        self.grid.lease = True
        self.ping()
        self.everything_arrives()
        for place in list(self.grid.states)[:ENTRIES_MAX]:
            self.read(place)

    # The client.

    @rule(place=places, answered=st.booleans())
    def ask(self, place: Place, answered: bool) -> None:
        one = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.asked.append(one)
        if answered:
            self.answer(one)

    @rule(data=st.data(), lost=st.sampled_from([False, False, False, True]))
    def answer_arrives(self, data: st.DataObject, lost: bool) -> None:
        if self.asked:
            one = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
            if one.answer is None:
                self.answer(one)
            self.take(one, lost)

    @rule(place=places)
    def read(self, place: Place) -> None:
        """Ask, answer and arrival at once."""
        one = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.answer(one)
        self.take(one, lost=False)

    @rule(place=places, command=st.booleans())
    def own_write(self, place: Place, command: bool) -> None:
        sequence = self.grid.write(place, None)
        self.grid.commit(place[0])
        if command:
            self.follower.wrote(place[0], self.grid.parts[place[0]].epoch, sequence)
        else:
            self.cache.forget(wire_key(place))
        self.known[place] = len(self.grid.states[place]) - 1

    # Moments at which a near cache goes wrong, each a few steps that chance alone rarely makes.

    @rule(
        place=places,
        meanwhile=st.sampled_from(["changed", "reset", "reconnect", "own write", "fail-over"]),
        told=st.booleans(),
    )
    def an_answer_is_overtaken(self, place: Place, meanwhile: str, told: bool) -> None:
        one = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.answer(one)
        if meanwhile == "own write":
            self.own_write(place, command=False)
        else:
            self.write(place, "", commit=True)
        if meanwhile == "reset":
            self.trim(place[0])
        elif meanwhile == "reconnect":
            self.reconnect()
        elif meanwhile == "fail-over":
            self.fail_over(place[0], keep=True, told=False)
        if told:
            self.push()
            self.everything_arrives()
        self.take(one, lost=False)

    @rule(place=places, removed=st.booleans())
    def answers_come_in_the_wrong_order(self, place: Place, removed: bool) -> None:
        early = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.answer(early)
        self.write(place, "remove" if removed else "", commit=True)
        late = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.answer(late)
        self.take(late, lost=False)
        self.push_out(place)
        self.take(early, lost=False)

    @rule(place=places)
    def an_old_epoch_answers_late(self, place: Place) -> None:
        """With a sequence that the new epoch, which lost uncommitted records, has not reached."""
        other = (place[0], next(key for key in KEYS if key != place[1]))
        self.warm_up()
        self.write(place, "", commit=True)
        for _ in range(4):
            self.write(other, "", commit=False)
        early = Asked(place, self.cache.ask(wire_key(place), place[0], self.grid.now))
        self.answer(early)
        self.fail_over(place[0], keep=False, told=False)
        self.write(place, "", commit=True)
        self.read(place)
        self.push_out(place)
        self.take(early, lost=False)

    @rule(place=places)
    def an_entry_falls_due(self, place: Place) -> None:
        self.write(place, "brief", commit=True)
        self.warm_up()
        self.time_passes(0.4)

    @rule(place=places)
    def an_echo_is_late(self, place: Place) -> None:
        self.warm_up()
        self.ping()
        self.ping_arrives_last()
        self.write(place, "", commit=True)
        self.time_passes(1.5)
        self.ping()
        self.everything_arrives_but_pings()

    @rule(place=places)
    def a_frame_is_lost(self, place: Place) -> None:
        self.warm_up()
        self.write(place, "", commit=True)
        self.push()
        self.frames.clear()
        self.ping()
        self.everything_arrives()

    def push_out(self, place: Place) -> None:
        """Reads so much else that the place is not cached any more."""
        for other in self.grid.states:
            if other != place:
                self.read(other)

    def ping_arrives_last(self) -> None:
        feed, ping = self.pings.pop()
        feed.ask(ping)
        self.send()

    def everything_arrives_but_pings(self) -> None:
        self.pings.clear()
        self.everything_arrives()

    # Helpers.

    def answer(self, one: Asked) -> None:
        number, key = one.place
        part = self.grid.parts[number]
        value, sequence, deadline = part.entries.get(key, (None, 0, float("inf")))
        if value is None or sequence > part.commit:
            self.grid.commit(number)
        one.index = len(self.grid.states[one.place]) - 1
        lives_ms = (
            0 if deadline == float("inf") else max(1, round((deadline - self.grid.now) * 1000))
        )
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
