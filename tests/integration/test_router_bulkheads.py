"""One client, or one unit, does not take a router from the others; and deadlines that hold."""

from __future__ import annotations

import asyncio
import time

import grpc.aio
import msgspec
import pytest
import tupelo
from tupelo.codec import encode_key, partition_of
from tupelo.errors import ResultCode
from tupelo.v1 import data_pb2 as pb
from tupelo.v1.data_pb2 import SessionRequest
from tupelo.v1.data_pb2_grpc import SpaceStub
from tupelo_grid.config import GridConfig

from tests.integration.router_rig import Gate, Rig, pack, running
from tests.pause import pause

PUT, GET = b"\x03", b"\x01"
ABSENT = bytes([ResultCode.NOT_FOUND])


def key_of(rig: Rig, unit: int, skip: int = 0) -> str:
    """A key that belongs to that unit; the next one for every `skip`."""
    owned = [
        f"k{number}"
        for number in range(500)
        if rig.grid.owners[partition_of(encode_key(f"k{number}"), rig.grid.partitions)]
        is rig.grid.units[unit]
    ]
    return owned[skip]


def shut(rig: Rig, unit: int) -> Gate:
    gate = Gate(asyncio.Semaphore(0))
    rig.grid.units[unit].gate = gate
    return gate


async def holds(rig: Rig, frames: int) -> None:
    """Until the router holds so many."""
    while rig.router.frames_held < frames:
        await pause(0.005)


async def test_a_unit_that_hangs_gets_errors_and_the_others_go_on() -> None:
    config = GridConfig(router_unit_frames_max=8)
    async with running(config) as rig:
        gate = shut(rig, 0)
        held = [
            asyncio.create_task(rig.execute(rig.batch(GET, [key_of(rig, 0, n)]))) for n in range(8)
        ]
        # Two streams lead to a unit; what comes behind waits in the router.
        await gate.arrived.acquire()
        await holds(rig, 8)
        (refused,) = (await rig.execute(rig.batch(GET, [key_of(rig, 0)]))).results
        assert refused.refused.code == ResultCode.OVERLOADED
        assert "unit-1" in refused.refused.message
        assert "router_unit_frames_max" in refused.refused.message
        # Everybody else is served, also in a call that the hanging unit has a part in.
        for unit in (1, 2) * 20:
            (result,) = (await rig.execute(rig.batch(GET, [key_of(rig, unit)]))).results
            assert result.codes == ABSENT
        both = rig.batch(GET * 2, [key_of(rig, 0), key_of(rig, 1)])
        (result,) = (await rig.execute(both)).results
        assert result.codes == bytes([ResultCode.OVERLOADED]) + ABSENT
        gate.set()
        for answer in await asyncio.gather(*held):
            assert answer.results[0].codes == ABSENT
        await rig.router.idle()
        assert rig.router.admission.units == {}


async def test_calls_of_one_client_leave_room_for_another() -> None:
    async with running(GridConfig(router_client_frames_max=2)) as rig:
        arrived = Gate.close_all(rig)
        held = [
            asyncio.create_task(rig.execute(rig.batch(GET, [key_of(rig, n)]))) for n in range(2)
        ]
        for _ in held:
            await arrived.acquire()
        (refused,) = (await rig.execute(rig.batch(GET, ["x"]))).results
        assert refused.refused.code == ResultCode.OVERLOADED
        assert "router_client_frames_max" in refused.refused.message
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.stub.Get(pb.GetRequest(space="default", key_json='"x"'), timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # A stream is part of its connection, so the same client.
        stream = rig.stub.Session()
        await stream.write(SessionRequest(request_id=1, batches=[rig.batch(GET, ["x"])]))
        assert (await stream.read()).results[0].refused.code == ResultCode.OVERLOADED
        stream.cancel()
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(rig.address, options=options) as channel:
            request = SessionRequest(batches=[rig.batch(GET, [key_of(rig, 2)])])
            other = SpaceStub(channel).Execute(request, timeout=10)
            await arrived.acquire()
            for unit in rig.grid.units:
                unit.gate.set()
            assert (await other).results[0].codes == ABSENT
        await asyncio.gather(*held)
        await rig.router.idle()
        assert rig.router.admission.clients == {}


async def test_a_client_behind_a_router_is_not_held_up_by_a_unit_that_hangs() -> None:
    async with (
        running() as rig,
        tupelo.connect(rig.address, routing="router", timeout_s=5.0) as grid,
    ):
        space = grid.space("default")
        gate = shut(rig, 0)
        held = asyncio.create_task(space.get(key_of(rig, 0)))
        await gate.arrived.acquire()
        for number in range(20):
            assert await space.get(key_of(rig, 1 + number % 2)) is None
        assert not held.done()
        gate.set()
        assert await held is None


async def test_the_deadline_of_a_call_reaches_the_unit_and_the_answer_comes_in_time() -> None:
    async with running() as rig:
        rig.grid.record = True
        batch = rig.batch(GET, [key_of(rig, 1)])
        batch.timeout_ms = 0
        await rig.stub.Execute(SessionRequest(batches=[batch]), timeout=2.0)
        await rig.stub.Get(pb.GetRequest(space="default", key=pack(key_of(rig, 1))), timeout=2.0)
        for seen in rig.grid.units[1].batches:
            assert 1500 < seen.timeout_ms <= 1950
        gate = shut(rig, 0)
        request = pb.GetRequest(space="default", key=pack(key_of(rig, 0)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.stub.Get(request, timeout=0.5)
        # Ours, which says who did not answer; not gRPC's DEADLINE_EXCEEDED.
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "unit-1 (" in (caught.value.details() or "")
        put = rig.batch(PUT, [key_of(rig, 0)], [1])
        put.timeout_ms = 0
        answer = await rig.stub.Execute(SessionRequest(batches=[put]), timeout=0.5)
        assert answer.results[0].codes == bytes([ResultCode.OUTCOME_UNKNOWN])
        gate.set()


async def test_no_call_is_held_longer_than_the_limit() -> None:
    async with running(GridConfig(request_timeout_s_max=0.3)) as rig:
        gate = shut(rig, 0)
        batch = rig.batch(GET, [key_of(rig, 0)])
        batch.timeout_ms = 2**32 - 1
        started = time.monotonic()
        (result,) = (await rig.execute(batch)).results
        assert result.codes == bytes([ResultCode.NOT_READY])
        assert time.monotonic() - started < 3
        gate.set()


async def test_a_count_says_which_partitions_and_units_did_not_answer() -> None:
    async with running() as rig:
        shut(rig, 0)
        owned = [n for n, unit in enumerate(rig.grid.owners) if unit is rig.grid.units[0]]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.stub.Count(pb.CountRequest(space="default"), timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        said = caught.value.details() or ""
        assert f"6 of 16 partitions asked did not answer ({', '.join(map(str, owned))}" in said
        trailers = dict(caught.value.trailing_metadata())
        fields = msgspec.msgpack.decode(trailers["tupelo-fields-bin"])
        assert fields == {
            "partitions_failed": owned,
            "units_failed": ["unit-1"],
            "count": 0,
            "counted": 10,
        }


async def test_a_scan_goes_as_far_as_it_can_and_on_from_there() -> None:
    async with running() as rig:
        for number in range(64):
            await rig.stub.Put(
                pb.PutRequest(space="default", key=pack(number), value=pack(number)), timeout=5
            )
        # Partition 0 and every third from there on is the first unit's; 0 hands over.
        rig.grid.move(0, rig.grid.units[1])
        await rig.publish()
        gate = shut(rig, 0)
        first = await rig.stub.Scan(pb.ScanRequest(space="default", limit=1000), timeout=0.5)
        before = sum(len(rig.grid.parts[partition].entries) for partition in range(3))
        assert len(first.keys) == before > 0
        assert first.next_page_token
        request = pb.ScanRequest(space="default", limit=1000, page_token=first.next_page_token)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.stub.Scan(request, timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "1 of 1 partitions asked did not answer (3; unit-1), 3 had" in (
            caught.value.details() or ""
        )
        gate.set()
        rest = await rig.stub.Scan(request, timeout=5)
        assert len(first.keys) + len(rest.keys) == 64
        assert not set(first.keys) & set(rest.keys)
