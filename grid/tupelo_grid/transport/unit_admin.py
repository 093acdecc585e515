"""The Unit service: how one processing unit is, and how it is drained."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import grpc
import grpc.aio
from tupelo.v1 import admin_pb2 as pb
from tupelo.v1 import admin_pb2_grpc as pb_grpc

from tupelo_grid.core.partition import Partition
from tupelo_grid.core.pump_parts import PartitionLag
from tupelo_grid.core.statestore import KeyValue
from tupelo_grid.core.table import GRID_KEY, encode
from tupelo_grid.core.unit import Unit
from tupelo_grid.telemetry.process import cpu_s, memory_bytes

Context = grpc.aio.ServicerContext[Any, Any]


class PumpFigures(Protocol):
    @property
    def lag_records(self) -> int: ...

    @property
    def lag_s(self) -> float: ...

    @property
    def lag_bytes(self) -> int: ...

    @property
    def error(self) -> str: ...

    @property
    def stopped(self) -> list[int]: ...

    def lags(self) -> list[PartitionLag]: ...


def lag_message(lag: PartitionLag) -> pb.PartitionLag:
    return pb.PartitionLag(
        partition=lag.partition,
        epoch=lag.epoch,
        committed=lag.committed,
        cursor=lag.cursor,
        bytes=lag.size,
        seconds=lag.seconds,
        known=lag.known,
        problem=lag.problem,
    )


Refresh = Callable[[pb.RefreshRequest], Awaitable[pb.RefreshResponse]]


class CannotRefresh(Exception):
    """The text says why."""


class UnitServicer(pb_grpc.UnitServicer):
    """Answers for one unit.

    Args:
        name: of the unit, without its incarnation's number.
        address: where its gRPC server listens.
        state: "running" or "draining".
        drain: persists what is not in the store yet within that many seconds, and returns the
            number of records that are left.
        counters: further figures, by name.
        known: the state store's keys as the unit last saw them.
        loading: how far its partitions are read from the store.
        refresh: does as much as it can of a refresh; what it raises says what it could not.
    """

    def __init__(
        self,
        unit: Unit,
        name: str,
        address: Callable[[], str],
        pump: PumpFigures,
        state: Callable[[], str],
        drain: Callable[[float], Awaitable[int]],
        counters: Callable[[], Mapping[str, int]],
        known: Callable[[], Mapping[str, KeyValue]] = dict,
        loading: Callable[[], pb.LoadProgress] = pb.LoadProgress,
        refresh: Refresh | None = None,
    ) -> None:
        self._unit = unit
        self._name = name
        self._address = address
        self._pump = pump
        self._state = state
        self._drain = drain
        self._counters = counters
        self._known = known
        self._loading = loading
        self._refresh = refresh

    async def Status(self, request: pb.UnitStatusRequest, context: Context) -> pb.UnitStatus:
        unit = self._unit
        primaries = unit.primaries
        return pb.UnitStatus(
            id=self._name,
            incarnation=unit.me,
            address=self._address(),
            state=self._state(),
            primaries=len(primaries),
            backups=len(unit.replicas) - len(primaries),
            entries=sum(primary.partition.entries() for primary in primaries.values()),
            memory_bytes=memory_bytes(),
            lag_records=self._pump.lag_records,
            lag_s=self._pump.lag_s,
            journal_bytes=sum(held.journal.bytes for held in unit.replicas.values()),
            pid=os.getpid(),
            ready_partitions=sorted(unit.serving),
            cpu_s=cpu_s(),
            counters=self._counters(),
            digests=self._digests() if request.digests else (),
            lag_bytes=self._pump.lag_bytes,
            store_error=self._pump.error,
            lags=[lag_message(lag) for lag in self._pump.lags()] if request.lags else (),
            stopped_partitions=self._pump.stopped,
            load=self._loading(),
        )

    def _digests(self) -> list[pb.PartitionDigest]:
        return [
            pb.PartitionDigest(
                partition=number,
                sequence=held.journal.last,
                digest=held.digest(),
                role="primary" if number in self._unit.primaries else "backup",
            )
            for number, held in sorted(self._unit.replicas.items())
        ]

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.DrainResponse:
        return pb.DrainResponse(unpersisted_records=await self._drain(request.timeout_ms / 1000))

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        if self._refresh is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this unit has no store")
        try:
            return await self._refresh(request)
        except CannotRefresh as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            raise AssertionError("abort raises") from error

    async def Holdings(self, request: pb.HoldingsRequest, context: Context) -> pb.HoldingsResponse:
        unit, known = self._unit, self._known()
        wanted = set(request.partitions)
        # A primary that still loads its partition from the store has no replica yet.
        replicas: dict[int, Partition | None] = dict.fromkeys(unit.loading) | unit.replicas
        grid = known.get(GRID_KEY)
        return pb.HoldingsResponse(
            incarnation=unit.me,
            grid=grid.value if grid else b"",
            holdings=[
                self._holding(number, held)
                for number, held in sorted(replicas.items())
                if not wanted or number in wanted
            ],
            entries=[
                pb.KnownEntry(key=key, value=entry.value, revision=entry.revision)
                for key, entry in sorted(known.items())
            ]
            if request.grid
            else (),
        )

    def _holding(self, number: int, held: Partition | None) -> pb.Holding:
        unit = self._unit
        holding = pb.Holding(partition=number, epoch=unit.epochs.get(number, 0))
        if held is not None:
            holding.last_sequence = held.journal.last
            holding.last_epoch = held.journal.last_epoch
            holding.commit = held.commit
        primary = unit.primaries.get(number)
        if primary is not None:
            holding.config = encode(primary.config)
            holding.revision = primary.revision
            if primary.swap is not None:
                holding.swap = encode(primary.swap.config)
        elif number in unit.loading:
            holding.config = encode(unit.loading[number].config)
            holding.revision = unit.loading[number].revision
        return holding
