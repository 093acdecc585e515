"""Asks processing units what they hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

import grpc.aio
from tupelo.v1 import admin_pb2 as pb
from tupelo.v1 import admin_pb2_grpc as pb_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.core.failover import JournalLengths
from tupelo_grid.core.view import View
from tupelo_grid.runtime.servers import open_channel

log = logging.getLogger(__name__)


async def ask_holdings(
    config: GridConfig,
    addresses: Mapping[str, str],
    partitions: Collection[int],
    timeout_s: float,
    grid: bool = False,
) -> dict[str, pb.HoldingsResponse]:
    """What the incarnations at `addresses` say; those that do not answer in time are left out.

    Args:
        addresses: "host:port" by incarnation; an answer of another incarnation does not count.
        partitions: of the replicas; empty: all.
        grid: also what they know of the table, the leases, the spaces and the commands.
    """
    request = pb.HoldingsRequest(partitions=sorted(partitions), grid=grid)

    async def ask(incarnation: str, address: str) -> pb.HoldingsResponse | None:
        async with open_channel(config, address) as channel:
            stub: Any = pb_grpc.UnitStub(channel)  # type: ignore[no-untyped-call]
            try:
                answer: pb.HoldingsResponse = await stub.Holdings(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                log.info("%s does not say what it holds: %s", incarnation, error.code().name)
                return None
            return answer if answer.incarnation == incarnation else None

    answers = await asyncio.gather(*(ask(name, address) for name, address in addresses.items()))
    return {answer.incarnation: answer for answer in answers if answer is not None}


class LengthsAsker:
    """What `ControllerLoop` asks before it promotes one of several."""

    def __init__(self, config: GridConfig) -> None:
        self._config = config

    async def __call__(self, view: View, candidates: Collection[str]) -> JournalLengths:
        """Of those that answer within lengths_timeout_s."""
        addresses = {
            incarnation: held.lease.address
            for incarnation, held in view.leases.items()
            if incarnation in candidates
        }
        answers = await ask_holdings(self._config, addresses, (), self._config.lengths_timeout_s)
        return lengths_of(answers)


def lengths_of(answers: Mapping[str, pb.HoldingsResponse]) -> JournalLengths:
    return {
        incarnation: {one.partition: one.last_sequence for one in answer.holdings}
        for incarnation, answer in answers.items()
    }
