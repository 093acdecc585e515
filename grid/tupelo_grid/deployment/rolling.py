"""Rolling restart: every unit in turn is emptied, ended and started again, and nothing is lost.

A unit that is told to end hands its partitions over first, so clients notice no more than a move.
The next one follows only when all partitions are as healthy as before: a second unit must not go
while a partition has fewer copies than it should.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tupelo.v1 import admin_pb2 as pb

from tupelo_grid.config import GridConfig

POLL_S = 0.1

AskStatus = Callable[[], Awaitable[pb.StatusResponse]]


class RestartRefused(Exception):
    """It was not begun, or was ended early; the text says why, and what to do."""


class Restartable(Protocol):
    """What of the deployment a rolling restart needs; see LocalDeployment."""

    @property
    def shutting_down(self) -> bool: ...

    def exclusive(self) -> AbstractAsyncContextManager[list[str]]: ...

    async def restart(self, name: str, stopped: Callable[[], None]) -> None: ...


class RollingRestart:
    """One rolling restart.

    Args:
        status: of the whole grid, as `tupelo status` shows it.
    """

    def __init__(self, config: GridConfig, deployment: Restartable, status: AskStatus) -> None:
        self._config = config
        self._deployment = deployment
        self._status = status

    async def run(self, force: bool) -> AsyncIterator[pb.RestartProgress]:
        """Yields every step when it begins, and the end of each unit.

        Raises RestartRefused, ValueError when the grid is being changed otherwise, and
        FatalStartError when a unit does not start again.
        """
        async with self._deployment.exclusive() as names:
            before = await self._check(names, force)
            for number, name in enumerate(names, 1):
                async for step in self._restart(name, before):
                    yield pb.RestartProgress(unit=name, step=step, number=number, total=len(names))

    async def _check(self, names: list[str], force: bool) -> pb.StatusResponse:
        if len(names) < 2:
            raise RestartRefused(
                "a rolling restart needs a second unit, to hold the partitions meanwhile: "
                "`tupelo scale 2` first, or `tupelo down` and `tupelo up`"
            )
        status = await self._status()
        wrong = unhealthy(status, names)
        if wrong and not force:
            raise RestartRefused(
                f"the grid is not healthy: {wrong}; wait until `tupelo status` says it is, or "
                f"go on with --force, which loses what only the restarted unit holds"
            )
        return status

    async def _restart(
        self, name: str, before: pb.StatusResponse
    ) -> AsyncIterator[pb.RestartProgress.Step]:
        yield pb.RestartProgress.STEP_STOPPING
        stopped = asyncio.Event()
        restart = asyncio.ensure_future(self._deployment.restart(name, stopped.set))
        waiting = asyncio.ensure_future(stopped.wait())
        try:
            await asyncio.wait((restart, waiting), return_when=asyncio.FIRST_COMPLETED)
            yield pb.RestartProgress.STEP_STARTING
            await restart
        finally:
            waiting.cancel()
            restart.cancel()
        yield pb.RestartProgress.STEP_HEALING
        await self._healed(name, before)
        yield pb.RestartProgress.STEP_DONE

    async def _healed(self, name: str, before: pb.StatusResponse) -> None:
        limit_s = self._config.restart_healthy_s
        deadline = time.monotonic() + limit_s
        while True:
            if self._deployment.shutting_down:
                raise RestartRefused("the grid is shutting down")
            status = await self._status()
            wrong = worse(before, status)
            if not wrong:
                return
            if time.monotonic() > deadline:
                raise RestartRefused(
                    f"{limit_s:g} s after {name} was restarted the grid is not as healthy as "
                    f"before: {wrong}; the other units were left as they are"
                )
            await asyncio.sleep(POLL_S)


def unhealthy(status: pb.StatusResponse, names: list[str]) -> str:
    """What is wrong, for a person; "" when all is well."""
    parts = status.partitions
    running = [unit.id for unit in status.units if unit.state == "running"]
    missing = sorted(set(names) - set(running))
    if missing:
        return f"{', '.join(missing)} does not run"
    if not parts.total or parts.healthy < parts.total:
        return f"{parts.healthy} of {parts.total} partitions are healthy, {parts.lost} are lost"
    return ""


def worse(before: pb.StatusResponse, now: pb.StatusResponse) -> str:
    """What is worse than it was, for a person; "" when nothing is.

    Moves must be over as well: what comes next would only move it again.
    """
    was = {unit.id for unit in before.units if unit.state == "running"}
    missing = sorted(was - {unit.id for unit in now.units if unit.state == "running"})
    if missing:
        return f"{', '.join(missing)} does not run"
    if now.partitions.healthy < before.partitions.healthy:
        return f"{now.partitions.healthy} of {now.partitions.total} partitions are healthy"
    if now.partitions.moving > before.partitions.moving:
        return f"{now.partitions.moving} partitions are moving"
    return ""
