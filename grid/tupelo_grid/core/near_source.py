"""The journals of a unit as near caches follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tupelo_grid.core.records import Record
from tupelo_grid.core.unit import Unit


class UnitNearSource:
    """`tupelo_grid.core.near.NearSource` over a `Unit`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def serving(self) -> Mapping[int, int]:
        return {number: primary.epoch for number, primary in self._unit.serving.items()}

    def leased(self) -> bool:
        return self._unit.clock.now() < self._unit.lease_until

    def committed(self, partition: int) -> int:
        return self._unit.replicas[partition].commit

    def base(self, partition: int) -> int:
        return self._unit.replicas[partition].journal.base

    def read(self, partition: int, after: int, limit: int) -> Sequence[Record]:
        held = self._unit.replicas[partition]
        return held.journal.read(after, min(limit, max(0, held.commit - after)))
