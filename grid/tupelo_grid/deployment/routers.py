"""How the routers of a grid are, as they say themselves: that of messaging, and those beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tupelo.v1 import admin_pb2

from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.servers import open_channel

SERVICE = "tupelo.v1.Space"


class Routers:
    """Asks for their health. `close` ends its channels, one a router by its name."""

    def __init__(self, config: GridConfig) -> None:
        self._config = config
        self.channels = {
            name: open_channel(config, address) for name, address in config.router_addresses.items()
        }

    async def close(self) -> None:
        for channel in self.channels.values():
            await channel.close(None)

    async def status(self) -> list[admin_pb2.RouterStatus]:
        """In order: messaging, router-1, ..."""
        states = await asyncio.gather(*(self._ask(one) for one in self.channels.values()))
        return [
            admin_pb2.RouterStatus(id=name, address=address, state=state)
            for (name, address), state in zip(
                self._config.router_addresses.items(), states, strict=True
            )
        ]

    async def _ask(self, channel: grpc.aio.Channel) -> str:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        try:
            answer = await stub.Check(request, timeout=self._config.status_timeout_s)
        except grpc.aio.AioRpcError:
            return "unreachable"
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return "serving" if serving else "not serving"


def warnings_of(routers: list[admin_pb2.RouterStatus]) -> list[str]:
    """Messaging that does not answer has a warning of its own."""
    found = []
    for router in routers:
        if router.state == "not serving":
            found.append(f"{router.id} ({router.address}) does not reach all partitions")
        elif router.state == "unreachable" and router.id != "messaging":
            found.append(f"{router.id} ({router.address}) does not answer; use another router")
    return found
