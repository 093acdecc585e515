"""The grid against what was acknowledged, and the store against the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from tupelo import Grid
from tupelo_grid.store.sql import SqlStore

from tests.persistence.ledger import ABSENT, Known

Entries = dict[Any, tuple[Any, int]]  # key -> (value, version)
SHOWN_MAX = 10


@dataclass(slots=True)
class Verdict:
    lost: int = 0
    duplicates: int = 0
    resurrected: int = 0
    store_mismatches: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if len(self.examples) < SHOWN_MAX:
            self.examples.append(text)


async def entries_of(grid: Grid, space: str) -> Entries:
    return {_key(item.key): (item.value, item.version) async for item in grid.space(space).scan()}


async def rows_of(store: SqlStore, space: str) -> Entries:
    decode = msgspec.msgpack.decode
    return {
        _key(decode(key)): (decode(value), version)
        async for key, value, version, _ in store.read_rows(space)
    }


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def judge(verdict: Verdict, known: Known, carts: Entries, accounts: Entries) -> None:
    """What was acknowledged is in the grid, once, and what was deleted is not."""
    for key, value in known.values.items():
        found = carts.get(key)
        if value is ABSENT:
            if found is not None:
                verdict.resurrected += 1
                verdict.note(f"{key} was deleted, the grid has {found}")
        elif found is None or found[0] != value or found[1] != known.versions[key]:
            verdict.lost += 1
            verdict.note(f"{key} is {value} of version {known.versions[key]}, the grid has {found}")
    verdict.resurrected += len(carts.keys() - known.values.keys())
    for number, bumps in known.bumps.items():
        found = accounts.get(number)
        count = found[0]["bumps"] if found else 0
        verdict.lost += max(0, bumps - count)
        over = count - bumps - known.doubtful.get(number, 0)
        verdict.duplicates += max(0, over)
        if count < bumps or over > 0:
            verdict.note(f"account {number}: {bumps} bumps, the grid has {count}")


def match(verdict: Verdict, space: str, grid: Entries, store: Mapping[Any, Any]) -> None:
    """The store has what the grid has: every key, value and version, and nothing else."""
    for key in grid.keys() | store.keys():
        ours, theirs = grid.get(key), store.get(key)
        if ours != theirs:
            verdict.store_mismatches += 1
            verdict.resurrected += ours is None
            verdict.note(f"{space} {key!r}: the grid has {ours}, the store {theirs}")
