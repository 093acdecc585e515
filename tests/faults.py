"""How tests of the SDK order faults of a fake grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tupelo import ClientConfig

from tests.fake_grid import FakeGrid, FakeUnit

QUICK = ClientConfig(backoff_base_s=0.002, backoff_max_s=0.05, route_interval_s=0.002, sweep_s=0.01)


def times(count: int, fault: int | str) -> Callable[[Any], int | str | None]:
    """A fault of the first `count` requests."""
    left = count

    def decide(_: Any) -> int | str | None:
        nonlocal left
        left -= 1
        return fault if left >= 0 else None

    return decide


def set_fault(fake: FakeGrid, count: int, fault: int | str) -> None:
    for unit in fake.units:
        unit.fault = times(count, fault)


def key_of(fake: FakeGrid, unit: FakeUnit) -> str:
    """A key whose partition the unit owns."""
    return next(key for n in range(1000) if fake.owner_of(key := f"key-{n}") is unit)
