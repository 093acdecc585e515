"""`tupelo refresh` for the whole grid: each primary refreshes its own partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import grpc.aio
from tupelo.codec import SpaceCodec, decode_key
from tupelo.errors import TupeloError
from tupelo.v1 import admin_pb2 as pb
from tupelo.v1 import admin_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.core.table import MALFORMED
from tupelo_grid.runtime.servers import open_channel

ROUNDS_MAX: Final = 5
ROUND_PAUSE_S: Final = 0.5
NAMED_MAX: Final = 16

COUNTS: Final = ("changed", "added", "removed", "same", "newer", "dead", "refused")


class NotRefreshed(Exception):
    """Some partitions were not; the text says which, and why."""


class GridRefresh:
    """`state`: the grid as it is known now."""

    def __init__(self, config: GridConfig, state: Callable[[], GridState]) -> None:
        self._config = config
        self._state = state

    async def refresh(self, request: pb.RefreshRequest) -> pb.RefreshResponse:
        """Raises ValueError for what cannot be refreshed, NotRefreshed where some partitions were
        left; asking again does no harm."""
        left = self._partitions(request)
        total = pb.RefreshResponse()
        why = ""
        for attempt in range(ROUNDS_MAX):
            if attempt:
                await asyncio.sleep(ROUND_PAUSE_S)
            by_address: dict[str, list[int]] = {}
            for number in left:
                address = self._state().primary_address(number)
                by_address.setdefault(address, []).append(number)
            asks = [self._ask(address, request, mine) for address, mine in by_address.items()]
            for answer, error in await asyncio.gather(*asks):
                _add(total, answer)
                why = error or why
            left = sorted(set(left) - set(total.partitions))
            if not left:
                return total
        raise NotRefreshed(f"{_named(left)} not refreshed: {why or 'no primary that answers'}")

    def _partitions(self, request: pb.RefreshRequest) -> list[int]:
        state = self._state()
        schema = state.spaces.get(request.space)
        if schema is None:
            raise ValueError(f"space {request.space!r} is not declared")
        if not schema.persist:
            raise ValueError(f"space {request.space!r} is not stored, so there is nothing to read")
        if not request.key:
            return list(range(state.partitions))
        try:
            key, number = SpaceCodec(schema).locate(decode_key(request.key), state.partitions)
        except (*MALFORMED, TupeloError) as error:
            raise ValueError(f"that is no key of space {request.space!r}: {error}") from error
        if key != request.key:
            raise ValueError("the key is not in its canonical form")
        return [number]

    async def _ask(
        self, address: str, request: pb.RefreshRequest, partitions: list[int]
    ) -> tuple[pb.RefreshResponse, str]:
        if not address:
            return pb.RefreshResponse(), ""
        mine = pb.RefreshRequest(space=request.space, key=request.key, partitions=partitions)
        async with open_channel(self._config, address) as channel:
            stub: Any = admin_pb2_grpc.UnitStub(channel)  # type: ignore[no-untyped-call]
            try:
                return await stub.Refresh(mine, timeout=self._config.refresh_s_max), ""
            except grpc.aio.AioRpcError as error:
                return pb.RefreshResponse(), error.details() or error.code().name


def _add(total: pb.RefreshResponse, answer: pb.RefreshResponse) -> None:
    for name in COUNTS:
        setattr(total, name, getattr(total, name) + getattr(answer, name))
    total.partitions.extend(answer.partitions)


def _named(partitions: Iterable[int]) -> str:
    numbers = list(partitions)
    more = ", ..." if len(numbers) > NAMED_MAX else ""
    return f"partitions {', '.join(map(str, numbers[:NAMED_MAX]))}{more} were"
