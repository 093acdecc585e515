"""A unit alone: primary of every partition, without backups and network, with all its fronts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from tupelo.persisting import PENDING
from tupelo.schema import SpaceSchema
from tupelo.v1.data_pb2 import WaitPersistedRequest, WaitPersistedResponse
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.core.near_source import UnitNearSource
from tupelo_grid.core.table import (
    GridInfo,
    Lease,
    PartitionConfig,
    PartitionTable,
    Versioned,
)
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.clock import MachineClock
from tupelo_grid.runtime.shell import UnitShell
from tupelo_grid.runtime.unit import limits_of
from tupelo_grid.transport.near import NearStreams
from tupelo_grid.transport.route import RouteCache
from tupelo_grid.transport.space import UnitSpaceServicer
from tupelo_grid.units.loader import load_units

from tests.memory_store import MemoryStateStore

PARTITIONS: Final = 4
ME: Final = "unit-1#1"
UNIT: Final = Path(__file__).resolve().parents[1] / "chaos" / "unit"


async def _nothing_stored(request: WaitPersistedRequest) -> WaitPersistedResponse:
    return WaitPersistedResponse(states=bytes([PENDING]) * len(request.tokens))


class KnownNames:
    """Nothing is worth a second look at the state store."""

    def strange(self, request: object) -> bool:
        return False


class StillKeeper:
    """A keeper whose state never changes."""

    def __init__(self, state: GridState) -> None:
        self.state = state


class OneUnit:
    """`shell` takes session frames, `servicer` all RPCs of the Space service."""

    def __init__(self) -> None:
        config = GridConfig(key_bytes_max=256, value_bytes_max=4096, batch_ops_max=64)
        clock = MachineClock()
        units = load_units([UNIT])
        runner = units.runner(partitions=PARTITIONS, config=config)
        schemas = {"default": SpaceSchema("default"), **units.schemas}
        ttls = {name: schema.ttl_ms for name, schema in schemas.items()}
        lease = Lease("unit-1", "127.0.0.1:1", "127.0.0.1:2", "n")
        parts = {n: Versioned(PartitionConfig(1, ME, (ME,)), n + 1) for n in range(PARTITIONS)}
        grid = GridInfo(bytes(16).hex(), PARTITIONS, backups=0)
        table = PartitionTable(PARTITIONS, parts)
        state = GridState(grid, table, {ME: lease}, schemas, units.command_infos)
        unit = Unit(ME, clock, limits_of(config), runner, ttls)
        routes = RouteCache(lambda: state, clock.wall_ms)
        store = MemoryStateStore(config)
        names: Any = KnownNames()
        keeper: Any = StillKeeper(state)
        self.shell = UnitShell(unit, config, clock, store, routes, state.grid_id, PARTITIONS, names)
        near = NearStreams(UnitNearSource(unit), config, state.grid_id)
        self.servicer = UnitSpaceServicer(self.shell, config, keeper, routes, _nothing_stored, near)
        unit.renewed(clock.now() + 1e6)
        unit.set_leases({ME: lease})
        unit.set_table(parts)
        self.shell.after()

    def close(self) -> None:
        for task in asyncio.all_tasks():
            if task.get_name().startswith("replication to"):
                task.cancel()
