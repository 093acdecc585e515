"""WaitPersisted at a router: asks the primaries of the tokens' partitions, and asks again where a
partition moves meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import grpc.aio
from tupelo.persisting import PENDING, WRONG_OWNER
from tupelo.v1 import data_pb2 as pb
from tupelo.v1 import data_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.runtime.servers import open_channel

AGAIN_S: Final = 0.05
"""Pause before a partition without a primary that answers is asked for again."""


class RouterPersisting:
    def __init__(self, config: GridConfig, state: Callable[[], GridState]) -> None:
        self._config = config
        self._state = state
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()

    async def wait(self, request: pb.WaitPersistedRequest) -> pb.WaitPersistedResponse:
        """Returns when all tokens have ended, or at the time-out."""
        timeout_s = min(request.timeout_ms / 1000, self._config.persist_wait_s_max)
        deadline = time.monotonic() + timeout_s
        states = bytearray([PENDING]) * len(request.tokens)
        errors = [""] * len(request.tokens)
        answer = pb.WaitPersistedResponse()
        todo = list(range(len(request.tokens)))
        while todo:
            left_s = max(0.0, deadline - time.monotonic())
            found = await asyncio.gather(
                *(
                    self._ask(address, request, indexes, left_s)
                    for address, indexes in self._by_owner(request, todo).items()
                )
            )
            todo = []
            for indexes, one in found:
                for at, index in enumerate(indexes):
                    states[index] = one.states[at] if at < len(one.states) else WRONG_OWNER
                    errors[index] = one.errors[at] if at < len(one.errors) else ""
                    if states[index] == WRONG_OWNER:
                        states[index] = PENDING
                        todo.append(index)
                _furthest(answer, one)
            if todo and time.monotonic() >= deadline:
                break
            if todo:
                await asyncio.sleep(AGAIN_S)
        answer.states = bytes(states)
        if any(errors):
            answer.errors.extend(errors)
        return answer

    def _by_owner(self, request: pb.WaitPersistedRequest, todo: list[int]) -> dict[str, list[int]]:
        state = self._state()
        owners: dict[str, list[int]] = {}
        for index in todo:
            address = state.primary_address(request.tokens[index].partition)
            owners.setdefault(address, []).append(index)
        return owners

    async def _ask(
        self, address: str, request: pb.WaitPersistedRequest, indexes: list[int], left_s: float
    ) -> tuple[list[int], pb.WaitPersistedResponse]:
        if not address:
            return indexes, pb.WaitPersistedResponse(cause="a partition has no primary right now")
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = open_channel(self._config, address)
        stub: Any = data_pb2_grpc.SpaceStub(channel)  # type: ignore[no-untyped-call]
        part = pb.WaitPersistedRequest(
            tokens=[request.tokens[index] for index in indexes],
            timeout_ms=round(left_s * 1000),
            declared_only=request.declared_only,
        )
        try:
            answer: pb.WaitPersistedResponse = await stub.WaitPersisted(
                part, timeout=left_s + self._config.rpc_timeout_s
            )
        except grpc.aio.AioRpcError as error:
            if self._channels.get(address) is channel:
                del self._channels[address]
                await channel.close(None)
            cause = f"{address} does not answer: {error.code().name} {error.details()}"
            return indexes, pb.WaitPersistedResponse(cause=cause)
        return indexes, answer


def _furthest(answer: pb.WaitPersistedResponse, one: pb.WaitPersistedResponse) -> None:
    answer.lag_records = max(answer.lag_records, one.lag_records)
    answer.lag_bytes = max(answer.lag_bytes, one.lag_bytes)
    answer.lag_s = max(answer.lag_s, one.lag_s)
    answer.cause = one.cause or answer.cause
