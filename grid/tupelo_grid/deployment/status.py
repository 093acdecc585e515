"""What the grid is like right now: the table, the leases and every unit's own word, put together.

`summarize` is pure; `GridView` asks. A part that does not answer makes a warning, never a failure.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
import msgspec
from tupelo.v1 import admin_pb2, admin_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import StateStore, StoreError
from tupelo_grid.core.table import (
    GRID_KEY,
    LEASE_PREFIX,
    PART_PREFIX,
    GridInfo,
    Lease,
    PartitionConfig,
    PartitionState,
    decode_config,
    decode_grid,
    decode_lease,
    unit_of,
)
from tupelo_grid.runtime.servers import open_channel

log = logging.getLogger(__name__)

# Numbers in one warning; the next look shows the next ones.
LOST_NAMED_MAX = 32


class View(msgspec.Struct, frozen=True):
    """The state store as of one read; leases by incarnation, partitions by number."""

    grid: GridInfo | None = None
    table_version: int = 0
    parts: Mapping[int, PartitionConfig] = {}
    leases: Mapping[str, Lease] = {}


def summarize(
    view: View, ready: Mapping[str, frozenset[int]], backups: int
) -> admin_pb2.PartitionSummary:
    """Counts each partition once: healthy, under-replicated or lost, the rest has no ready primary.

    Args:
        ready: by incarnation, the partitions it says it is the ready primary of.
        backups: in-sync copies beside the primary that make a partition healthy.
    """
    live = {name for name, lease in view.leases.items() if not lease.fenced}
    summary = admin_pb2.PartitionSummary(total=view.grid.partitions if view.grid else 0)
    for number, part in view.parts.items():
        if part.learner or part.next_primary or part.leaving:
            summary.moving += 1
        if part.state is PartitionState.LOST:
            summary.lost += 1
        elif number in ready.get(part.primary, frozenset()):
            copies = sum(1 for member in part.in_sync if member in live)
            if copies >= 1 + backups:
                summary.healthy += 1
            else:
                summary.under_replicated += 1
    return summary


class GridView:
    """Reads the state store and asks every unit that holds a lease. `close` ends its channels."""

    def __init__(self, config: GridConfig, store: StateStore) -> None:
        self._config = config
        self._store = store
        self._last = View()
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()

    async def status(self, lags: bool = False) -> admin_pb2.StatusResponse:
        """Everything but the pump's own figures. `lags`: also those of each partition."""
        warnings: list[str] = []
        view = await self._read(warnings)
        # Always asked for, since the furthest partition is among them.
        units = await self._ask_units(view, warnings)
        pump = pump_of(units, lags)
        for unit in units:
            del unit.lags[:]
        backups = view.grid.backups if view.grid else self._config.backups
        ready = {unit.incarnation: frozenset(unit.ready_partitions) for unit in units}
        summary = summarize(view, ready, backups)
        self._warn(view, units, summary, backups, warnings)
        return admin_pb2.StatusResponse(
            grid_id=view.grid.grid_id if view.grid else "",
            version=importlib.metadata.version("tupelo"),
            units=units,
            partitions=summary,
            pump=pump,
            table_version=view.table_version,
            control_address=self._config.control_address,
            warnings=warnings,
            lost_partitions=_lost(view),
        )

    async def lags(self) -> tuple[dict[int, admin_pb2.PartitionLag], str]:
        """By partition, of those that have a primary that answers; and what is amiss elsewhere."""
        warnings: list[str] = []
        view = await self._read(warnings)
        units = await self._ask_units(view, warnings)
        found = {lag.partition: lag for unit in units for lag in unit.lags}
        errors = [unit.store_error for unit in units if unit.store_error]
        for number in range(view.grid.partitions if view.grid else 0):
            if number not in found:
                found[number] = admin_pb2.PartitionLag(
                    partition=number, problem=f"partition {number} has no primary that answers"
                )
        return found, (errors or warnings or [""])[0]

    async def flush(self, timeout_s: float) -> None:
        """Has all units send what they have, until cancelled or `timeout_s` is over."""
        view = await self._read([])
        request = admin_pb2.DrainRequest(timeout_ms=round(timeout_s * 1000))
        calls = []
        for lease in _newest_by_unit(view.leases).values():
            if not lease.fenced and lease.address in self._channels:
                channel = self._channels[lease.address]
                stub: Any = admin_pb2_grpc.UnitStub(channel)  # type: ignore[no-untyped-call]
                calls.append(stub.Drain(request, timeout=timeout_s + self._config.rpc_timeout_s))
        try:
            await asyncio.gather(*calls, return_exceptions=True)
        finally:
            for call in calls:
                call.cancel()

    async def _read(self, warnings: list[str]) -> View:
        try:
            async with asyncio.timeout(self._config.status_timeout_s):
                snapshot = await self._store.read("")
        except (StoreError, TimeoutError):
            warnings.append(
                f"control ({self._config.control_address}) does not answer: no fail-over and no "
                f"scaling until it is back; start it with `tupelo up` and the same --data-dir"
            )
            return self._last
        entries = snapshot.entries
        parts = {key: kv for key, kv in entries.items() if key.startswith(PART_PREFIX)}
        grid = entries.get(GRID_KEY)
        self._last = View(
            decode_grid(grid.value) if grid else None,
            max((kv.revision for kv in parts.values()), default=0),
            {int(key[len(PART_PREFIX) :]): decode_config(kv.value) for key, kv in parts.items()},
            {
                key[len(LEASE_PREFIX) :]: decode_lease(kv.value)
                for key, kv in entries.items()
                if key.startswith(LEASE_PREFIX)
            },
        )
        return self._last

    async def _ask_units(self, view: View, warnings: list[str]) -> list[admin_pb2.UnitStatus]:
        newest = _newest_by_unit(view.leases)
        answers = await asyncio.gather(*(self._ask(name, lease) for name, lease in newest.items()))
        for address in set(self._channels) - {lease.address for lease in newest.values()}:
            await self._channels.pop(address).close(None)
        units = [answer for answer in answers if answer is not None]
        for unit in units:
            if unit.state == "unreachable":
                warnings.append(f"{unit.incarnation} ({unit.address}) does not answer")
        return sorted(units, key=lambda unit: (len(unit.id), unit.id))

    async def _ask(self, incarnation: str, lease: Lease) -> admin_pb2.UnitStatus | None:
        """None for a unit that is gone for good: fenced, and nobody there."""
        channel = self._channels.get(lease.address)
        if channel is None:
            channel = self._channels[lease.address] = open_channel(self._config, lease.address)
        stub: Any = admin_pb2_grpc.UnitStub(channel)  # type: ignore[no-untyped-call]
        try:
            unit: admin_pb2.UnitStatus = await stub.Status(
                admin_pb2.UnitStatusRequest(lags=True), timeout=self._config.status_timeout_s
            )
        except grpc.aio.AioRpcError as error:
            log.debug("%s does not answer: %s", incarnation, error)
            unit = admin_pb2.UnitStatus()
        if unit.incarnation == incarnation:
            return unit
        if lease.fenced:
            return None
        return admin_pb2.UnitStatus(
            id=unit_of(incarnation),
            incarnation=incarnation,
            address=lease.address,
            state="unreachable",
        )

    def _warn(
        self,
        view: View,
        units: list[admin_pb2.UnitStatus],
        summary: admin_pb2.PartitionSummary,
        backups: int,
        warnings: list[str],
    ) -> None:
        if summary.lost:
            lost = _lost(view)
            named = ", ".join(map(str, lost[:LOST_NAMED_MAX])) + (
                ", ..." if len(lost) > LOST_NAMED_MAX else ""
            )
            warnings.append(
                f"{summary.lost} partitions are LOST: every unit that held them died; they refuse "
                f"requests until one of those units returns, or `tupelo promote` gives up what "
                f"only those had: {named}"
            )
        warnings.extend(
            f"{unit.incarnation}: its disk takes no more, so it acknowledges nothing; free some "
            f"space there, or raise disk_bytes_max"
            for unit in units
            if unit.counters.get("disk_full")
        )
        warnings.extend(
            f"{unit.incarnation}: no more goes to its spill files, as their disk is full or they "
            f"have spill_bytes_max; writes are refused until the store has caught up"
            for unit in units
            if unit.counters.get("spill_full")
        )
        warnings.extend(
            f"{unit.incarnation}: spilled records cannot be read (its log names the files): if all "
            f"partitions are healthy, restart it, and other copies go on with their own"
            for unit in units
            if unit.counters.get("spill_unreadable")
        )
        if view.parts and 0 < len(units) <= backups:
            warnings.append(
                f"backups={backups} needs {backups + 1} units: with {len(units)} each entry has "
                f"fewer copies; `tupelo scale {backups + 1}`"
            )


def pump_of(units: Sequence[admin_pb2.UnitStatus], lags: bool) -> admin_pb2.PumpStatus:
    """What the units know of the store; `lags`: partition by partition too."""
    pump = admin_pb2.PumpStatus(
        lag_records=sum(unit.lag_records for unit in units),
        lag_bytes=sum(unit.lag_bytes for unit in units),
        lag_s=max((unit.lag_s for unit in units), default=0.0),
    )
    found = sorted((lag for unit in units for lag in unit.lags), key=lambda lag: lag.partition)
    for lag in found:
        records = max(0, lag.committed - lag.cursor)
        if records > pump.lag_records_max:
            pump.lag_records_max, pump.lag_partition = records, lag.partition
        pump.lag_bytes_max = max(pump.lag_bytes_max, lag.bytes)
    pump.stopped_partitions.extend(sorted(p for unit in units for p in unit.stopped_partitions))
    if lags:
        pump.lags.extend(found)
    return pump


def _lost(view: View) -> list[int]:
    return sorted(n for n, one in view.parts.items() if one.state is PartitionState.LOST)


def _newest_by_unit(leases: Mapping[str, Lease]) -> dict[str, Lease]:
    """The highest incarnation of each unit name; older ones cannot come back."""
    newest: dict[str, tuple[int, str]] = {}
    for incarnation in leases:
        unit, _, number = incarnation.rpartition("#")
        if unit not in newest or int(number) > newest[unit][0]:
            newest[unit] = (int(number), incarnation)
    return {incarnation: leases[incarnation] for _, incarnation in newest.values()}
