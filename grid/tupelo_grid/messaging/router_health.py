"""What a router says of itself to balancers: the standard gRPC health service.

SERVING, for the whole server and for the Space service, while every partition was reachable a
moment ago: the unit that the table calls its primary answered, and said that it serves the
partition. A partition that could not be reached for `router_unreachable_s` makes both NOT_SERVING;
a fail-over or a move is shorter than that. The other services of the process stay SERVING, so that
"does it live" can be told from "does it reach everything".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from tupelo.v1 import admin_pb2, admin_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState, TableKeeper
from tupelo_grid.messaging.router_links import RouterRoutes
from tupelo_grid.runtime.servers import make_checker

log = logging.getLogger(__name__)

SERVICES: Final = ("", "tupelo.v1.Space")
NAMED_MAX: Final = 16
PROBE_PAUSE_S_MIN: Final = 0.05
"""However often the table changes, units are asked at most so often."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Reach:
    """When each partition was reachable last. Pure: the time comes in."""

    def __init__(self, unreachable_s: float) -> None:
        self._unreachable_s = unreachable_s
        self._seen: dict[int, float] = {}

    def answered(self, state: GridState, ready: Mapping[str, Iterable[int]], now: float) -> None:
        """`ready`: by incarnation that answered, the partitions it says it serves."""
        parts = state.table.parts
        for incarnation, numbers in ready.items():
            for number in numbers:
                if number in parts and parts[number].config.primary == incarnation:
                    self._seen[number] = now

    def unreachable(self, state: GridState, now: float) -> list[int]:
        """Partitions that were not reachable for too long, or never yet."""
        oldest = now - self._unreachable_s
        seen = self._seen
        return [n for n in range(state.partitions) if n not in seen or seen[n] < oldest]


class RouterHealth:
    """Asks the primaries' units now and then, and sets what `checker` says. Use it in `async with`.

    Args:
        routes: has the channels, the same ones that calls take.
    """

    def __init__(self, config: GridConfig, keeper: TableKeeper, routes: RouterRoutes) -> None:
        self.checker = make_checker()
        self._config = config
        self._keeper = keeper
        self._routes = routes
        self._reach = Reach(config.router_unreachable_s)
        self._changed = asyncio.Event()
        self._said: int | None = None

    async def __aenter__(self) -> RouterHealth:
        self._end = self._keeper.subscribe(lambda _: self._changed.set())
        self._task = asyncio.create_task(self._follow(), name="health")
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._end()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            state = self._keeper.state
            ready = await self._ask(state)
            now = time.monotonic()
            self._reach.answered(state, ready, now)
            await self._say(self._reach.unreachable(state, now) if state.partitions else None)
            await asyncio.sleep(PROBE_PAUSE_S_MIN)
            pause_s = self._config.router_probe_s
            try:
                # What it waits for may come at any moment.
                async with asyncio.timeout(pause_s if self._said == _SERVING else pause_s / 10):
                    await self._changed.wait()
            except TimeoutError:
                continue  # the table stays as it was, and units are asked again

    async def _say(self, unreachable: list[int] | None) -> None:
        """None: there is no grid yet."""
        status = _SERVING if unreachable is not None and not unreachable else _NOT_SERVING
        if status == self._said:
            return
        self._said = status
        if unreachable:
            named = ", ".join(map(str, unreachable[:NAMED_MAX]))
            more = ", ..." if len(unreachable) > NAMED_MAX else ""
            log.warning("NOT_SERVING: %d partitions (%s%s)", len(unreachable), named, more)
        for service in SERVICES:
            await self.checker.set(service, status)

    async def _ask(self, state: GridState) -> dict[str, list[int]]:
        primaries = {part.config.primary for part in state.table.parts.values()}
        asked = {
            name: lease.address
            for name, lease in state.leases.items()
            if name in primaries and lease.address and not lease.fenced
        }
        answers = await asyncio.gather(*(self._ask_unit(address) for address in asked.values()))
        return {
            name: list(answer.ready_partitions)
            for name, answer in zip(asked, answers, strict=True)
            if answer is not None and answer.incarnation == name
        }

    async def _ask_unit(self, address: str) -> admin_pb2.UnitStatus | None:
        stub: Any = admin_pb2_grpc.UnitStub(  # type: ignore[no-untyped-call]
            self._routes.channel(address)
        )
        try:
            answer: admin_pb2.UnitStatus = await stub.Status(
                admin_pb2.UnitStatusRequest(), timeout=self._config.router_probe_s
            )
        except grpc.aio.AioRpcError as error:
            log.debug("%s does not answer: %s", address, error)
            return None
        except grpc.aio.UsageError as error:
            # The channel of a unit that went away was closed a moment ago.
            log.debug("%s: %s", address, error)
            return None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # It was not this task that was cancelled: the channel was closed under the call.
            return None
        return answer
