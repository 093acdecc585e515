"""A worker of the database-centric airline.

    python -m loadtest.database.server --port 7500 --url postgresql://USER@HOST:PORT/DATABASE

Any number of them may serve the same database. Prints {"ready": true} when it serves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import asyncpg
import grpc
import grpc.aio
import msgspec
import uvloop

from loadtest.airline_package import unit as airline
from loadtest.database import sql
from loadtest.database.contract import (
    CALLS,
    ERROR_KEY,
    SERVICE,
    HoldAnswer,
    Nothing,
    SeatAnswer,
    SeatMapAnswer,
    SeatMapRequest,
    SeatRequest,
    encode,
)

POOL: Final = 8
"""Connections of one worker: a few for each core of the database keep it busy, more only queue."""
CALLS_MAX: Final = 2000
"""In one worker; a further one is refused with RESOURCE_EXHAUSTED."""
WAIT_S_MAX: Final = 4.0
"""For a connection; above it UNAVAILABLE."""
STATEMENT_S_MAX: Final = 5.0
AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it shuts down, or recovers from a crash
    asyncpg.InterfaceError,  # a connection that broke while it was in use
)
HOLD_FOR: Final = timedelta(seconds=airline.HOLD_S)


async def _keep(_connection: object) -> None:
    """asyncpg would reset a connection's session after each use, a round trip; ours never change
    theirs."""


class Sale:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def seat_map(self, asked: SeatMapRequest) -> SeatMapAnswer:
        row = await self._row(sql.SEAT_MAP, asked.flight)
        if row is None:
            raise airline.NoSuchFlight(asked.flight)
        fare, seats, free, held = row
        if seats is None:
            return SeatMapAnswer(asked.flight, [], [], 0, None)
        free, held = free or [], held or []
        return SeatMapAnswer(asked.flight, free, held, seats - len(free) - len(held), fare)

    async def hold(self, asked: SeatRequest) -> HoldAnswer:
        place = (asked.flight, asked.number)
        row = await self._row(sql.HOLD, *place, asked.customer, HOLD_FOR)
        if row is not None:
            return HoldAnswer(*place, asked.customer, row[0])
        if await self._row(sql.SEAT, *place) is None:
            raise airline.NoSuchSeat(*place)
        raise airline.SeatTaken(*place)

    async def buy(self, asked: SeatRequest) -> SeatAnswer:
        """Again by the same customer gives the same answer, so that it can be tried again."""
        place = (asked.flight, asked.number)
        row = await self._row(sql.BUY, *place, asked.customer)
        if row is not None:
            return SeatAnswer(*place, asked.customer, row[0], row[1])
        row = await self._row(sql.SEAT, *place)
        if row is None:
            raise airline.NoSuchSeat(*place)
        if row[0] != asked.customer:
            raise airline.SeatTaken(*place)
        return SeatAnswer(*place, asked.customer, row[1], row[2])

    async def release(self, asked: SeatRequest) -> Nothing:
        place = (asked.flight, asked.number, asked.customer)
        if await self._row(sql.RELEASE, *place) is None:
            raise airline.NotHolder(*place)
        return Nothing()

    async def _row(self, statement: str, *values: Any) -> Any:
        async with self._pool.acquire(timeout=WAIT_S_MAX) as connection:
            return await connection.fetchrow(statement, *values)


Method = Callable[[Any], Awaitable[msgspec.Struct]]


def handler(name: str, method: Method) -> grpc.RpcMethodHandler:
    async def answer(asked: msgspec.Struct, context: grpc.aio.ServicerContext) -> msgspec.Struct:
        try:
            return await method(asked)
        except airline.ApplicationError as error:
            context.set_trailing_metadata(((ERROR_KEY, type(error).__name__),))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except AWAY as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the database is away: {error!r}")
        raise AssertionError("abort raises")

    decoder = msgspec.msgpack.Decoder(CALLS[name][0])
    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=decoder.decode, response_serializer=encode
    )


async def serve(port: int, url: str) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    pool = await asyncpg.create_pool(
        url,
        min_size=POOL,
        max_size=POOL,
        reset=_keep,
        command_timeout=STATEMENT_S_MAX,
        max_inactive_connection_lifetime=0,
    )
    sale = Sale(pool)
    methods: dict[str, Method] = {
        "SeatMap": sale.seat_map,
        "Hold": sale.hold,
        "Buy": sale.buy,
        "Release": sale.release,
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=CALLS_MAX)
    handlers = {name: handler(name, method) for name, method in methods.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(json.dumps({"ready": True}), flush=True)
    await ended.wait()
    await server.stop(1.0)
    await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtest.database.server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True, help="of the database, for asyncpg")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.url))


if __name__ == "__main__":
    main()
