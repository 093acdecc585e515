"""The shell of a simulated processing unit: what the runtime does around the core, on fake I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tupelo_grid.core import membership as lease
from tupelo_grid.core.batch import CARRIED_OUT_BELOW, Batch, Pending
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.persist_waits import PersistWaits, Wait, WaitEnd
from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_frames import PumpAck
from tupelo_grid.core.pump_port import PumpLimits
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.statestore import Snapshot, TxnResult
from tupelo_grid.core.swaps import Swap, SwapOutcome, SwapResult
from tupelo_grid.core.table import Lease, decode_config, encode, lease_key, part_key
from tupelo_grid.core.table import Versioned as Version
from tupelo_grid.core.unit import Unit

from tests.simulation.commands import BRIEF, SPACES, Application
from tests.simulation.disks import SimDisk
from tests.simulation.loop import SimClock
from tests.simulation.places import DATA, Calls
from tests.simulation.spilling import SimSpill

if TYPE_CHECKING:
    from tests.simulation.world import World

PUMP = PumpLimits(batch_records=20, batch_bytes=4096, batch_s=0.05)
PUMP_TIMEOUT_S = 0.3
POLL_S = 0.2
WAITS_MAX = 100


class Process:
    """One unit name's process; `start` gives it a new life."""

    def __init__(self, world: World, name: str, clock: SimClock, limits: Limits) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.limits = limits
        self.alive = False
        self.paused = False
        self.draining = False
        self.incarnation = ""
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.disk = SimDisk(world)
        self.spill = SimSpill(world)

    def start(self) -> None:
        world = self.world
        self.incarnation = world.next_incarnation(self.name)
        self.alive, self.paused = True, False
        self._inbox.clear()
        self.unit = self._unit()
        self.unit.minimums.follow({BRIEF: world.plan.brief_min}, ())
        published = Lease(self.name, self.name, self.name, "", draining=self.draining)
        self.keeper = lease.LeaseKeeper(self.incarnation, published, world.plan.lease_s)
        self.calls = Calls(world, self.name, world.plan.call_timeout_s)
        self.waits = PersistWaits(WAITS_MAX)
        self.pump = Pump(UnitPumpSource(self.unit, self.waits.persisted), PUMP, {})
        self.pump.listener = self.waits
        self._snapshots: dict[int, Snapshot] = {}
        self._nonces = 0
        self._reading = False
        self._polled = self._reconciled = -1.0
        self._pump_sent = 0.0
        self._waiting: set[int] = set()
        self._connecting: set[str] = set()
        # Partitions with a swap under way; the value is the one to follow it.
        self._swapping: dict[int, Swap | None] = {}
        self._flush_due = False
        world.units[self.incarnation] = self
        world.note(f"{self.incarnation} starts")
        self._tick(self.incarnation)

    def _unit(self) -> Unit:
        if self.world.plan.disk:
            return self.disk.start(self)
        if self.world.plan.spill_bytes_max:
            return self.spill.start(self)
        return Unit(self.incarnation, self.clock, self.limits, Application(), SPACES)

    # -- life

    def crash(self) -> None:
        self.alive = self.paused = False
        self.disk.crash()
        self._inbox.clear()
        self.world.units.pop(self.incarnation, None)
        self.world.checks.died(self)
        self.world.note(f"{self.incarnation} dies")

    def pause(self) -> None:
        self.paused = True
        self.world.note(f"{self.incarnation} stops")

    def resume(self) -> None:
        if not self.paused:
            return
        self.paused = False
        self.world.note(f"{self.incarnation} goes on")
        waiting, self._inbox = self._inbox, deque()
        for call, args in waiting:
            if self.alive:
                self.deliver(self.incarnation, call, *args)

    def deliver(self, incarnation: str, call: Callable[..., None], *args: Any) -> None:
        """Runs something in this process, unless that life of it is over."""
        if not self.alive or incarnation != self.incarnation:
            return
        if self.paused:
            self._inbox.append((call, args))
            return
        call(*args)
        self._carry_out()

    def _here(self) -> Callable[..., None]:
        incarnation = self.incarnation
        return lambda call, *args: self.deliver(incarnation, call, *args)

    def _tick(self, incarnation: str) -> None:
        if not self.alive or incarnation != self.incarnation:
            return
        if not self.paused:
            self.deliver(incarnation, self._on_tick)
        pause_s = self.world.plan.tick_s * (0.8 + 0.4 * self.world.rng.random())
        self.world.loop.after(pause_s, self._tick, incarnation)

    def _on_tick(self) -> None:
        now = self.clock.now()
        self._step(lease.Tick(self._nonce()))
        self.unit.tick()
        self._connect()
        if now - self._polled > POLL_S:
            self._read_table()
        self._run_pump(now)
        if self.world.plan.disk:
            self.disk.tick(now)
        if self.world.plan.spill_bytes_max:
            self.spill.check()

    # -- lease and table

    def _nonce(self) -> str:
        self._nonces += 1
        return f"{self.incarnation}/{self._nonces}"

    def _step(self, event: lease.Event) -> None:
        keeper, unit = self.keeper, self.unit
        effects = keeper.step(event, self.clock.now())
        if keeper.held and keeper.lease_until != unit.lease_until:
            unit.renewed(keeper.lease_until)
            self.world.checks.leased(self)
        for effect in effects:
            if isinstance(effect, lease.DropRoles):
                self.world.note(f"{self.incarnation} was fenced")
                unit.fenced()
            elif isinstance(effect, lease.ReadTogether):
                self._read_together(effect.ticket)
            elif isinstance(effect, lease.SendRenewal):
                self._renew(effect)
            elif effect.ticket in self._snapshots:
                self.act_on(self._snapshots.pop(effect.ticket))

    def _read_together(self, ticket: int) -> None:
        def done(snapshot: Snapshot) -> None:
            self._snapshots = {ticket: snapshot}
            held = snapshot.entries.get(lease_key(self.incarnation))
            self._step(lease.ReadDone(ticket, held, self._nonce()))

        self.calls.call(
            self.world.store.read, done, lambda: self._step(lease.ReadFailed(ticket)), self._here()
        )

    def _renew(self, effect: lease.SendRenewal) -> None:
        store, name = self.world.store, self.name
        conditions, puts = [(effect.key, effect.revision)], {effect.key: effect.value}
        self.calls.call(
            lambda: store.txn(name, conditions, puts),
            lambda result: self._step(lease.RenewalDone(effect.nonce, result)),
            lambda: self._step(lease.RenewalInDoubt(effect.nonce)),
            self._here(),
        )

    def _read_table(self) -> None:
        if self._reading:
            return
        self._reading = True
        self._polled = self.clock.now()
        generation = self.keeper.generation

        def done(snapshot: Snapshot) -> None:
            self._reading = False
            if self.keeper.held and self.keeper.generation == generation:
                self.act_on(snapshot)

        def lost() -> None:
            self._reading = False

        self.calls.call(self.world.store.read, done, lost, self._here())

    def hint(self) -> None:
        """Something changed at the store, as its watch says."""
        self._read_table()

    def act_on(self, snapshot: Snapshot) -> None:
        parts, leases = self.world.decoded(snapshot)
        self.unit.set_leases(leases)
        self.unit.set_table(parts)
        self._connect()

    # -- connections

    def _connect(self) -> None:
        for peer in sorted(self.unit.peers_wanted | set(self.unit.links)):
            link = self.unit.links.get(peer)
            if (link is None or not link.up) and peer not in self._connecting:
                self._connecting.add(peer)
                self.world.connect(self, peer)

    def connected(self, peer: str, success: bool) -> None:
        self._connecting.discard(peer)
        link = self.unit.links.get(peer)
        if success and (link is None or not link.up):
            self.unit.link_up(peer)

    def broken(self, peer: str) -> None:
        self.unit.link_down(peer)

    # -- effects

    def _carry_out(self) -> None:
        unit, world = self.unit, self.world
        world.checks.stepped(self)
        if unit.answers.completed:
            for pending in unit.answers.completed:
                self.answer(pending)
            unit.answers.completed.clear()
        for swap in unit.take_swaps():
            if swap.partition in self._swapping:
                self._swapping[swap.partition] = swap
            else:
                self._swapping[swap.partition] = None
                self._swap(swap)
        if world.plan.disk:
            self.disk.kick()
        if world.plan.flush_delay_s and world.rng.random() < 0.3:
            if not self._flush_due:
                self._flush_due = True
                delay_s = world.rng.random() * world.plan.flush_delay_s
                world.loop.after(delay_s, self.deliver, self.incarnation, self._flush_late)
        elif not self._flush_due:
            self._flush()

    def _flush_late(self) -> None:
        self._flush_due = False

    def _flush(self) -> None:
        for frame in self.unit.flush():
            self.world.send_frame(self, frame)

    def on_frame(self, frame: Frame) -> None:
        ack = self.unit.receive(frame)
        if ack is None:
            return
        if self.world.plan.disk:
            self.disk.hold(partial(self.world.send_ack, self, ack))
        else:
            self.world.send_ack(self, ack)

    def on_ack(self, ack: Ack) -> None:
        self.unit.acknowledged(ack)

    def _swap(self, swap: Swap) -> None:
        self.world.moment(self, swap.purpose.name)
        if not swap.lease_guard:
            self._txn(swap, [])
            return

        def read(snapshot: Snapshot) -> None:
            guard = snapshot.entries.get(lease_key(swap.lease_guard))
            _, leases = self.world.decoded(snapshot)
            if guard is None or leases[swap.lease_guard].fenced:
                self._swapped(SwapResult(swap, SwapOutcome.LOST))
            else:
                self._txn(swap, [(lease_key(swap.lease_guard), guard.revision)])

        lost = SwapResult(swap, SwapOutcome.LOST)
        self.calls.call(self.world.store.read, read, lambda: self._swapped(lost), self._here())

    def _txn(self, swap: Swap, guards: list[tuple[str, int]]) -> None:
        store, key = self.world.store, part_key(swap.partition)
        conditions = [(key, swap.revision), *guards]
        puts = {key: encode(swap.config)}

        def done(result: TxnResult) -> None:
            if result.succeeded:
                current = Version(swap.config, result.revision)
                self._swapped(SwapResult(swap, SwapOutcome.WON, current))
                return
            held = result.current.get(key)
            now = Version(decode_config(held.value), held.revision) if held else None
            self._swapped(SwapResult(swap, SwapOutcome.LOST, now))

        doubt = SwapResult(swap, SwapOutcome.IN_DOUBT)
        self.calls.call(
            lambda: store.txn(self.incarnation, conditions, puts, (), swap.purpose.name),
            done,
            lambda: self._swapped(doubt),
            self._here(),
        )

    def _swapped(self, result: SwapResult) -> None:
        waiting = self._swapping.pop(result.swap.partition, None)
        if waiting is not None:
            self._swapping[waiting.partition] = None
            self._swap(waiting)
        self.unit.swapped(result)

    # -- clients

    def on_batch(self, batch: Batch, token: Any) -> None:
        pending = self.unit.submit(batch)
        pending.token = token
        if pending.done:
            self.unit.answers.completed.append(pending)
        # What was refused is not repeated: its client may have been told that it was not done.
        refused = any(code >= CARRIED_OUT_BELOW for code in pending.codes) or (
            pending.bulk is not None and any(c >= CARRIED_OUT_BELOW for c in pending.bulk.codes)
        )
        rng = self.world.rng
        if not refused and rng.random() < self.world.plan.repeat:
            late_s = rng.random() * (2.0 if rng.random() < 0.3 else 0.05)
            self.world.loop.after(
                late_s, self.deliver, self.incarnation, self.on_batch, batch, None
            )

    def answer(self, pending: Pending) -> None:
        self.world.checks.answered(self, pending)
        self.world.send_answer(self, pending)

    # -- pump

    def _run_pump(self, now: float) -> None:
        pump = self.pump
        pump.observe(now)
        self._wait_for_the_store()
        if now - self._reconciled > 0.3:
            self._reconciled = now
            pump.reconcile(now)
        if pump.in_flight and now - self._pump_sent > PUMP_TIMEOUT_S:
            pump.on_stream_lost()
        self._send_pump(now)

    def _wait_for_the_store(self) -> None:
        """As a client does that asks whether the store has the newest of each partition."""
        for number, primary in self.unit.primaries.items():
            held = primary.partition
            if primary.ready and held.commit > held.persisted and number not in self._waiting:
                self._waiting.add(number)
                done = partial(self._stored, number, held.commit)
                self.waits.add(Wait(number, held.commit, frozenset(), done))

    def _stored(self, number: int, sequence: int, end: WaitEnd, _why: str) -> None:
        self._waiting.discard(number)
        if end is WaitEnd.STORED:
            self.world.checks.told_stored(self, number, sequence)

    def _send_pump(self, now: float) -> None:
        frame = self.pump.next_frame(now)
        if frame is None:
            return
        self._pump_sent = now
        world, here, pump = self.world, self._here(), self.pump

        def reply(ack: PumpAck) -> None:
            world.net.send(DATA, self.name, here, self._on_pump_ack, pump, ack)

        world.net.send(self.name, DATA, world.data.handle, frame, reply)

    def _on_pump_ack(self, pump: Pump, ack: PumpAck) -> None:
        if pump.on_ack(ack):
            self._send_pump(self.clock.now())
