"""The processing-unit process: partitions, application code, and a gRPC front to both.

Everything that holds a promise is in `tupelo_grid.core`; this puts it together: the lease from the
loop that serves, the table by the state store, peers by TCP, clients by gRPC, the pump to the
writer.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from msgspec.structs import replace
from tupelo.schema import SpaceSchema
from tupelo.v1 import admin_pb2, admin_pb2_grpc, data_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.client import RemoteStateStore
from tupelo_grid.coordinator.keeper import GridState, TableKeeper
from tupelo_grid.coordinator.port import StateStore, StoreError, next_incarnation
from tupelo_grid.core.durable import DurableUnit
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.membership import LeaseKeeper
from tupelo_grid.core.near_source import UnitNearSource
from tupelo_grid.core.persist_waits import PersistWaits
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.spilling_unit import SpillingUnit
from tupelo_grid.core.table import (
    FENCED,
    Lease,
    encode,
    lease_key,
)
from tupelo_grid.core.unit import Unit
from tupelo_grid.messaging.reader_client import ReaderClient
from tupelo_grid.messaging.through import ReadThrough
from tupelo_grid.messaging.transport import make_pump
from tupelo_grid.runtime.clock import MachineClock
from tupelo_grid.runtime.declaring import publish
from tupelo_grid.runtime.disk import Journaling, Opened, open_journal
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.leasing import LeaseLoop
from tupelo_grid.runtime.leaving import last_words
from tupelo_grid.runtime.loading import Loader
from tupelo_grid.runtime.names import Names
from tupelo_grid.runtime.process import Announce
from tupelo_grid.runtime.refreshing import Refresher
from tupelo_grid.runtime.servers import make_server, start_server
from tupelo_grid.runtime.shell import UnitShell
from tupelo_grid.runtime.spilling import Spilling, say_unused
from tupelo_grid.telemetry.process import LoopLag
from tupelo_grid.transport.local_socket import name_of
from tupelo_grid.transport.near import NearStreams
from tupelo_grid.transport.persisting import UnitPersisting
from tupelo_grid.transport.replication import (
    ReceiverProtocol,
    serve_local_replication,
    serve_replication,
)
from tupelo_grid.transport.route import RouteCache
from tupelo_grid.transport.space import UnitSpaceServicer
from tupelo_grid.transport.unit_admin import UnitServicer
from tupelo_grid.units.loader import LoadedUnits, load_units

log = logging.getLogger(__name__)

# Entries and records are tuples of plain values, which make no cycles: looking for some often is in
# vain, and each look walks over all that came since the last. By default the collector would run
# after every 700 of them; journals alone grow and shrink by 100,000 in a second of full load.
GC_THRESHOLDS = (400_000, 50, 1000)
# What is under way when the server stops gets so long to end.
STOP_GRACE_S = 0.5
SERVICES = ("tupelo.v1.Space", "tupelo.v1.Unit")


async def run_unit(config: GridConfig, name: str, stop: asyncio.Event, announce: Announce) -> None:
    """Serves until `stop`, then hands its partitions over, drains to the store and returns."""
    units = load_units(config.unit_paths, config.unit_names)
    # What is loaded now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    async with AsyncExitStack() as stack:
        control = config.way(name, "control", config.control_address)
        store = await stack.enter_async_context(RemoteStateStore(control, config))
        keeper = await stack.enter_async_context(TableKeeper(store, config))
        await _find_grid(keeper, config)
        await publish(store, units, config.backups)
        journal = None
        if config.durability == "disk":
            grid_id, begin = keeper.state.grid_id.hex(), partial(_incarnation, store, name)
            journal = await open_journal(stack, config, name, grid_id, store, begin)
        incarnation = journal.place.me if journal else await _incarnation(store, name)
        process = UnitProcess(config, name, incarnation, store, keeper, units, journal)
        await process.serve(stack, stop, announce)


async def _find_grid(keeper: TableKeeper, config: GridConfig) -> None:
    try:
        async with asyncio.timeout(config.start_timeout_s):
            await keeper.wait_for(lambda state: state.grid is not None)
    except TimeoutError as error:
        raise FatalStartError(
            f"the control process at {config.control_address} did not answer in "
            f"{config.start_timeout_s:g} s",
            "start the grid with `tupelo up`, or check the address and the control log",
        ) from error


async def _incarnation(store: StateStore, name: str) -> str:
    try:
        return await next_incarnation(store, name)
    except StoreError as error:
        raise FatalStartError(
            f"no incarnation number for {name}: {error}", "check the control process's log"
        ) from error


class UnitProcess:
    """One incarnation at work."""

    def __init__(
        self,
        config: GridConfig,
        name: str,
        incarnation: str,
        store: StateStore,
        keeper: TableKeeper,
        units: LoadedUnits,
        journal: Opened | None = None,
    ) -> None:
        grid = keeper.state.grid
        assert grid is not None
        self._config = config
        self._name = name
        self._store = store
        self._keeper = keeper
        self._incarnation = incarnation
        self._clock = MachineClock()
        self._space_ttls: dict[str, int] = {}
        self._schemas: dict[str, SpaceSchema] = {}
        self._state = "running"
        self._address = ""
        self._changed = asyncio.Event()
        runner = units.runner(partitions=grid.partitions, config=config)
        core = (self._clock, limits_of(config), runner, self._space_ttls)
        self._journal: Journaling | None = None
        self.unit: Unit
        self._spilling: Spilling | None = None
        if journal is not None:
            self.unit = durable = DurableUnit(journal.place, journal.recovered, *core)
            self._journal = Journaling(durable, journal, store, config)
        else:
            self.unit = spilling = SpillingUnit(incarnation, *core, config.spill_bytes_max)
            self._spilling = Spilling(spilling.spill, config, name, incarnation, self._spilled)
        self._reader = ReaderClient(config, keeper.state.grid_id)
        self._loader = Loader(self.unit, config, self._reader, self._clock)
        reading = (self.unit, config, self._reader)
        self._through = ReadThrough(*reading, self._clock, grid.partitions, self._after)
        self._refresher = Refresher(*reading, self._after)
        self._runner = runner
        self._follow_spaces(keeper.state.spaces)
        self._routes = RouteCache(lambda: keeper.state, self._clock.wall_ms)
        self.shell = UnitShell(
            self.unit,
            config,
            self._clock,
            store,
            self._routes,
            keeper.state.grid_id,
            grid.partitions,
            Names(self._space_ttls, runner.knows, keeper, self._clock),
            self._through,
        )
        if self._journal is not None:
            self.shell.journal = self._journal
            self._journal.after = self.shell.after
        waits = PersistWaits(config.persist_waits_max)
        self.pump = make_pump(
            config,
            UnitPumpSource(self.unit, waits.persisted),
            incarnation,
            keeper.state.grid_id,
            self._clock,
            self._schemas,
        )
        self.pump.core.listener = waits
        self.unit.behind = self.pump.behind
        self._persisting = UnitPersisting(
            self.unit, config, waits, lambda: self.pump, self._schemas
        )

    async def serve(self, stack: AsyncExitStack, stop: asyncio.Event, announce: Announce) -> None:
        config, shell = self._config, self.shell
        host = config.host_of(self._name)
        if self._journal is not None:
            await stack.enter_async_context(self._journal.writer)
        if self._spilling is not None:
            await stack.enter_async_context(self._spilling.writer)
        replication_port = await self._take_replication(stack, host)
        stack.push_async_callback(shell.close)
        server = make_server(config)
        lag = await stack.enter_async_context(LoopLag())
        near = NearStreams(UnitNearSource(self.unit), config, self._keeper.state.grid_id)
        space = UnitSpaceServicer(
            shell, config, self._keeper, self._routes, self._persisting.wait, near
        )
        data_pb2_grpc.add_SpaceServicer_to_server(space, server)  # type: ignore[no-untyped-call]
        admin = UnitServicer(
            self.unit,
            self._name,
            lambda: self._address,
            self.pump,
            lambda: self._state,
            self.pump.drain,
            lambda: {"loop_lag_p99_us": lag.p99_us(), **self._counters()},
            lambda: self._keeper.entries,
            self._loading,
            self._refresher.refresh,
        )
        admin_pb2_grpc.add_UnitServicer_to_server(admin, server)  # type: ignore[no-untyped-call]
        port = await start_server(server, host, 0, SERVICES, self._name)
        self._address = f"{host}:{port}"
        lease = Lease(
            unit=self._name,
            address=self._address,
            replication_address=f"{host}:{replication_port}",
            nonce="",
        )
        keeper = LeaseKeeper(self._incarnation, lease, config.lease_s)
        leasing = LeaseLoop(
            keeper, self.unit, self._store, self._clock, config.lease_s, self._acted
        )
        await stack.enter_async_context(self._reader)
        stack.callback(self._keeper.subscribe(self._on_state))
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(leasing.run(), name="lease")
            loops = [
                tasks.create_task(shell.run_ticks(), name="ticks"),
                tasks.create_task(self._loader.run(), name="loader"),
                tasks.create_task(self._through.run(), name="read-through"),
            ]
            if self._journal is not None:
                loops.append(tasks.create_task(self._journal.run(), name="journal"))
            async with self.pump:
                announce({"address": self._address, "incarnation": self._incarnation})
                await stop.wait()
                await self._move_away(leasing)
                space.drain()
                await server.stop(STOP_GRACE_S)
                await self._persist(keeper, renewing)
            for loop in loops:
                loop.cancel()

    async def _take_replication(self, stack: AsyncExitStack, host: str) -> int:
        """Listens for other units; returns the port."""
        config, grid_id = self._config, self._keeper.state.grid_id
        connections: set[ReceiverProtocol] = set()
        made = partial(
            ReceiverProtocol,
            grid_id,
            self.shell.receive,
            config.replication_bytes_max,
            connections,
        )
        listener = await serve_replication(host, made)
        stack.callback(listener.close)
        if config.local_sockets:
            local = await serve_local_replication(name_of(grid_id, self._incarnation), made)
            if local is not None:
                stack.callback(local.close)
        port: int = listener.sockets[0].getsockname()[1]
        return port

    def _loading(self) -> admin_pb2.LoadProgress:
        loader = self._loader
        return admin_pb2.LoadProgress(
            partitions_left=len(self.unit.loading),
            partitions_done=loader.done,
            entries=loader.entries,
            error=loader.error,
        )

    async def _move_away(self, leasing: LeaseLoop) -> None:
        """Has everything handed over, where there is somebody to hand over to."""
        self._state = "draining"
        leasing.drain()
        try:
            async with asyncio.timeout(self._config.drain_s):
                await self._moved_away()
        except TimeoutError:
            log.warning("%d partitions could not be handed over in time", len(self.unit.primaries))

    async def _persist(self, lease: LeaseKeeper, renewing: asyncio.Task[None]) -> None:
        """Nothing is taken any more: brings the rest to the store, and takes leave.

        The lease is given up in the same step, so that nobody waits for it; not renewed any more
        then, or it might begin anew.
        """
        left = await self.pump.drain(self._config.drain_s)
        if left:
            log.warning("%d records have not reached the store", left)
        puts = await last_words(self._config, self.unit, self._schemas, drained=not left)
        renewing.cancel()
        puts[lease_key(self._incarnation)] = encode(replace(lease.lease, nonce=FENCED))
        try:
            await self._store.txn([], puts)
        except StoreError as error:
            log.warning("the control process could not be told: %s", error)

    async def _moved_away(self) -> None:
        """Returns at once when no other unit could take over."""
        while self.unit.replicas and self._others():
            self._changed.clear()
            await self._changed.wait()

    def _others(self) -> bool:
        return any(
            name != self._incarnation and not lease.fenced and not lease.draining
            for name, lease in self._keeper.state.leases.items()
        )

    def _acted(self) -> None:
        self._loader.look()
        self._after()

    def _after(self) -> None:
        self.shell.after()

    def _spilled(self) -> None:
        self.shell.after()
        self.pump.hurry(set())

    def _on_state(self, state: GridState) -> None:
        self._follow_spaces(state.spaces)
        self.unit.set_leases(state.leases)
        self.unit.set_table(state.table.parts)
        self._acted()
        self._changed.set()

    def _follow_spaces(self, spaces: Mapping[str, SpaceSchema]) -> None:
        self._schemas.update(spaces)
        self._through.follow(self._schemas)
        if self._spilling is not None:
            self._spilling.follow(self._schemas)
        elif any(one.spill for one in spaces.values()):
            say_unused()
        # Nothing is in a command's way where no space is read through.
        self._runner.missing = self._through.lacks if self._through.spaces else None
        self._space_ttls.update({name: schema.ttl_ms for name, schema in spaces.items()})
        wanted = {name: schema.min_in_sync for name, schema in self._schemas.items()}
        self.unit.minimums.follow(wanted, self.unit.primaries.values())

    def _counters(self) -> dict[str, int]:
        files = self._journal or self._spilling
        disk = files.counters() if files is not None else {}
        return {**self.unit.audit.counts.named(), **disk, **self._through.counts}


def limits_of(config: GridConfig) -> Limits:
    return Limits(
        min_in_sync=config.min_in_sync,
        silent_backup_s=config.silent_backup_s,
        heartbeat_s=config.heartbeat_s,
        journal_bytes_max=config.journal_bytes_max,
        pipeline_records_max=config.pipeline_records_max,
        frames_pending_max=config.frames_pending_max,
        sessions_max=config.sessions_max,
        session_window=config.session_window,
        request_timeout_s=config.request_timeout_s,
        digest_interval_s=config.digest_interval_s,
        digest_entries_max=config.digest_entries_max,
    )
