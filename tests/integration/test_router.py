"""The router over real gRPC: splitting, joining, moves, dead units, limits, bad input."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc.aio
import msgspec
import pytest
from tupelo.codec import encode_key, partition_of
from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BulkBatch, OpBatch, RouteRequest, SessionRequest
from tupelo_grid.config import GridConfig

from tests.integration.router_rig import Gate, Rig, pack, running

PUT, GET = b"\x03", b"\x01"


def owners_hit(rig: Rig) -> list[int]:
    return [unit.frames for unit in rig.grid.units]


def own_key(rig: Rig, unit: int) -> str:
    """A key whose partition belongs to that unit."""
    return next(
        f"k{number}"
        for number in range(1000)
        if rig.grid.owners[partition_of(encode_key(f"k{number}"), rig.grid.partitions)]
        is rig.grid.units[unit]
    )


async def test_a_batch_of_all_units_is_split_and_joined_in_order() -> None:
    async with running() as rig:
        names = [f"key-{number}" for number in range(50)]
        answer = await rig.execute(rig.batch(PUT * 50, names, list(range(50))))
        assert answer.request_id == 7
        (result,) = answer.results
        assert result.codes == bytes(50)
        assert result.copies == b"\x02" * 50
        assert all(owners_hit(rig))
        mixed = rig.batch(GET * 51, [*names, "absent"])
        (result,) = (await rig.execute(mixed)).results
        assert list(result.values) == [pack(number) for number in range(50)] + [b""]
        assert result.codes == bytes(50) + bytes([ResultCode.NOT_FOUND])
        assert len(rig.grid.entries()) == 50


async def test_one_owner_gets_the_batch_whole_and_with_its_own_token() -> None:
    async with running() as rig:
        key = own_key(rig, 1)
        batch = rig.batch(PUT, [key], [1])
        batch.strict, batch.acked_below = True, 1
        await rig.execute(batch)
        (seen,) = rig.grid.units[1].batches
        assert (seen.session, list(seen.op_numbers), seen.strict) == (1 << 40, [1], True)
        assert seen.table_version == rig.table_version
        assert 0 < seen.timeout_ms <= 5000
        assert owners_hit(rig) == [0, 1, 0]


async def test_bulk_writes_and_reads_keep_their_groups() -> None:
    async with running() as rig:
        partitions = rig.grid.partitions
        keys = [[encode_key(f"b{p}-{n}") for n in range(p % 3 + 1)] for p in range(partitions)]
        flat = [key for group in keys for key in group]
        counts = [len(group) for group in keys]
        put = BulkBatch(
            kind=3,
            space="default",
            partitions=range(partitions),
            counts=counts,
            op_numbers=range(1, partitions + 1),
            keys=flat,
            values=[pack(n) for n in range(len(flat))],
        )
        (result,) = (await rig.execute(OpBatch(session=5, bulk=put))).results
        assert result.bulk.codes == bytes(partitions)
        assert len(result.bulk.versions) == partitions
        assert rig.grid.entries() == {key: pack(n) for n, key in enumerate(flat)}
        get = BulkBatch(
            kind=1, space="default", partitions=range(partitions), counts=counts, keys=flat
        )
        (result,) = (await rig.execute(OpBatch(bulk=get))).results
        assert list(result.bulk.values) == [pack(n) for n in range(len(flat))]
        assert all(result.bulk.versions)


async def test_a_move_is_followed_without_the_client() -> None:
    async with running() as rig:
        key = own_key(rig, 0)
        partition = partition_of(encode_key(key), rig.grid.partitions)
        rig.grid.move(partition, rig.grid.units[2])
        rig.grid.version += 1000
        (result,) = (await rig.execute(rig.batch(PUT, [key], [1]))).results
        assert result.codes == b"\0"
        assert rig.grid.units[0].frames == 1, "the old owner told where to go"
        assert rig.grid.units[2].frames == 1


async def test_only_the_operations_not_carried_out_are_repeated() -> None:
    async with running() as rig:
        names = [f"m{number}" for number in range(40)]
        slow = rig.grid.units[1]
        slow.fault = lambda request: int(ResultCode.NOT_READY) if slow.frames < 3 else None
        (result,) = (await rig.execute(rig.batch(PUT * 40, names, list(range(40))))).results
        assert result.codes == bytes(40)
        assert not result.error_ops
        assert rig.grid.units[0].frames == rig.grid.units[2].frames == 1
        assert slow.frames == 3
        assert rig.grid.most_applications() == 1


async def test_a_dead_unit_is_replaced_under_a_write() -> None:
    async with running() as rig:
        await rig.execute(rig.batch(PUT * 30, [f"d{n}" for n in range(30)], list(range(30))))
        dead = rig.grid.units[0]
        await dead.stop()
        key = own_key(rig, 0)
        write = asyncio.create_task(rig.execute(rig.batch(PUT, [key], ["new"])))
        rig.grid.fail_over(dead)
        await rig.publish(fenced=dead.name)
        (result,) = (await write).results
        assert result.codes == b"\0"
        assert rig.grid.entries()[encode_key(key)] == pack("new")


@pytest.mark.parametrize("fault", ["drop", "lose", "garble"])
async def test_a_broken_answer_is_asked_for_again_with_the_same_token(fault: str) -> None:
    async with running() as rig:
        key = own_key(rig, 0)
        unit = rig.grid.units[0]
        unit.fault = lambda request: fault if unit.frames == 1 else None
        (result,) = (await rig.execute(rig.batch(PUT, [key], [1]))).results
        assert result.codes == b"\0"
        assert rig.grid.most_applications() == 1
        assert unit.frames == 2


async def test_what_may_have_happened_is_never_called_failed() -> None:
    async with running() as rig:
        unit = rig.grid.units[0]
        unit.fault = lambda request: "drop" if unit.frames == 1 else int(ResultCode.NOT_READY)
        batch = rig.batch(PUT + GET, [own_key(rig, 0)] * 2, [1, 0])
        batch.timeout_ms = 400
        (result,) = (await rig.execute(batch)).results
        assert result.codes == bytes([ResultCode.OUTCOME_UNKNOWN, ResultCode.NOT_READY])
        assert "may have been carried out" in result.errors[0].message


async def test_a_partition_without_primary_says_so_at_the_deadline() -> None:
    async with running() as rig:
        key = own_key(rig, 0)
        rig.grid.move(partition_of(encode_key(key), rig.grid.partitions), None)
        await rig.publish()
        other = own_key(rig, 1)
        batch = rig.batch(GET * 2, [key, other])
        batch.timeout_ms = 300
        (result,) = (await rig.execute(batch)).results
        assert result.codes == bytes([ResultCode.NOT_READY, ResultCode.NOT_FOUND])
        assert "has no primary right now" in result.errors[0].message


async def test_before_there_is_a_table_the_router_says_what_is_missing() -> None:
    async with running(known=False) as rig:
        (result,) = (await rig.execute(rig.batch(GET, ["a"]))).results
        assert result.refused.code == ResultCode.NOT_READY
        await rig.publish()
        await rig.keeper.wait_for(lambda state: len(state.table.parts) == rig.grid.partitions)
        (result,) = (await rig.execute(rig.batch(GET, ["a"]))).results
        assert result.codes == bytes([ResultCode.NOT_FOUND])


async def test_bad_batches_are_refused_alone() -> None:
    async with running() as rig:
        bad = rig.batch(PUT, ["a"], [1])
        bad.partitions[0] = 999
        other = rig.batch(PUT, ["b"], [1])
        other.grid_id = b"x" * 16
        good = rig.batch(PUT, ["c"], [1])
        results = (await rig.execute(bad, good, other)).results
        assert results[0].refused.code == ResultCode.PARTITION_OUT_OF_RANGE
        assert results[1].codes == b"\0"
        assert results[2].refused.code == ResultCode.INVALID_ARGUMENT
        (only,) = (await rig.execute(bad)).results
        assert only.refused.code == ResultCode.PARTITION_OUT_OF_RANGE


async def test_above_its_limits_the_router_refuses_and_recovers() -> None:
    async with running(GridConfig(router_frames_max=2)) as rig:
        arrived = Gate.close_all(rig)
        held = [
            asyncio.create_task(rig.execute(rig.batch(GET, [own_key(rig, n)]))) for n in range(2)
        ]
        for _ in held:
            await arrived.acquire()
        (result,) = (await rig.execute(rig.batch(GET, ["x"]))).results
        assert result.refused.code == ResultCode.OVERLOADED
        assert "router_frames_max" in result.refused.message
        for unit in rig.grid.units:
            unit.gate.set()
        for answer in await asyncio.gather(*held):
            assert answer.results[0].codes == bytes([ResultCode.NOT_FOUND])
        await rig.router.idle()
        (result,) = (await rig.execute(rig.batch(GET, ["x"]))).results
        assert result.codes == bytes([ResultCode.NOT_FOUND])
    async with running(GridConfig(router_bytes_max=1000)) as rig:
        (result,) = (await rig.execute(rig.batch(PUT, ["x"], ["y" * 2000]))).results
        assert result.refused.code == ResultCode.OVERLOADED


async def test_a_session_stream_is_answered_in_order_and_drained() -> None:
    async with running() as rig:
        stream = rig.stub.Session()
        for number in range(20):
            batch = rig.batch(PUT, [f"s{number}"], [number])
            await stream.write(SessionRequest(request_id=number, batches=[batch]))
        for number in range(20):
            response = await stream.read()
            assert response.request_id == number
            assert response.results[0].codes == b"\0"
        async with asyncio.timeout(5):
            await rig.service.drain()
            assert await stream.read() is grpc.aio.EOF


async def test_a_client_of_an_older_table_is_told_the_newer() -> None:
    async with running() as rig:
        batch = rig.batch(GET, ["a"])
        batch.table_version = 1
        answer = await rig.execute(batch)
        assert answer.route.table_version == rig.table_version
        assert len(answer.route.addresses) == 3
        batch = rig.batch(GET, ["a"])
        batch.table_version = answer.route.table_version
        assert not (await rig.execute(batch)).HasField("route")


async def test_route_serves_the_table_and_the_spaces() -> None:
    async with running() as rig:
        route = await rig.stub.Route(RouteRequest(), timeout=5)
        assert route.partitions == 16
        assert Counter(route.primaries) == {1: 6, 2: 5, 3: 5}
        assert [info.name for info in route.spaces] == ["default"]
        again = await rig.stub.Route(RouteRequest(known_version=route.table_version), timeout=5)
        assert not again.primaries


async def test_reflection_and_health_answer() -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async with running() as rig:
        checker: Any = health_pb2_grpc.HealthStub(rig.channel)
        health = await checker.Check(
            health_pb2.HealthCheckRequest(service="tupelo.v1.Space"), timeout=5
        )
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(rig.channel)
        call = reflection.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await call.read()
        names = {service.name for service in listed.list_services_response.service}
        assert "tupelo.v1.Space" in names
        await call.write(
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="tupelo.v1.Space")
        )
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
        call.cancel()


async def test_application_errors_pass_through() -> None:
    async with running() as rig:
        rig.grid.commands["air.hold"] = lambda arguments: ("SeatTaken", "gone", {"seat": 7})
        batch = rig.batch(b"\x09", ["x"], [{"seat": 7}])
        batch.targets[0] = "air.hold"
        (result,) = (await rig.execute(batch)).results
        assert result.codes == bytes([ResultCode.APPLICATION_ERROR])
        assert msgspec.msgpack.decode(result.values[0]) == ["SeatTaken", "gone", {"seat": 7}]
