"""The Unit service of a fake grid's unit: what a router asks to see whether it is reachable."""

from __future__ import annotations

from typing import Any, Protocol

from tupelo.v1 import admin_pb2, admin_pb2_grpc


class Owner(Protocol):
    name: str

    def owned(self) -> list[int]: ...

    async def opened(self) -> None: ...


class FakeStatus(admin_pb2_grpc.UnitServicer):
    """Hangs while the unit's gate is shut."""

    def __init__(self, unit: Owner) -> None:
        self.unit = unit

    async def Status(
        self, request: admin_pb2.UnitStatusRequest, context: Any
    ) -> admin_pb2.UnitStatus:
        await self.unit.opened()
        name = self.unit.name
        return admin_pb2.UnitStatus(
            id=name, incarnation=f"{name}#1", ready_partitions=self.unit.owned()
        )
