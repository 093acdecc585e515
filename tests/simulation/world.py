"""One run: everything that takes part in it, and how it begins and ends."""

from __future__ import annotations

import random
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

from tupelo_grid.core.batch import Batch, Pending
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.core.statestore import KeyValue, Snapshot, TxnResult
from tupelo_grid.core.table import (
    GRID_KEY,
    LEASE_PREFIX,
    NEXT_INCARNATION_KEY,
    PART_PREFIX,
    GridInfo,
    Lease,
    Versioned,
    decode_config,
    decode_lease,
    encode,
    incarnation_of,
)

from tests.linearizability.history import Recorder
from tests.simulation.checks import Checks
from tests.simulation.clients import Client, batch_of
from tests.simulation.control import Control
from tests.simulation.faults import Faults
from tests.simulation.loop import Loop, SimClock
from tests.simulation.network import Network
from tests.simulation.places import DataStore, StateStore
from tests.simulation.plan import Plan
from tests.simulation.process import Process
from tests.simulation.workload import Operation

UNITS_MAX = 5


class World:
    """Attributes: `units`: live processes by incarnation; `processes`: by unit, alive or not."""

    def __init__(self, plan: Plan, rng: random.Random, transcript: list[str] | None = None) -> None:
        self.plan = plan
        self.rng = rng
        self.transcript = transcript
        self.operations = 0
        self.spilled: dict[str, int] = {}
        self.loop = Loop()
        self.net = Network(self.loop, rng)
        self.net.loss, self.net.repeat, self.net.slow = plan.loss, plan.repeat, plan.slow
        self.net.ordered, self.net.slow_s = plan.ordered, plan.slow_s
        self.checks = Checks(self)
        self.store = StateStore(self)
        self.data = DataStore(self)
        self.units: dict[str, Process] = {}
        self.processes: list[Process] = []
        self.registers = Recorder(lambda: self.loop.now)
        self.counters = Recorder(lambda: self.loop.now)
        self.lists = Recorder(lambda: self.loop.now)
        self._decoded: dict[str, tuple[KeyValue, Any]] = {}
        self._last_decoded: tuple[int, Any] = (-1, None)
        self._broken: set[tuple[str, str]] = set()
        self._told = random.Random(f"told {plan.seed}")
        grid = GridInfo("0" * 32, plan.partitions, plan.backups, plan.limits.min_in_sync)
        self.store.state.txn([], {GRID_KEY: encode(grid)})
        self.controls = [Control(self, "control", self._clock()) for _ in range(plan.controllers)]
        self.clients: list[Client] = []
        for _ in range(plan.units):
            self.add_unit()
        for number in range(plan.clients):
            self.clients.append(Client(self, f"client{number}", plan.lanes))
        self.faults = Faults(self)

    # -- parts

    def _clock(self) -> SimClock:
        drift, skew = self.plan.drift, self.plan.skew_ms
        rate = 1.0 + drift * (2 * self.rng.random() - 1)
        return SimClock(
            self.loop, rate, 10.0 + 1000 * self.rng.random(), self.rng.randint(-skew, skew)
        )

    def add_unit(self) -> None:
        if len(self.processes) < UNITS_MAX:
            name = f"unit-{len(self.processes) + 1}"
            process = Process(self, name, self._clock(), self.plan.limits)
            self.processes.append(process)
            process.start()

    def next_incarnation(self, name: str) -> str:
        held = self.store.state.entries.get(NEXT_INCARNATION_KEY)
        number = int(held.value) + 1 if held else 1
        self.store.state.txn([], {NEXT_INCARNATION_KEY: b"%d" % number})
        return incarnation_of(name, number)

    def recorder_of(self, kind: str) -> Recorder:
        if kind in ("add", "read_counter"):
            return self.counters
        return self.lists if kind in ("append", "read_list") else self.registers

    def note(self, text: str) -> None:
        self.loop.mix(text)
        if self.transcript is not None:
            self.transcript.append(f"{self.loop.now:8.4f}  {text}")

    def decoded(self, snapshot: Snapshot) -> tuple[dict[int, Versioned], dict[str, Lease]]:
        """(partitions, leases) of a snapshot of the whole state store."""
        if self._last_decoded[0] == snapshot.revision:
            return self._last_decoded[1]  # type: ignore[no-any-return]
        parts: dict[int, Versioned] = {}
        leases: dict[str, Lease] = {}
        for key, kv in snapshot.entries.items():
            known = self._decoded.get(key)
            if known is None or known[0] is not kv:
                value: Any = None
                if key.startswith(PART_PREFIX):
                    value = Versioned(decode_config(kv.value), kv.revision)
                elif key.startswith(LEASE_PREFIX):
                    value = decode_lease(kv.value)
                known = self._decoded[key] = (kv, value)
            if key.startswith(PART_PREFIX):
                parts[int(key[len(PART_PREFIX) :])] = known[1]
            elif key.startswith(LEASE_PREFIX):
                leases[key[len(LEASE_PREFIX) :]] = known[1]
        self._last_decoded = (snapshot.revision, (parts, leases))
        return parts, leases

    def changed(self, who: str, keys: list[str], reason: str) -> None:
        """A swap of the table took effect: watchers hear of it, mostly."""
        for key in keys:
            config = self.checks.configs[int(key[len(PART_PREFIX) :])]
            advice = "".join(
                f" {name}={value}"
                for name, value in (
                    ("learner", config.learner),
                    ("next", config.next_primary),
                    ("leaving", config.leaving),
                )
                if value
            )
            self.note(
                f"{who}: {reason} -> {key} epoch {config.epoch} {config.primary or 'LOST'} "
                f"in sync {', '.join(config.in_sync)}{advice}"
            )
        for process in self.processes:
            if process.alive and self.rng.random() < 0.8:
                incarnation = process.incarnation
                self.net.send("store", process.name, process.deliver, incarnation, process.hint)

    def renewed(self, keys: list[str], result: TxnResult) -> None:
        """Leases were renewed: controllers hear of it by a watch, now and then."""
        for key in keys:
            told = (key[len(LEASE_PREFIX) :], result.revision)
            for control in self.controls:
                if self._told.random() < 0.3:
                    self.net.send("store", "control", control.renewed, *told)

    def moment(self, process: Process, what: str) -> None:
        self.note(f"{process.incarnation} asks to {what}")
        self.faults.moment(process, what)

    # -- connections between units: what is sent on a broken one is lost, until it is made anew

    def connect(self, process: Process, peer: str) -> None:
        target = self.units.get(peer)
        delay_s = 0.002 + 0.01 * self.rng.random()
        success = (
            target is not None
            and self.net.open(process.name, target.name)
            and self.net.open(target.name, process.name)
        )
        if not success:
            delay_s += 0.05
        self.loop.after(
            delay_s, process.deliver, process.incarnation, self._connected, process, peer, success
        )

    def _connected(self, process: Process, peer: str, success: bool) -> None:
        if success:
            self._broken.discard((process.incarnation, peer))
        process.connected(peer, success)

    def _break(self, sender: str, receiver: str) -> None:
        if (sender, receiver) in self._broken:
            return
        if self.net.ordered or self.rng.random() < 0.4:
            if self.net.ordered:
                self._broken.add((sender, receiver))
            process = self.units.get(sender)
            if process is not None:
                delay_s = 0.01 + 0.25 * self.rng.random()
                self.loop.after(delay_s, process.deliver, sender, process.broken, receiver)

    def send_frame(self, process: Process, frame: Frame) -> None:
        target = self.units.get(frame.receiver)
        place = (frame.sender, frame.receiver)
        if frame.snapshots and self.loop.now < self.plan.load_until_s:
            # In the middle of a snapshot the connection breaks, before a chunk or behind one.
            chance = self._told.random()
            if chance < self.plan.snapshot_breaks:
                if chance < self.plan.snapshot_breaks / 2 and target is not None:
                    self.loop.after(0.0, target.deliver, frame.receiver, target.on_frame, frame)
                self.note(f"the stream from {frame.sender} to {frame.receiver} breaks")
                self._break(*place)
                return
        if target is not None and place not in self._broken:
            arrive = (target.deliver, frame.receiver, target.on_frame, frame)
            if self.net.send(process.name, target.name, *arrive, stream=True):
                return
        self._break(*place)

    def send_ack(self, process: Process, ack: Ack) -> None:
        target = self.units.get(ack.receiver)
        if target is not None and (ack.receiver, ack.sender) not in self._broken:
            arrive = (target.deliver, ack.receiver, target.on_ack, ack)
            if self.net.send(process.name, target.name, *arrive, stream=True):
                return
        self._break(ack.receiver, ack.sender)

    # -- clients' batches

    def send_batch(
        self,
        client: Client,
        owner: str,
        operations: list[Operation],
        header: tuple[int, int, bool, float],
        token: Any,
    ) -> None:
        session, floor, strict, timeout_s = header
        batch = batch_of(operations, session, floor, strict, timeout_s)
        place = owner.rpartition("#")[0]
        arrive = (self._arrive, client, place, owner, batch, token)
        self.net.send(client.name, place, *arrive, repeatable=False)

    def _arrive(self, client: Client, place: str, owner: str, batch: Batch, token: Any) -> None:
        process = self.units.get(owner)
        if process is not None:
            own = replace(batch, deadline=process.clock.now() + batch.deadline)
            process.deliver(owner, process.on_batch, own, token)
        elif self.rng.random() < 0.8:
            self.net.send(place, client.name, client.refused, token[1])

    def send_answer(self, process: Process, pending: Pending) -> None:
        """Encoded at once, as on the wire: what becomes of it afterwards is not told."""
        if pending.token is None:
            return
        client, operations = pending.token
        route = dict(process.unit.configs) if pending.stale else {}
        told = copy(pending)
        told.codes, told.values = bytearray(pending.codes), list(pending.values)
        told.versions, told.errors = list(pending.versions), list(pending.errors)
        told.bulk = deepcopy(pending.bulk)
        answer = (client.answered, operations, told, route)
        self.net.send(process.name, client.name, *answer)
