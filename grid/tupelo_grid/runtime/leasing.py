"""Keeps this unit's lease, from the event loop that serves: a stuck loop loses it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine

from tupelo_grid.coordinator.port import Snapshot, StateStore, StoreAway, StoreInDoubt
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.membership import (
    ActOnTable,
    DrainWanted,
    DropRoles,
    Event,
    LeaseKeeper,
    ReadDone,
    ReadFailed,
    ReadTogether,
    RenewalAway,
    RenewalDone,
    RenewalInDoubt,
    SendRenewal,
    Tick,
)
from tupelo_grid.core.table import lease_key
from tupelo_grid.core.unit import Unit
from tupelo_grid.core.view import ViewReader

log = logging.getLogger(__name__)

TICKS_PER_LEASE = 16
# Renewals and reads under way at once; while the store hangs, later ticks start no more.
CALLS_MAX = 8


class LeaseLoop:
    """Carries out what the LeaseKeeper decides and tells the unit core the outcome.

    `changed` is called after anything that the unit may want to act on.
    """

    def __init__(
        self,
        keeper: LeaseKeeper,
        unit: Unit,
        store: StateStore,
        clock: Clock,
        lease_s: float,
        changed: Callable[[], None],
    ) -> None:
        self._keeper = keeper
        self._unit = unit
        self._store = store
        self._clock = clock
        self._tick_s = lease_s / TICKS_PER_LEASE
        self._changed = changed
        self._calls: set[asyncio.Task[None]] = set()
        self._snapshots: dict[int, Snapshot] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                if len(self._calls) < CALLS_MAX:
                    self._step(Tick(secrets.token_hex(8)))
                await asyncio.sleep(self._tick_s)
        finally:
            for call in self._calls:
                call.cancel()

    def drain(self) -> None:
        """Asks the controller, by the lease, to move everything away."""
        self._step(DrainWanted())

    def _step(self, event: Event) -> None:
        effects = self._keeper.step(event, self._clock.now())
        if self._keeper.held:
            self._unit.renewed(self._keeper.lease_until)
        for effect in effects:
            match effect:
                case DropRoles(reason):
                    log.warning("all primary roles are dropped: %s", reason)
                    self._unit.fenced()
                case ReadTogether(ticket):
                    self._spawn(self._read(ticket))
                case SendRenewal():
                    self._spawn(self._renew(effect))
                case ActOnTable(ticket):
                    self._act(ticket)
        self._changed()

    def _spawn(self, call: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _read(self, ticket: int) -> None:
        try:
            snapshot = await self._store.read("")
        except StoreAway as error:
            log.info("leases and table cannot be read: %s", error)
            self._step(ReadFailed(ticket))
            return
        if ticket >= max(self._snapshots, default=0):  # not one that a newer read has overtaken
            self._snapshots = {ticket: snapshot}
        own = snapshot.entries.get(lease_key(self._keeper.incarnation))
        self._step(ReadDone(ticket, own, secrets.token_hex(8)))

    async def _renew(self, renewal: SendRenewal) -> None:
        nonce = renewal.nonce
        try:
            result = await self._store.txn(
                [(renewal.key, renewal.revision)], {renewal.key: renewal.value}
            )
        except StoreInDoubt:
            self._step(RenewalInDoubt(nonce))
        except StoreAway:
            self._step(RenewalAway(nonce))
        else:
            self._step(RenewalDone(nonce, result))

    def _act(self, ticket: int) -> None:
        snapshot = self._snapshots.pop(ticket, None)
        if snapshot is not None:
            # Rows that make no sense are passed over: they must not keep a unit from its lease.
            view = ViewReader().read(snapshot)
            self._unit.set_leases({name: held.lease for name, held in view.leases.items()})
            self._unit.set_table(view.parts)
