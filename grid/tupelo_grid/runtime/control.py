"""The control process: state store, controller, deployment manager, Admin."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
from tupelo.v1 import admin_pb2_grpc, coordinator_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.controller import ControllerLoop
from tupelo_grid.coordinator.holdings import LengthsAsker
from tupelo_grid.coordinator.port import StateStore
from tupelo_grid.coordinator.promotion import Promoter
from tupelo_grid.coordinator.service import StateStoreServicer
from tupelo_grid.coordinator.sqlite import SqliteStateStore
from tupelo_grid.coordinator.state_file import StateFileError
from tupelo_grid.core.table import GRID_KEY, GridInfo, decode_grid, encode
from tupelo_grid.deployment.admin import GridAdmin
from tupelo_grid.deployment.local import LocalDeployment
from tupelo_grid.runtime.clock import MachineClock
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.process import Announce
from tupelo_grid.runtime.runfiles import live_processes
from tupelo_grid.runtime.servers import open_server
from tupelo_grid.runtime.take_down import finish, take_down

log = logging.getLogger(__name__)

SERVICES = ("tupelo.v1.StateStore", "tupelo.v1.Admin")
STATE_FILE = "state.sqlite"


async def run_control(
    config: GridConfig, name: str, stop: asyncio.Event, announce: Announce
) -> None:
    """Starts the grid and serves until `stop`, then drains and stops the other processes.

    Raises FatalStartError when the state file or the port cannot be had, the grid in the data
    directory is another one, or a process cannot start.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_open_state(config))
        grid = await ensure_grid(store, config)
        await finish(store)
        if config.durability == "disk":
            log.info("entries stay on the units' disks: nothing is taken down at the end")
        else:
            # Also what was left by a grid with disks that was shut down, and now has none.
            await take_down(store, again=True)
            stack.push_async_callback(take_down, store)
        log.info("grid %s: %d partitions, %d backups", grid.grid_id, grid.partitions, grid.backups)
        asker = LengthsAsker(config)
        controller = ControllerLoop(store, config, MachineClock(), asker, creates=False)
        deployment = LocalDeployment(config, controller.saw_death, on_shutdown=controller.hold)
        admin = GridAdmin(
            config,
            store,
            deployment=deployment,
            on_shutdown=stop.set,
            promote=Promoter(config, store, controller.look),
        )
        stack.push_async_callback(admin.close)

        def register(server: grpc.aio.Server) -> None:
            add_state_store: Any = coordinator_pb2_grpc.add_StateStoreServicer_to_server
            add_admin: Any = admin_pb2_grpc.add_AdminServicer_to_server
            add_state_store(StateStoreServicer(store), server)
            add_admin(admin, server)

        await stack.enter_async_context(
            open_server(config, config.host_of(name), config.control_port, name, SERVICES, register)
        )
        await stack.enter_async_context(_running(controller))
        # Entered last: its processes need all of the above until they have drained and stopped.
        await stack.enter_async_context(deployment)
        if not await _ready_before(stop, deployment):
            raise FatalStartError("stopped while it was starting", "what it had started is gone")
        controller.create()
        announce({"address": config.control_address})
        await stop.wait()


async def _ready_before(stop: asyncio.Event, deployment: LocalDeployment) -> bool:
    """Whether all is ready, or somebody does not want it any more. Raises FatalStartError."""
    ready = asyncio.create_task(deployment.ready(), name="deployment ready")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            await ready
            return True
        return False
    finally:
        ready.cancel()
        stopped.cancel()
        await asyncio.gather(ready, stopped, return_exceptions=True)


@asynccontextmanager
async def _open_state(config: GridConfig) -> AsyncIterator[SqliteStateStore]:
    path = Path(config.data_dir) / STATE_FILE
    left = [run.name for run in live_processes(config.data_dir).values() if run.incarnation]
    if left and not path.exists():
        # A new file would begin another grid, which those units are no part of.
        raise FatalStartError(
            f"the state file {path} is gone, and units of its grid still run: {', '.join(left)}",
            f"`tupelo rebuild-state --data-dir {config.data_dir}` makes it anew from what they "
            f"hold",
        )
    store = SqliteStateStore(path, config)
    try:
        await store.__aenter__()
    except StateFileError as error:
        raise FatalStartError(str(error), error.hint) from error
    try:
        yield store
    finally:
        await store.__aexit__(None, None, None)


@asynccontextmanager
async def _running(controller: ControllerLoop) -> AsyncIterator[None]:
    task = asyncio.create_task(controller.run(), name="controller")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ensure_grid(store: StateStore, config: GridConfig) -> GridInfo:
    """The grid of this state store; made at the first start.

    Copies and min_in_sync follow the configuration; the number of partitions never changes.
    Raises FatalStartError when the configuration has another number of partitions.
    """
    entry = (await store.read(GRID_KEY)).entries.get(GRID_KEY)
    if entry is None:
        grid = GridInfo(
            secrets.token_hex(16), config.partitions, config.backups, config.min_in_sync
        )
    else:
        known = decode_grid(entry.value)
        if known.partitions != config.partitions:
            raise FatalStartError(
                f"the grid in {config.data_dir} has {known.partitions} partitions, not "
                f"{config.partitions}; that is fixed when a grid is created",
                f"set partitions to {known.partitions}, or use another data directory",
            )
        grid = msgspec.structs.replace(
            known, backups=config.backups, min_in_sync=config.min_in_sync
        )
        if grid == known:
            return known
    revision = entry.revision if entry else 0
    result = await store.txn([(GRID_KEY, revision)], {GRID_KEY: encode(grid)})
    if not result.succeeded:
        # Another coordinator was faster; one state file has one, so this is about other adapters.
        return await ensure_grid(store, config)
    return grid
