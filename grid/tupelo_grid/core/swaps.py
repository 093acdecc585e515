"""Compare-and-swaps on a partition's configuration, as the primary asks for them.

A swap whose answer was lost is in doubt: it may have been applied, or may yet be. The primary then
keeps to the more conservative of the two configurations until it sees a revision above the one the
swap was conditional on; to get there it swaps in the old configuration at that revision, which
either succeeds (the first can no longer apply) or shows what did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tupelo_grid.core.table import PartitionConfig, Versioned


class Purpose(Enum):
    SHRINK = "take a silent replica out of the in-sync set"
    LEAVE = "take a surplus replica out of the in-sync set"
    GROW = "take a caught-up learner into the in-sync set"
    DROP_LEARNER = "give up a silent learner"
    HAND_OVER = "make another replica primary"
    LOADED = "the entries are out of the store"
    RESOLVE = "find out what became of a swap in doubt"


@dataclass(frozen=True, slots=True)
class Swap:
    """Put `config` where the partition is still at `revision`.

    `lease_guard`: an incarnation whose lease must exist and not be fenced at that moment; "" for
    none. Whoever carries the swap out reads that lease first and adds it to the conditions.
    """

    partition: int
    revision: int
    config: PartitionConfig
    purpose: Purpose
    lease_guard: str = ""


class SwapOutcome(Enum):
    WON = "applied"
    LOST = "certainly not applied"
    IN_DOUBT = "nobody knows"


@dataclass(frozen=True, slots=True)
class SwapResult:
    """`current`: the partition as it is now: after WON its new revision, after LOST if known."""

    swap: Swap
    outcome: SwapOutcome
    current: Versioned | None = None
