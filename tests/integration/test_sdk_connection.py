"""The connection below the client, as a router uses it: batches of other people's sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tupelo import kinds
from tupelo._async.connection import UnitConnection
from tupelo._async.routes import RouteKeeper
from tupelo.codec import encode_key, encode_value
from tupelo.config import ClientConfig
from tupelo.errors import ConnectionLost, DeadlineExceeded, OutcomeUnknown, Overloaded
from tupelo.v1.data_pb2 import OpBatch

from tests.fake_grid import FakeGrid

CONFIG = ClientConfig(queue_batches_max=8, sweep_s=0.01)


@pytest.fixture
async def fake() -> AsyncIterator[FakeGrid]:
    async with FakeGrid(units=1) as grid:
        yield grid


@pytest.fixture
async def connection(fake: FakeGrid) -> AsyncIterator[UnitConnection]:
    routes = RouteKeeper([fake.seed], CONFIG)
    await routes.first()
    made = UnitConnection(fake.seed, CONFIG, routes)
    yield made
    await made.close()
    await routes.close()


def put(session: int, number: int) -> OpBatch:
    return OpBatch(
        session=session,
        acked_below=number,
        targets=["default"],
        kinds=bytes([kinds.PUT]),
        partitions=[0],
        keys=[encode_key(session)],
        values=[encode_value(number)],
        op_numbers=[number],
    )


async def test_batches_of_several_sessions_share_a_frame(
    fake: FakeGrid, connection: UnitConnection
) -> None:
    (unit,) = fake.units
    unit.gate.clear()
    first = connection.begin([put(1, 1)], 5.0)
    await unit.arrived(1)
    rest = [connection.begin([put(session, 1), put(session, 2)], 5.0) for session in (2, 3, 4)]
    unit.gate.set()
    results = await asyncio.gather(first, *rest)
    assert [len(result) for result in results] == [1, 2, 2, 2]
    assert all(list(batch.codes) == [0] for result in results for batch in result)
    assert unit.frames == 2
    assert [batch.session for batch in unit.batches] == [1, 2, 2, 3, 3, 4, 4]


async def test_what_waits_is_bounded_in_number_and_time(
    fake: FakeGrid, connection: UnitConnection
) -> None:
    (unit,) = fake.units
    unit.gate.clear()
    sent = connection.begin([put(1, 1)], 0.1)
    await unit.arrived(1)
    waiting = [connection.begin([put(2, number)], 0.05) for number in range(1, 9)]
    with pytest.raises(Overloaded, match="queue_batches_max"):
        connection.begin([put(3, 1)], 0.05)
    results = await asyncio.gather(sent, *waiting, return_exceptions=True)
    assert type(results[0]) is OutcomeUnknown
    assert {type(result) for result in results[1:]} == {DeadlineExceeded}
    unit.gate.set()
    assert len(await connection.exchange([put(4, 1)], 5.0)) == 1
    assert {batch.session for batch in unit.batches} <= {1, 4}


async def test_a_unit_that_is_away_fails_batches_at_once_and_serves_them_when_it_is_back(
    fake: FakeGrid, connection: UnitConnection
) -> None:
    (unit,) = fake.units
    await connection.exchange([put(1, 1)], 5.0)
    await unit.stop()
    with pytest.raises((ConnectionLost, OutcomeUnknown)):
        await connection.exchange([put(1, 2)], 5.0)
    with pytest.raises(ConnectionLost, match="cannot be reached"):
        await connection.exchange([put(1, 2)], 5.0)
    await unit.start()
    async with asyncio.timeout(5):
        while True:
            try:
                (result,) = await connection.exchange([put(1, 2)], 5.0)
                break
            except ConnectionLost:  # until the channel has found the unit again
                continue
    assert list(result.codes) == [0]


async def test_draining_waits_for_what_is_on_its_way(
    fake: FakeGrid, connection: UnitConnection
) -> None:
    (unit,) = fake.units
    await connection.drain()
    unit.gate.clear()
    sent = connection.begin([put(1, 1)], 5.0)
    await unit.arrived(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03):
            await connection.drain()
    draining = asyncio.create_task(connection.drain())
    unit.gate.set()
    await draining
    assert sent.done()
    await connection.close()
    with pytest.raises(ConnectionLost, match="closed"):
        connection.begin([put(1, 2)], 5.0)
