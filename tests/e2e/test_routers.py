"""Several routers in front of three units: what dies, hangs or is asked elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Literal

import grpc
import pytest
import tupelo
import tupelo.sync
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tupelo.codec import encode_key, partition_of
from tupelo.v1 import data_pb2 as pb
from tupelo.v1 import data_pb2_grpc

from tests.e2e.grids import Grid, free_port
from tests.pause import pause

SERVING = health_pb2.HealthCheckResponse.SERVING
UNIT_FRAMES_MAX = 32
DEADLINE_S = 1.0


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A unit that is stopped is not replaced: its lease lasts longer than the tests."""
    started = Grid.start(
        tmp_path_factory.mktemp("grid"),
        *("--routers", "2", "--space", "carts", "--set", f"router_port={free_port()}"),
        *("--set", "lease_s=30", "--set", f"router_unit_frames_max={UNIT_FRAMES_MAX}"),
        *("--set", "router_unreachable_s=1", "--set", "router_probe_s=0.3"),
    )
    yield started
    started.stop()


def addresses(grid: Grid) -> list[str]:
    """Of router-1 and router-2."""
    return [one["address"] for one in grid.status()["routers"] if one["id"] != "messaging"]


def test_routers_are_shown_and_serve(grid: Grid) -> None:
    routers = grid.status()["routers"]
    assert [one["id"] for one in routers] == ["messaging", "router-1", "router-2"]
    assert {one["state"] for one in routers} == {"serving"}
    assert routers[0]["address"] == grid.address
    assert routers[1]["address"] in grid.started.stdout
    plain = grid.cli("status").stdout
    assert f"router-1 {routers[1]['address']} serving" in plain
    assert grid.cli("get", "carts", "nobody").returncode == 4


def test_pages_and_repeated_calls_go_on_through_another_router(grid: Grid) -> None:
    one, two = (grpc.insecure_channel(address) for address in addresses(grid))
    stubs = [data_pb2_grpc.SpaceStub(one), data_pb2_grpc.SpaceStub(two)]
    for number in range(50):
        put = pb.PutRequest(
            space="carts", key_json=f'"p{number}"', value_json="1", session=1 << 60,
            op_number=number + 1,
        )  # fmt: skip
        first = stubs[0].Put(put, timeout=5)
        again = stubs[1].Put(put, timeout=5)
        assert (first.version, first.token) == (again.version, again.token)
    seen: list[bytes] = []
    token, turn = "", 0
    while True:
        page = stubs[turn % 2].Scan(
            pb.ScanRequest(space="carts", limit=7, page_token=token), timeout=5
        )
        seen += [key for key in page.keys if key.startswith((b"\xa2p", b"\xa3p"))]
        token, turn = page.next_page_token, turn + 1
        if not token:
            break
    assert turn > 6
    assert sorted(seen) == sorted(encode_key(f"p{number}") for number in range(50))
    one.close()
    two.close()


@pytest.mark.parametrize("routing", ["smart", "router"])
async def test_values_that_no_message_holds_together_are_read_together(
    grid: Grid, routing: Literal["smart", "router"]
) -> None:
    values = {f"large-{number}": f"{number:x}" * 3_000_000 for number in range(12)}
    async with tupelo.connect(grid.address, routing=routing) as client:
        carts = client.space("carts")
        for key, value in values.items():
            await carts.put(key, value)
        # In the frame of one of them, the answer to a write would be lost with theirs.
        one, *found = await asyncio.gather(carts.put("small", 1), *map(carts.get, values))
        assert one.version
        assert found == list(values.values())
        assert await carts.get_many(values) == values
        scanned = {item.key: item.value async for item in carts.scan()}
        assert values.items() <= scanned.items()
    with tupelo.sync.connect(grid.address, routing=routing) as synchronous:
        space = synchronous.space("carts")
        assert space.get_many(values) == values
        assert space.delete_many(values)


async def test_a_router_dies_under_load_and_no_write_is_done_twice(grid: Grid) -> None:
    first, second = addresses(grid)
    inserted: list[bool] = []
    async with tupelo.connect(first, second, routing="router", timeout_s=20.0) as client:
        carts = client.space("carts")
        stop = asyncio.Event()

        async def load(worker: int) -> None:
            number = 0
            while not stop.is_set():
                # Nobody else writes the key: a retry that was run anew would find it there.
                done = await carts.put_if_absent(f"{worker}-{number}", worker)
                inserted.append(done is not None)
                number += 1

        tasks = [asyncio.create_task(load(worker)) for worker in range(32)]
        await pause(0.5)
        grid.kill("router-1")
        before = len(inserted)
        await pause(1.5)
        stop.set()
        await asyncio.gather(*tasks)
        assert len(inserted) > before + 100, "the load goes on through the other router"
        assert all(inserted)
        found = sum([1 async for item in carts.scan() if "-" in item.key])
        assert found == len(inserted)
    grid.until(lambda status: {one["state"] for one in status["routers"]} == {"serving"})


async def asked(
    stub: data_pb2_grpc.SpaceStub, keys: list[str], until: float
) -> list[tuple[float, str]]:
    """Gets the keys one after another; the time and words of each error, or "" ."""
    seen = []
    while time.monotonic() < until:
        for key in keys:
            started = time.monotonic()
            said = ""
            try:
                request = pb.GetRequest(space="carts", key_json=f'"{key}"')
                await stub.Get(request, timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                said = f"{error.code().name}: {error.details()}"
            seen.append((time.monotonic() - started, said))
            if said:
                await pause(0.05)
    return seen


async def test_a_stopped_unit_gets_bounded_errors_and_the_others_go_on(grid: Grid) -> None:
    grid.until_healthy()
    address = addresses(grid)[1]
    stopped = next(unit for unit in grid.status()["units"] if unit["id"] == "unit-2")
    async with grpc.aio.insecure_channel(address) as channel:
        stub = data_pb2_grpc.SpaceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        route = await stub.Route(pb.RouteRequest(), timeout=5)
        owners = [route.addresses[primary - 1] for primary in route.primaries]
        keys: dict[bool, list[str]] = {True: [], False: []}
        for number in range(400):
            partition = partition_of(encode_key(f"s{number}"), len(owners))
            keys[owners[partition] == stopped["address"]].append(f"s{number}")
        await asked(stub, keys[False][:5], time.monotonic() + 0.2)
        os.kill(stopped["pid"], signal.SIGSTOP)
        try:
            until = time.monotonic() + 3.0
            fine = [asyncio.create_task(asked(stub, keys[False][n::4], until)) for n in range(4)]
            hang = [
                asyncio.create_task(asked(stub, keys[True][n : n + 1], until))
                for n in range(UNIT_FRAMES_MAX + 8)
            ]
            good = [one for task in fine for one in await task]
            bad = [one for task in hang for one in await task]
            said = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert said.status != SERVING
        finally:
            os.kill(stopped["pid"], signal.SIGCONT)
        slowest = max(took for took, _ in good)
        print(f"others: {len(good)} calls, slowest {slowest * 1000:.0f} ms")
        assert not [words for _, words in good if words]
        assert len(good) > 200
        assert slowest < DEADLINE_S
        assert all(words for _, words in bad)
        assert max(took for took, _ in bad) < DEADLINE_S + 0.5
        # gRPC's own error, which says less, comes only where the machine is too busy for ours.
        clear = [words for _, words in bad if not words.startswith("DEADLINE_EXCEEDED")]
        assert len(clear) > len(bad) / 2
        assert {words.partition(":")[0] for words in clear} == {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
        assert all("unit-2" in words for words in clear)
        assert any("router_unit_frames_max" in words for _, words in bad)
        async with asyncio.timeout(20):
            while (await health.Check(health_pb2.HealthCheckRequest())).status != SERVING:
                await pause(0.1)
