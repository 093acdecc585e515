"""The database-centric airline from a client's side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
import msgspec

from loadtest.airline_package import unit as airline
from loadtest.database.contract import (
    CALLS,
    ERROR_KEY,
    SERVICE,
    SeatMapAnswer,
    SeatMapRequest,
    SeatRequest,
    encode,
)

# Calls go to the workers in turn, and again to another one when a worker is gone. All of them may
# be repeated: a hold or a purchase by the same customer is the same one.
POLICY: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        # Repeating must not finish off a service that is overloaded.
        "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.1},
        "methodConfig": [
            {
                "name": [{"service": SERVICE}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.02s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)
OPTIONS: Final = (
    ("grpc.service_config", POLICY),
    ("grpc.enable_retries", 1),
    # A worker that is back is found at once, not when a pause that has grown to a minute is over.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class DatabaseSale:
    """As loadtest.sale.Sale. Use as a context manager; `addresses` are those of the workers."""

    def __init__(self, addresses: Sequence[str], timeout_s: float) -> None:
        target = "ipv4:" + ",".join(addresses)
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self._timeout_s = timeout_s
        self._calls = {
            name: self._channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=encode,
                response_deserializer=msgspec.msgpack.Decoder(answer).decode,
            )
            for name, (_, answer) in CALLS.items()
        }

    async def __aenter__(self) -> Self:
        await self._channel.channel_ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def seat_map(self, flight: str) -> SeatMapAnswer:
        answer: SeatMapAnswer = await self._calls["SeatMap"](
            SeatMapRequest(flight), timeout=self._timeout_s
        )
        return answer

    async def hold(self, flight: str, number: int, customer: str) -> object:
        return await self._seat("Hold", flight, number, customer)

    async def buy(self, flight: str, number: int, customer: str) -> object:
        return await self._seat("Buy", flight, number, customer)

    async def release(self, flight: str, number: int, customer: str) -> object:
        return await self._seat("Release", flight, number, customer)

    async def _seat(self, name: str, flight: str, number: int, customer: str) -> Any:
        request = SeatRequest(flight, number, customer)
        try:
            return await self._calls[name](request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            trailing = error.trailing_metadata()
            name = dict(trailing).get(ERROR_KEY) if trailing else None
            if name == "SeatTaken":
                raise airline.SeatTaken(flight, number) from None
            if name == "NotHolder":
                raise airline.NotHolder(flight, number, customer) from None
            raise
