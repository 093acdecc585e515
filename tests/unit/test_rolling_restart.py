"""The order of a rolling restart, and when it is refused or given up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from tupelo.v1 import admin_pb2 as pb
from tupelo_grid.config import GridConfig
from tupelo_grid.deployment import rolling
from tupelo_grid.deployment.rolling import RestartRefused, RollingRestart
from tupelo_grid.runtime.errors import FatalStartError

NAMES = ["unit-1", "unit-2"]


class Deployment:
    def __init__(self, names: list[str] = NAMES) -> None:
        self.names = names
        self.restarted: list[str] = []
        self.shutting_down = False
        self.failing = ""

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[list[str]]:
        yield self.names

    async def restart(self, name: str, stopped: Callable[[], None]) -> None:
        stopped()
        if name == self.failing:
            raise FatalStartError(f"{name} does not start")
        self.restarted.append(name)


class Statuses:
    """Answers with what is given, the last one again and again."""

    def __init__(self, *healthy: int, moving: int = 0, running: list[str] = NAMES) -> None:
        self.healthy = list(healthy)
        self.moving = moving
        self.running = running

    async def __call__(self) -> pb.StatusResponse:
        healthy = self.healthy.pop(0) if len(self.healthy) > 1 else self.healthy[0]
        parts = pb.PartitionSummary(total=8, healthy=healthy, moving=self.moving)
        units = [pb.UnitStatus(id=name, state="running") for name in self.running]
        return pb.StatusResponse(units=units, partitions=parts)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "POLL_S", 0.0)


async def steps(restart: RollingRestart, force: bool = False) -> list[tuple[str, int]]:
    return [(one.unit, one.step) async for one in restart.run(force)]


async def test_one_unit_after_another_each_waited_for() -> None:
    deployment = Deployment()
    restart = RollingRestart(GridConfig(), deployment, Statuses(8, 5, 7, 8, 6, 8))
    assert await steps(restart) == [(name, step) for name in NAMES for step in (1, 2, 3, 4)]
    assert deployment.restarted == NAMES


async def test_an_unhealthy_grid_is_refused_unless_forced_and_then_not_made_worse() -> None:
    deployment = Deployment()
    with pytest.raises(RestartRefused, match="7 of 8 partitions"):
        await steps(RollingRestart(GridConfig(), deployment, Statuses(7)))
    with pytest.raises(RestartRefused, match="unit-2 does not run"):
        await steps(RollingRestart(GridConfig(), deployment, Statuses(8, running=["unit-1"])))
    assert deployment.restarted == []
    await steps(RollingRestart(GridConfig(), deployment, Statuses(7, 6, 7)), force=True)
    assert deployment.restarted == NAMES


async def test_it_stops_where_the_grid_does_not_heal() -> None:
    deployment = Deployment()
    config = GridConfig(restart_healthy_s=0.0)
    with pytest.raises(RestartRefused, match="6 of 8 partitions"):
        await steps(RollingRestart(config, deployment, Statuses(8, 6)))
    assert deployment.restarted == ["unit-1"]


async def test_a_unit_that_does_not_start_again_ends_it() -> None:
    deployment = Deployment()
    deployment.failing = "unit-1"
    with pytest.raises(FatalStartError):
        await steps(RollingRestart(GridConfig(), deployment, Statuses(8)))
    assert deployment.restarted == []


async def test_a_shutdown_ends_it() -> None:
    deployment = Deployment()
    deployment.shutting_down = True
    with pytest.raises(RestartRefused, match="shutting down"):
        await steps(RollingRestart(GridConfig(), deployment, Statuses(8)))


async def test_a_single_unit_is_refused_even_when_forced() -> None:
    with pytest.raises(RestartRefused, match="second unit"):
        await steps(RollingRestart(GridConfig(), Deployment(["unit-1"]), Statuses(8)), force=True)
