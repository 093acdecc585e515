"""Carries out a unit's swaps at the state store, many partitions in one transaction.

After a unit has died, a hundred partitions want to take it out of their in-sync sets in the same
moment; one transaction each would make up most of the time of a fail-over. What wants to be swapped
in the same turn of the loop goes together. A transaction is all or nothing, so when it fails, those
whose condition did not hold have lost, and the rest is tried again without them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from tupelo_grid.coordinator.port import StateStore, StoreAway, StoreInDoubt
from tupelo_grid.core.statestore import KeyValue
from tupelo_grid.core.swaps import Swap, SwapOutcome, SwapResult
from tupelo_grid.core.table import (
    MALFORMED,
    Versioned,
    decode_config,
    decode_lease,
    encode,
    lease_key,
    part_key,
)

log = logging.getLogger(__name__)

# Transactions under way at once, and swaps in one.
TXNS_MAX = 16
SWAPS_MAX = 64
# A guarding lease is renewed every eighth of its duration; to meet that often is bad luck.
GUARD_ATTEMPTS_MAX = 4

Condition = tuple[str, int]


class Swapper:
    """One swap of a partition at a time; a later one waits for it. Made in a running loop.

    `done` is called with the results of a transaction, all at once.
    """

    def __init__(self, store: StateStore, done: Callable[[Sequence[SwapResult]], None]) -> None:
        self._store = store
        self._done = done
        self._due: list[Swap] = []
        self._busy: set[int] = set()
        self._next: dict[int, Swap] = {}
        self._slots = asyncio.Semaphore(TXNS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def start(self, swap: Swap) -> None:
        """At the end of this turn of the loop, or when the partition's swap under way has ended."""
        if swap.partition in self._busy:
            # The core has moved on to a newer configuration, or asks again: it waits for this one.
            self._next[swap.partition] = swap
            return
        self._busy.add(swap.partition)
        if not self._due:
            self._loop.call_soon(self._send)
        self._due.append(swap)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _send(self) -> None:
        due, self._due = self._due, []
        free = [swap for swap in due if not swap.lease_guard]
        groups = [free[start : start + SWAPS_MAX] for start in range(0, len(free), SWAPS_MAX)]
        groups += [[swap] for swap in due if swap.lease_guard]
        for group in groups:
            task = self._loop.create_task(self._carry_out(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, swaps: Sequence[Swap]) -> None:
        results: list[SwapResult] = []
        async with self._slots:
            for _ in range(GUARD_ATTEMPTS_MAX + len(swaps)):
                ended, swaps = await self._attempt(swaps)
                results += ended
                if not swaps:
                    break
        results += _all(swaps, SwapOutcome.LOST)
        for result in results:
            self._end(result)
        self._done(results)

    def _end(self, result: SwapResult) -> None:
        partition = result.swap.partition
        self._busy.discard(partition)
        waiting = self._next.pop(partition, None)
        if waiting is not None:
            self.start(waiting)
        if result.outcome is not SwapOutcome.WON:
            log.info("swap %s of partition %d: %s", result.swap.purpose.name, partition, result)

    async def _attempt(self, swaps: Sequence[Swap]) -> tuple[list[SwapResult], Sequence[Swap]]:
        """The results of those that have ended, and the swaps to be tried again."""
        try:
            guards = [await self._guard(swap.lease_guard) for swap in swaps if swap.lease_guard]
            if None in guards:
                return _all(swaps, SwapOutcome.LOST), ()
            conditions = [(part_key(swap.partition), swap.revision) for swap in swaps]
            conditions += [guard for guard in guards if guard is not None]
            puts = {part_key(swap.partition): encode(swap.config) for swap in swaps}
            result = await self._store.txn(conditions, puts)
        except StoreAway:
            return _all(swaps, SwapOutcome.LOST), ()
        except StoreInDoubt:
            return _all(swaps, SwapOutcome.IN_DOUBT), ()
        except Exception:
            # Whatever it was, the partitions must not wait for it for ever.
            log.exception("swaps could not be carried out")
            return _all(swaps, SwapOutcome.IN_DOUBT), ()
        if result.succeeded:
            return [_won(swap, result.revision) for swap in swaps], ()
        ended, again = [], []
        for swap in swaps:
            current = result.current.get(part_key(swap.partition))
            if current is not None and current.revision == swap.revision:
                again.append(swap)
            else:
                ended.append(_lost(swap, current))
        return ended, again

    async def _guard(self, incarnation: str) -> Condition | None:
        """None: the lease is not what it must be."""
        key = lease_key(incarnation)
        entry = (await self._store.read(key)).entries.get(key)
        if entry is None or decode_lease(entry.value).fenced:
            return None
        return key, entry.revision


def _all(swaps: Sequence[Swap], outcome: SwapOutcome) -> list[SwapResult]:
    return [SwapResult(swap, outcome) for swap in swaps]


def _won(swap: Swap, revision: int) -> SwapResult:
    return SwapResult(swap, SwapOutcome.WON, Versioned(swap.config, revision))


def _lost(swap: Swap, current: KeyValue | None) -> SwapResult:
    """Also where what is there cannot be read: it is not what the swap was conditional on."""
    if current is None:
        return SwapResult(swap, SwapOutcome.LOST)
    try:
        known = Versioned(decode_config(current.value), current.revision)
    except MALFORMED as error:
        log.error("partition %d at the state store cannot be read: %s", swap.partition, error)
        return SwapResult(swap, SwapOutcome.LOST)
    return SwapResult(swap, SwapOutcome.LOST, known)
