"""Medians, percentiles, ratios of rounds, and the key distributions of YCSB. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

ZIPFIAN_CONSTANT: Final = 0.99
"""Of YCSB: rank r is asked for in proportion to 1 / r ** 0.99."""


def median(values: Sequence[float]) -> float:
    """Of an even count: the mean of the two in the middle. Raises ValueError of none."""
    if not values:
        raise ValueError("the median of no values")
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed; 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    # The rank is rounded up, but not for what the division adds to a whole number.
    rank = -int(-share * len(ordered) // 1) if share > 0 else 1
    return ordered[min(len(ordered), max(1, rank)) - 1]


@dataclass(frozen=True)
class Ratio:
    """Of the rounds of one run: the median, and the least and the greatest of them."""

    median: float
    least: float
    greatest: float
    rounds: int


def ratio_of_rounds(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Round by round, since both sides of a round saw the same state of the machine.

    Raises ValueError when the rounds are not as many, none, or one of theirs is not positive.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} rounds of ours, {len(theirs)} of theirs")
    if min(theirs) <= 0:
        raise ValueError("a round without operations")
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios), len(ratios))


def zipfian_weights(items: int, constant: float = ZIPFIAN_CONSTANT) -> list[float]:
    """The share of each rank, the most popular first; they add up to 1."""
    raw = [1.0 / (rank**constant) for rank in range(1, items + 1)]
    total = sum(raw)
    return [weight / total for weight in raw]


def zipfian_ranks(items: int, count: int, chance: random.Random) -> list[int]:
    """`count` draws of ranks below `items`; 0 is the most popular."""
    cumulative = list(accumulate(zipfian_weights(items)))
    return chance.choices(range(items), cum_weights=cumulative, k=count)


def zipfian_keys(items: int, count: int, chance: random.Random) -> list[int]:
    """The same with the ranks scattered over the keys, as YCSB's "scrambled zipfian": popular keys
    are not neighbours."""
    places = list(range(items))
    chance.shuffle(places)
    return [places[rank] for rank in zipfian_ranks(items, count, chance)]


def uniform_keys(items: int, count: int, chance: random.Random) -> list[int]:
    """`count` draws below `items`, all equally likely."""
    return chance.choices(range(items), k=count)
