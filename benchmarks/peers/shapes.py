"""What is asked of every system: plain calls, batches, and the mixes of YCSB."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from benchmarks.peers.statistics import uniform_keys, zipfian_keys, zipfian_ranks

KEYS: Final = 10_000
MANY: Final = 1_000
SEED: Final = 20_130_101
PLAN: Final = 1 << 15
"""Operations that are drawn in advance; after so many they come again."""
SCAN_MAX: Final = 100
"""YCSB E reads 1 to 100 neighbouring keys."""

# Shares of read, update, insert, scan, read-modify-write.
YCSB: Final[dict[str, tuple[float, float, float, float, float]]] = {
    "a": (0.5, 0.5, 0.0, 0.0, 0.0),
    "b": (0.95, 0.05, 0.0, 0.0, 0.0),
    "c": (1.0, 0.0, 0.0, 0.0, 0.0),
    "d": (0.95, 0.0, 0.05, 0.0, 0.0),
    "e": (0.0, 0.0, 0.05, 0.95, 0.0),
    "f": (0.5, 0.0, 0.0, 0.0, 0.5),
}
KINDS: Final = ("read", "update", "insert", "scan", "modify")


@dataclass(frozen=True)
class Shape:
    """One way of asking.

    Attributes:
        op: get, put, get_many, put_many, ycsb-a-zipfian..., or collocate.
        in_flight: tasks that each make one call after the other.
        value_bytes: of each value.
    """

    op: str
    in_flight: int
    value_bytes: int

    @property
    def name(self) -> str:
        return f"{self.op}/{self.in_flight}/{self.value_bytes}"

    @property
    def entries(self) -> int:
        """Operations that one call counts for."""
        return MANY if self.op in ("get_many", "put_many") else 1


def _plain(sizes: tuple[int, ...], depths: tuple[int, ...]) -> list[Shape]:
    return [Shape(op, depth, size) for size in sizes for depth in depths for op in ("get", "put")]


GROUPS: Final[dict[str, list[Shape]]] = {
    "plain": _plain((100,), (1, 64, 256)),
    "plain1k": _plain((1000,), (1, 64, 256)),
    "batch": [Shape(op, depth, 100) for depth in (1, 4) for op in ("get_many", "put_many")],
    "batch1k": [Shape(op, depth, 1000) for depth in (1, 4) for op in ("get_many", "put_many")],
    "ycsb": [Shape(f"ycsb-{mix}-zipfian", 64, 1000) for mix in YCSB],
    "uniform": [Shape(f"ycsb-{mix}-uniform", 64, 1000) for mix in YCSB],
    "collocation": [Shape("collocate", depth, 100) for depth in (1, 64)],
    "memory": [Shape("memory", 1, 100)],
}


def shapes_of(names: list[str]) -> list[Shape]:
    """Of groups, or of single shapes by their names. Raises ValueError that lists what there is."""
    single = {shape.name: shape for group in GROUPS.values() for shape in group}
    found: list[Shape] = []
    for name in names:
        if name in GROUPS:
            found += GROUPS[name]
        elif name in single:
            found.append(single[name])
        else:
            raise ValueError(
                f"no shape {name!r}; groups: {', '.join(GROUPS)}; shapes: {', '.join(single)}"
            )
    return list(dict.fromkeys(found))


def key_names(value_bytes: int) -> list[str]:
    return [f"key-{value_bytes}-{number:05d}" for number in range(KEYS)]


@dataclass(frozen=True)
class Step:
    """One operation of a mix. `key` is a place in the keys, or for "latest" how far back from the
    newest; `length` is of a scan."""

    kind: str
    key: int
    length: int


def mix_of(op: str) -> tuple[str, str]:
    """`("a", "zipfian")` of `ycsb-a-zipfian`."""
    _, mix, distribution = op.split("-")
    return mix, distribution


def plan(op: str, count: int = PLAN) -> list[Step]:
    """The operations of a mix in their order; the same in every run and for every system."""
    mix, distribution = mix_of(op)
    chance = random.Random(f"{SEED}-{op}")
    kinds = chance.choices(KINDS, weights=YCSB[mix], k=count)
    if distribution == "uniform":
        keys = uniform_keys(KEYS, count, chance)
    elif mix == "d":
        keys = zipfian_ranks(KEYS, count, chance)
    else:
        keys = zipfian_keys(KEYS, count, chance)
    return [
        Step(kind, key, chance.randint(1, SCAN_MAX) if kind == "scan" else 0)
        for kind, key in zip(kinds, keys, strict=True)
    ]
