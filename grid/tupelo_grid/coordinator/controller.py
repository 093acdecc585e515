"""The controller's loop: reads the state store, decides, sends the transactions, says why.

A controller is not trusted to be alone: every transaction is a compare-and-swap on what it was
decided from, and one that fails is decided anew from a fresh read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import Hint, StateStore, StoreError
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.controller import Controller, ControllerSettings
from tupelo_grid.core.failover import JournalLengths
from tupelo_grid.core.statestore import Txn
from tupelo_grid.core.table import LEASE_PREFIX, PART_PREFIX
from tupelo_grid.core.view import Members, View, ViewReader

log = logging.getLogger(__name__)

# Renewals are noticed by a watch, and that one is missing by a timer at that very moment. Where the
# watch has failed, this is how late a renewal is noticed, and that adds to a fail-over.
TICKS_PER_LEASE = 20
# A lease is overdue after its moment, not at it.
JUST_AFTER_S = 0.001
# Sent together; the state file writes what waits for it in one go.
TXNS_AT_ONCE = 64

# Asks these incarnations how long their journals are, within moments.
AskLengths = Callable[[View, Collection[str]], Awaitable[JournalLengths]]


class ControllerLoop:
    """Runs a `Controller` over a state store.

    Args:
        ask_lengths: asked when a primary has to be replaced and there is a choice; None: the
            choice is made without.
    """

    def __init__(
        self,
        store: StateStore,
        config: GridConfig,
        clock: Clock,
        ask_lengths: AskLengths | None = None,
        creates: bool = True,
    ) -> None:
        self._store = store
        self._clock = clock
        self._controller = Controller(ControllerSettings.of(config))
        self._controller.creates = creates
        self._reader = ViewReader()
        self._tick_s = config.lease_s / TICKS_PER_LEASE
        self._ask_lengths = ask_lengths
        self._wake = asyncio.Event()
        self._leases: frozenset[str] = frozenset()
        self._malformed: tuple[str, ...] = ()
        self._held = False

    async def saw_death(self, incarnation: str) -> None:
        """Its process has ended; it is deposed at once, without waiting for its lease."""
        log.warning("%s has died", incarnation)
        self._controller.saw_death(incarnation)
        self._wake.set()

    def create(self) -> None:
        """From now on partitions that are not there are created."""
        self._controller.creates = True
        self._wake.set()

    def hold(self) -> None:
        """Decides nothing any more: the grid is shut down, and its units stop on purpose."""
        self._held = True

    async def run(self) -> None:
        """Until cancelled. What goes wrong in one round is logged, and the next one tries again."""
        watching = asyncio.create_task(self._watch(), name="controller watch")
        try:
            while True:
                self._wake.clear()
                if not await self._guarded_round():
                    await self._wait()
        finally:
            watching.cancel()

    async def look(self) -> tuple[View, Members]:
        """The state store now, and who lives by what was observed so far. Raises StoreError."""
        view = self._reader.read(await self._store.read(""))
        return view, self._controller.members(view, self._clock.now())

    async def _wait(self) -> None:
        overdue_s = self._controller.overdue_in_s(self._clock.now()) + JUST_AFTER_S
        try:
            async with asyncio.timeout(max(JUST_AFTER_S, min(self._tick_s, overdue_s))):
                await self._wake.wait()
        except TimeoutError:
            return  # leases are observed at every tick, and when one may be overdue

    async def _guarded_round(self) -> bool:
        try:
            return not self._held and await self.round()
        except StoreError as error:
            log.warning("the state store gives no answer: %s", error)
        except Exception:
            # Fail-over must outlive a mistake in one decision.
            log.exception("a round of the controller failed")
        return False

    async def round(self) -> bool:
        """One read and what follows from it; whether anything was changed. Raises StoreError."""
        view = self._reader.read(await self._store.read(""))
        self._note(view)
        lengths: JournalLengths | None = None
        if self._ask_lengths is not None:
            candidates = self._controller.candidates(view, self._clock.now())
            if candidates:
                lengths = await self._ask_lengths(view, candidates)
        txns = self._controller.step(view, self._clock.now(), lengths)
        changed = False
        for start in range(0, len(txns), TXNS_AT_ONCE):
            changed |= await self._send(txns[start : start + TXNS_AT_ONCE])
        return changed

    def _note(self, view: View) -> None:
        self._leases = frozenset(view.leases)
        if view.malformed != self._malformed:
            self._malformed = view.malformed
            log.error("keys of the state store that make no sense: %s", ", ".join(view.malformed))

    async def _send(self, txns: Sequence[Txn]) -> bool:
        return any(await asyncio.gather(*(self._send_one(txn) for txn in txns)))

    async def _send_one(self, txn: Txn) -> bool:
        try:
            result = await self._store.txn(txn.conditions, txn.puts, txn.deletes)
        except StoreError as error:
            log.warning("no answer to: %s (%s)", txn.reason, error)
            return False
        if not result.succeeded:
            log.debug("overtaken: %s", txn.reason)
            return False
        level = logging.DEBUG if txn.reason.startswith("partition") else logging.INFO
        log.log(level, "%s", txn.reason)
        return True

    async def _watch(self) -> None:
        while True:
            try:
                async for hint in self._store.watch(""):
                    self._note_renewals(hint)
                    if self._matters(hint):
                        self._wake.set()
            except StoreError as error:
                log.warning("no watch, only ticks, for now: %s", error)
            except Exception:
                log.exception("the controller's watch failed")
            await asyncio.sleep(self._tick_s)

    def _note_renewals(self, hint: Hint) -> None:
        now = self._clock.now()
        for key, entry in hint.entries.items():
            if key.startswith(LEASE_PREFIX):
                self._controller.renewed(key[len(LEASE_PREFIX) :], entry.revision, now)

    def _matters(self, hint: Hint) -> bool:
        """Renewals of known leases need not wake anybody."""
        if hint.reread or hint.deleted:
            return True
        return any(
            key.startswith(PART_PREFIX)
            or (key.startswith(LEASE_PREFIX) and key[len(LEASE_PREFIX) :] not in self._leases)
            for key in hint.entries
        )
