"""Two units, their pumps, the writer and a real SQLite store, under every kind of accident.

Frames are lost, repeated, late, and from a primary that does not know it was deposed; answers are
lost; transactions fail half way, or commit and say they did not. After every step the rows of each
partition are those of its committed prefix up to the stored cursor, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tupelo.schema import SpaceSchema
from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_frames import Answer, PumpAck, PumpFrame
from tupelo_grid.core.pump_port import PumpLimits
from tupelo_grid.core.pump_split import SplitPump
from tupelo_grid.core.records import Record
from tupelo_grid.messaging.writer import DataWriter
from tupelo_grid.store import writing
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import StoreAway
from tupelo_grid.store.sql import SqlStore

from tests.unit.pump_source import FakeSource, State, fold, put, remove

Result = TypeVar("Result")

PARTITIONS = 3
# A real file all the same, but without the disk's waiting: every step commits.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
SCHEMAS = {
    name: SpaceSchema(name, coalesce=name != "audit", persist=name != "cache")
    for name in ("s", "audit", "cache")
}
parts = st.integers(0, PARTITIONS - 1)
units = st.integers(0, 1)
keys = st.integers(0, 3)
spaces = st.sampled_from(["s", "s", "audit", "cache"])


class Grid(RuleBasedStateMachine):
    make_pump: type[Pump] = Pump

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        config = GridConfig(data_dir=self.folder.name, store_retry_s_min=0, store_retry_s_max=0)
        self.store: SqlStore = make_store(config, "aa" * 16)
        self.writer = DataWriter(config, self.store, SCHEMAS, b"g" * 16)
        self.run(self.writer.__aenter__())
        self.journals: dict[int, list[Record]] = {p: [] for p in range(PARTITIONS)}
        self.epochs = dict.fromkeys(range(PARTITIONS), 1)
        self.owners = dict.fromkeys(range(PARTITIONS), 0)
        self.sources = [FakeSource(), FakeSource()]
        limits = PumpLimits(4, 200, 1.0, 2)
        self.pumps = [self.make_pump(source, limits, SCHEMAS) for source in self.sources]
        for p in range(PARTITIONS):
            self.promote(0, p)
        self.network: list[tuple[int, PumpFrame]] = []
        self.answers: list[tuple[int, PumpAck]] = []
        self.cursors: dict[int, int] = {}
        self.fences: dict[int, int] = {}
        self.values = 0

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    def promote(self, unit: int, p: int) -> None:
        source = self.sources[unit]
        source.journals[p] = list(self.journals[p])
        source.become(p, self.epochs[p])

    # What the grid does.

    @rule(p=parts, what=st.lists(st.tuples(keys, spaces, st.booleans()), min_size=1, max_size=4))
    def commit(self, p: int, what: list[tuple[int, str, bool]]) -> None:
        for key, space, gone in what:
            self.values += 1
            name = f"{p}-{key}"
            record = remove(name, space) if gone else put(name, f"v{self.values}", space)
            self.journals[p].append(record)
            self.sources[self.owners[p]].commit(p, record)

    @rule(p=parts)
    def fail_over(self, p: int) -> None:
        """The old primary does not hear of it, and goes on with the records it knows."""
        self.epochs[p] += 1
        self.owners[p] = 1 - self.owners[p]
        self.promote(self.owners[p], p)

    @rule(unit=units)
    def learn(self, unit: int) -> None:
        """A unit sees which partitions it has lost."""
        source = self.sources[unit]
        for p in [p for p in source.roles if self.owners[p] != unit]:
            del source.roles[p]
        self.pumps[unit].reconcile(0.0)

    # What the pump does, and what happens to it.

    @rule(unit=units)
    def send(self, unit: int) -> None:
        self.pumps[unit].observe(0.0)
        frame = self.pumps[unit].next_frame(0.0, flush=True)
        if frame is not None:
            self.network.append((unit, frame))

    @rule(unit=units, rounds=st.integers(1, 3), keep=st.booleans())
    def exchange(self, unit: int, rounds: int, keep: bool) -> None:
        """All goes well for a while; `keep`: what was sent is also delivered again, later."""
        for _ in range(rounds):
            self.pumps[unit].observe(0.0)
            frame = self.pumps[unit].next_frame(0.0, flush=True)
            if frame is not None:
                self.pumps[unit].on_ack(self.write(frame))
                if keep:
                    self.network.append((unit, frame))

    def write(self, frame: PumpFrame) -> PumpAck:
        ack = self.run(self.writer.write(frame))
        fences = self.run(self.store.cursors())
        for p, (epoch, _) in fences.items():
            assert epoch >= self.fences.get(p, 0), "an old epoch took the partition back"
            self.fences[p] = epoch
        for p, epoch, _, answer in ack.answers:
            fenced = epoch < fences[p][0]
            assert (answer is Answer.FENCED) == fenced, "a deposed primary is stopped, no other"
        return ack

    @precondition(lambda self: self.network)
    @rule(at=st.integers(0, 99), keep=st.booleans(), lose=st.booleans())
    def deliver(self, at: int, keep: bool, lose: bool) -> None:
        """`keep`: the frame will be delivered once more. `lose`: the answer is lost."""
        at %= len(self.network)
        unit, frame = self.network[at] if keep else self.network.pop(at)
        ack = self.write(frame)
        if not lose:
            self.answers.append((unit, ack))

    @rule(p=parts)
    def repeat(self, p: int) -> None:
        """A frame that was stored arrives once more, after others."""
        owner = self.owners[p]
        for _ in range(2):
            self.commit(p, [(0, "s", False), (1, "s", True)])
            self.exchange(owner, 1, True)
        if self.network:
            self.deliver(len(self.network) - 1, False, False)
        if self.network:
            self.deliver(0, False, True)

    @precondition(lambda self: len(self.network) > 1)
    @rule()
    def deliver_all_at_once(self) -> None:
        frames, self.network = self.network, []

        async def together() -> list[PumpAck]:
            return await asyncio.gather(*(self.writer.write(frame) for _, frame in frames))

        acks = self.run(together())
        self.answers += [(unit, ack) for (unit, _), ack in zip(frames, acks, strict=True)]

    @rule(unit=units, committed=st.booleans(), lose=st.booleans())
    def break_a_transaction(self, unit: int, committed: bool, lose: bool) -> None:
        """Between cursor and commit, or after the commit, where the writer cannot know."""
        frame = self.pumps[unit].next_frame(0.0, flush=True)
        if frame is None:
            return
        with self.in_doubt() if committed else self.half_way():
            ack = self.run(self.writer.write(frame))
        if not lose:
            self.answers.append((unit, ack))

    @rule(p=parts)
    def overtake(self, p: int) -> None:
        """The new primary claims while the old one's frame is on its way."""
        old = self.owners[p]
        self.exchange(old, 2, False)
        self.commit(p, [(0, "s", False)])
        self.send(old)
        self.fail_over(p)
        self.exchange(self.owners[p], 1, False)
        if self.network:
            self.deliver(len(self.network) - 1, False, False)

    @contextmanager
    def half_way(self) -> Iterator[None]:
        with mock.patch.object(writing._Rows, "_supersede", side_effect=OSError("power")):
            yield

    @contextmanager
    def in_doubt(self) -> Iterator[None]:
        apply = self.store.apply

        async def lost(*arguments: Any) -> Any:
            await apply(*arguments)
            raise StoreAway("the connection broke after the commit")

        with mock.patch.object(self.store, "apply", lost):
            yield

    @precondition(lambda self: self.answers)
    @rule(at=st.integers(0, 99))
    def hear(self, at: int) -> None:
        unit, ack = self.answers.pop(at % len(self.answers))
        self.pumps[unit].on_ack(ack)

    @rule(unit=units)
    def lose_stream(self, unit: int) -> None:
        """Frames already sent may still arrive; their answers do not."""
        self.pumps[unit].on_stream_lost()
        self.answers = [(u, ack) for u, ack in self.answers if u != unit]

    # What always holds.

    @invariant()
    def the_store_is_the_committed_prefix(self) -> None:
        cursors = self.run(self.store.cursors())
        expected: State = {}
        for p, (epoch, cursor) in cursors.items():
            assert self.fences.get(p, 0) <= epoch <= self.epochs[p]
            self.fences[p] = epoch
            assert self.cursors.get(p, 0) <= cursor <= len(self.journals[p])
            self.cursors[p] = cursor
            expected |= fold(self.journals[p], cursor)
        expected = {at: entry for at, entry in expected.items() if at[0] != "cache"}
        assert self.run(self.stored()) == expected

        self.check_what_was_told()

    def check_what_was_told(self) -> None:
        """No unit was told of more than the store has."""
        for source, pump in zip(self.sources, self.pumps, strict=True):
            pump.validate()
            for p, epoch, cursor in source.told:
                assert cursor <= self.cursors[p]
                assert epoch <= self.epochs[p]

    async def stored(self) -> State:
        state: State = {}
        for space in SCHEMAS:
            async for key, value, version, deadline in self.store.read_rows(space):
                state[space, key] = (value, version, deadline)
        return state

    def teardown(self) -> None:
        """When the faults end, everything arrives."""
        for unit in range(2):
            self.learn(unit)
            self.pumps[unit].on_stream_lost()
        for _ in range(50):
            for unit, pump in enumerate(self.pumps):
                self.send(unit)
                for _, frame in self.network:
                    pump.on_ack(self.run(self.writer.write(frame)))
                self.network.clear()
            if not any(pump.lag_records() for pump in self.pumps):
                break
        self.the_store_is_the_committed_prefix()
        for p, journal in self.journals.items():
            if journal:
                assert self.cursors[p] == len(journal)
        assert not any(pump.problems or pump.fenced() for pump in self.pumps)
        self.run(self.writer.__aexit__(None, None, None))
        self.loop.close()
        self.folder.cleanup()


Grid.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPumpAndStore = Grid.TestCase


class OneByOne(SplitPump):
    """Its frames one after the other, as they are published."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.unsent: list[PumpFrame] = []

    def next_frame(self, now: float, flush: bool = False) -> PumpFrame | None:
        self.unsent = self.unsent or self.next_frames(now, flush)
        return self.unsent.pop(0) if self.unsent else None

    def on_stream_lost(self) -> None:
        self.unsent.clear()
        super().on_stream_lost()


class SplitGrid(Grid):
    """A frame for each partition, as over NATS."""

    make_pump = OneByOne


SplitGrid.TestCase.settings = settings(Grid.TestCase.settings, max_examples=15)
TestSplitPumpAndStore = SplitGrid.TestCase
