"""Rows that are read while everything else goes on, against a model of grid and store.

A partition with its backup, a store that is written by the real pump, and somebody else who changes
rows in it. Reads begin and arrive at any later time, any number at once, in any order, also across
a fail-over. Held against it: nothing acknowledged is lost, nothing removed comes back, and with all
that is under way ended a refresh makes grid and store the same.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch
from tupelo_grid.core.loads import Fence, Fit, Found, Loads
from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_frames import Answer, PumpAck, PumpFrame
from tupelo_grid.core.pump_port import PumpLimits
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.table import PartitionConfig
from tupelo_grid.core.unit import Unit

from tests.unit.test_core_unit import Cluster, one

KEYS = [b"a", b"b", b"c"]
SPACE = "default"
keys = st.sampled_from(KEYS)


class Machine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.cluster = Cluster(["u#1", "u#2", "u#3"], 1)
        self.op = 0
        self.number = 0
        # The store: rows, the fence, and which of the grid's changes of a key it has applied.
        self.rows: dict[bytes, Found] = {}
        self.applied: dict[bytes, int] = {}
        self.fence = Fence(0, 0)
        self.newest: dict[bytes, int] = {}  # the grid's changes of a key, by sequence
        # What a read of the grid has to give: what was put or removed last, or brought in since.
        self.truth: dict[bytes, bytes | None] = {}
        self.reads: list[tuple[Fence, dict[bytes, Found | None], dict[bytes, int]]] = []
        self.follow()

    def follow(self) -> None:
        """A pump and loads for whoever is primary now."""
        self.unit: Unit = self.cluster.primary(0)
        limits = PumpLimits(batch_records=7, batch_bytes=10_000, batch_s=0.0)
        self.pump = Pump(UnitPumpSource(self.unit), limits, {})
        self.pump.reconcile(self.cluster.clock.now())
        self.loads = Loads(self.unit)

    def value(self) -> bytes:
        self.number += 1
        return b"%d" % self.number

    def run(self, kind: int, key: bytes, value: bytes = b"") -> Any:
        self.op += 1
        pending = self.cluster.run(0, one(kind, 0, key, value, op=self.op))
        if not pending.codes[0]:
            self.newest[key] = pending.versions[0]
        return pending

    # The grid.

    @rule(key=keys)
    def put(self, key: bytes) -> None:
        value = self.value()
        self.run(kinds.PUT, key, value)
        self.truth[key] = value

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        """As a client of a space that is read through: looked for first."""
        if self.loads.missing(0, SPACE, key):
            self.read([key])
            self.arrive(len(self.reads) - 1)
        self.run(kinds.DELETE, key)
        self.truth[key] = None

    @rule(key=keys)
    def forget(self, key: bytes) -> None:
        """The journal is trimmed beyond a change of a key and its removal."""
        self.put(key)
        self.delete(key)
        count = 70
        numbers = list(range(self.op + 1, self.op + 1 + count))
        self.op += count
        writes = Batch(
            session=1,
            acked_below=0,
            kinds=bytes([kinds.PUT]) * count,
            partitions=[0] * count,
            targets=[SPACE],
            target_index=None,
            keys=[b"other"] * count,
            values=[b"v"] * count,
            op_numbers=numbers,
        )
        self.cluster.run(0, writes)
        self.persist(30)
        self.unit.primaries[0].tend(full=True)
        self.cluster.settle()

    @rule()
    def fail_over(self) -> None:
        config = self.cluster.table[0].config
        others = [name for name in ("u#1", "u#2", "u#3") if name != config.primary]
        members = (others[0], config.primary)
        if not all(name in config.in_sync for name in members):
            return
        self.cluster.set(0, PartitionConfig(config.epoch + 1, others[0], members))
        self.cluster.publish()
        self.cluster.settle()
        self.follow()

    # The store.

    @rule(frames=st.integers(1, 6))
    def persist(self, frames: int) -> None:
        now = self.cluster.clock.now()
        for _ in range(frames):
            self.pump.observe(now)
            frame = self.pump.next_frame(now, flush=True)
            if frame is None:
                return
            self.pump.on_ack(self.apply(frame))
            self.pump.validate()

    def apply(self, frame: PumpFrame) -> PumpAck:
        answers = []
        for number, epoch in frame.claims:
            assert epoch >= self.fence.epoch
            self.fence = Fence(epoch, self.fence.cursor)
            answers.append((number, epoch, self.fence.cursor, Answer.CLAIMED))
        for batch in frame.batches:
            assert (batch.epoch, batch.from_sequence) == (self.fence.epoch, self.fence.cursor)
            for _, key, value, version, deadline in batch.changes:
                self.applied[key] = version
                if value is None:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = (value, deadline)
            self.fence = Fence(batch.epoch, batch.to_sequence)
            answers.append((0, batch.epoch, batch.to_sequence, Answer.PERSISTED))
        return PumpAck(frame.position, answers)

    @rule(key=keys, gone=st.booleans())
    def somebody_else(self, key: bytes, gone: bool) -> None:
        if gone:
            self.rows.pop(key, None)
        else:
            self.rows[key] = (self.value(), 0)

    # Reads.

    @rule(chosen=st.lists(keys, min_size=1, unique=True))
    def read(self, chosen: list[bytes]) -> None:
        if len(self.reads) < 5:
            rows = {key: self.rows.get(key) for key in chosen}
            self.reads.append((self.fence, rows, dict(self.applied)))

    @precondition(lambda self: self.reads)
    @rule(at=st.integers(0, 4), replace=st.booleans())
    def arrives(self, at: int, replace: bool) -> None:
        self.arrive(at % len(self.reads), replace)

    def arrive(self, at: int, replace: bool = False) -> None:
        fence, rows, applied = self.reads.pop(at)
        before = self.entries()
        taken = self.loads.take(0, fence, SPACE, rows, replace=replace)
        self.cluster.settle()
        if taken.fit is not Fit.YES:
            assert self.entries() == before
        for key, value in self.entries().items():
            if before.get(key) != value:
                row = rows[key]
                assert row is not None
                assert row[0] == value
                assert replace or key not in before
                assert applied.get(key, 0) >= self.newest.get(key, 0), "older than the grid's"
                self.truth[key] = value
        for key in before.keys() - self.entries().keys():
            assert replace
            assert rows[key] is None
            assert applied.get(key, 0) >= self.newest.get(key, 0), "older than the grid's"
            self.truth[key] = None

    # What always holds.

    def entries(self) -> dict[bytes, bytes]:
        held = self.unit.replicas[0].spaces.get(SPACE, {})
        return {key: entry.value for key, entry in held.items() if key in KEYS}

    @invariant()
    def the_grid_has_what_was_acknowledged(self) -> None:
        if hasattr(self, "cluster"):
            known = {key: value for key, value in self.truth.items() if value is not None}
            assert self.entries() == known

    @invariant()
    def replicas_are_equal(self) -> None:
        if hasattr(self, "cluster"):
            held = [
                unit.replicas[0].digest()
                for name, unit in self.cluster.units.items()
                if name in self.cluster.table[0].config.in_sync
            ]
            assert len(set(held)) == 1

    def teardown(self) -> None:
        """With everything stored, what is read now counts, for every key."""
        if not hasattr(self, "cluster"):
            return
        now = self.cluster.clock.now()
        self.pump.reconcile(now)
        self.pump.observe(now)
        while self.pump.lag_records():
            self.persist(50)
        taken = self.loads.take(
            0, self.fence, SPACE, {key: self.rows.get(key) for key in KEYS}, replace=True
        )
        self.cluster.settle()
        assert taken.fit is Fit.YES
        assert not taken.newer
        stored = {key: row[0] for key, row in self.rows.items() if key in KEYS}
        assert self.entries() == stored


TestLoads = Machine.TestCase
TestLoads.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
