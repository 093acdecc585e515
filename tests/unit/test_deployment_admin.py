"""Status is counted from the table, the leases and the units' own words; parts may be away."""

from contextlib import asynccontextmanager

import grpc
import grpc.aio
import msgspec
import pytest
from tupelo.schema import FieldSchema, SpaceSchema, decode_schema, encode_schema
from tupelo.v1 import admin_pb2, admin_pb2_grpc
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import StoreAway, StoreInDoubt
from tupelo_grid.core.table import (
    FENCED,
    GRID_KEY,
    GridInfo,
    Lease,
    PartitionConfig,
    PartitionState,
    encode,
    lease_key,
    part_key,
    space_key,
)
from tupelo_grid.deployment.admin import GridAdmin
from tupelo_grid.deployment.status import View, summarize
from tupelo_grid.runtime.errors import FatalStartError

from tests.memory_store import MemoryStateStore

CONFIG = GridConfig(status_timeout_s=0.5, port=1)


def lease(unit, address="127.0.0.1:1", nonce="n"):
    return Lease(unit, address, "127.0.0.1:2", nonce)


def view(parts, leases=("a#1", "b#2"), fenced=()):
    held = {name: lease(name[0], nonce=FENCED if name in fenced else "n") for name in leases}
    return View(GridInfo("00", len(parts)), 1, dict(enumerate(parts)), held)


def part(primary="a#1", in_sync=("a#1", "b#2"), **more):
    return PartitionConfig(1, primary, in_sync, **more)


@pytest.mark.parametrize(
    ("config", "ready", "expected"),
    [
        (part(), True, {"healthy": 1}),
        (part(), False, {}),
        (part(in_sync=("a#1",)), True, {"under_replicated": 1}),
        (part(in_sync=("a#1", "gone#9")), True, {"under_replicated": 1}),
        (part(in_sync=("a#1", "c#3")), True, {"under_replicated": 1}),
        (part(primary="", state=PartitionState.LOST), False, {"lost": 1}),
        (part(learner="b#2"), True, {"healthy": 1, "moving": 1}),
        (part(leaving="b#2"), True, {"healthy": 1, "moving": 1}),
    ],
)
def test_every_partition_is_counted_once(config, ready, expected):
    seen = view([config], leases=("a#1", "b#2", "c#3"), fenced=("c#3",))
    summary = summarize(seen, {"a#1": frozenset({0}) if ready else frozenset()}, backups=1)
    counted = {field.name: value for field, value in summary.ListFields()}
    assert counted == {"total": 1, **expected}


def test_a_ready_word_of_another_incarnation_counts_for_nothing():
    summary = summarize(view([part()]), {"a#7": frozenset({0})}, backups=1)
    assert (summary.total, summary.healthy) == (1, 0)


class Unit(admin_pb2_grpc.UnitServicer):
    def __init__(self, incarnation, ready):
        self.incarnation = incarnation
        self.ready = ready

    async def Status(self, request, context):
        return admin_pb2.UnitStatus(
            id=self.incarnation.partition("#")[0],
            incarnation=self.incarnation,
            state="running",
            lag_records=2,
            lag_s=0.5,
            ready_partitions=self.ready,
        )


@asynccontextmanager
async def serving(add, servicer):
    """Yields the port of a server with `servicer`."""
    server = grpc.aio.server()
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def admin_of(store, config=CONFIG, **more):
    """Yields a stub of an Admin service over `store`."""
    admin = GridAdmin(config, store, **more)
    async with (
        serving(admin_pb2_grpc.add_AdminServicer_to_server, admin) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield admin_pb2_grpc.AdminStub(channel)
    await admin.close()


async def filled(leases, parts):
    store = MemoryStateStore(CONFIG)
    puts = {GRID_KEY: encode(GridInfo("ab" * 16, len(parts)))}
    puts |= {lease_key(name): encode(value) for name, value in leases.items()}
    puts |= {part_key(number): encode(value) for number, value in enumerate(parts)}
    await store.txn([], puts)
    return store


def pump(**figures):
    return lambda: admin_pb2.PumpStatus(**figures)


async def status(stub):
    return await stub.Status(admin_pb2.StatusRequest(), timeout=5)


async def test_status_puts_table_leases_and_units_together():
    add = admin_pb2_grpc.add_UnitServicer_to_server
    async with serving(add, Unit("a#1", [0, 1])) as first, serving(add, Unit("b#2", [])) as second:
        leases = {
            "a#1": lease("a", f"127.0.0.1:{first}"),
            "b#2": lease("b", f"127.0.0.1:{second}"),
            # Restarted as b#2; the old lease is fenced and its port is another's by now.
            "b#0": lease("b", f"127.0.0.1:{first}", FENCED),
            "c#3": lease("c", "127.0.0.1:1"),
            "d#4": lease("d", "127.0.0.1:1", FENCED),
        }
        store = await filled(leases, [part(), part(in_sync=("a#1",)), part(primary="b#2")])
        async with admin_of(store, pump_stats=pump(store="sqlite", dead_letters=1)) as stub:
            answer = await status(stub)
    assert [(unit.incarnation, unit.state) for unit in answer.units] == [
        ("a#1", "running"),
        ("b#2", "running"),
        ("c#3", "unreachable"),
    ]
    parts = answer.partitions
    assert (parts.total, parts.healthy, parts.under_replicated) == (3, 1, 1)
    assert (answer.pump.lag_records, answer.pump.lag_s, answer.pump.store) == (4, 0.5, "sqlite")
    assert answer.grid_id == "ab" * 16
    warnings = "\n".join(answer.warnings)
    assert "c#3 (127.0.0.1:1) does not answer" in warnings
    assert "dead letters" in warnings


class AwayStore:
    async def read(self, prefix):
        raise StoreAway("gone")

    async def txn(self, conditions, puts, deletes=()):
        raise StoreInDoubt("gone")


async def test_messaging_answers_with_what_it_knew_while_control_is_away():
    store = await filled({"c#3": lease("c")}, [part()])
    async with admin_of(store, pump_stats=pump()) as stub:
        await status(stub)
        store.read = AwayStore().read
        answer = await status(stub)
    assert answer.partitions.total == 1
    assert any("control (127.0.0.1:2) does not answer" in text for text in answer.warnings)


async def test_control_answers_while_messaging_is_away_and_tells_its_problems():
    deployment = Deployment()
    async with admin_of(await filled({}, [part()]), deployment=deployment) as stub:
        answer = await status(stub)
    warnings = "\n".join(answer.warnings)
    assert "messaging (127.0.0.1:1) does not answer" in warnings
    assert "unit-3 stays down" in warnings


class Deployment:
    def __init__(self):
        self.shut_down_s = None

    async def scale(self, units):
        if units == 9:
            raise FatalStartError("unit-9: no memory", "buy some")
        if units == 0:
            raise ValueError("units must be 1 to 64, not 0")
        return units

    async def shutdown(self, timeout_s):
        self.shut_down_s = timeout_s
        return 3

    def problems(self):
        return ["unit-3 stays down"]


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_scale_and_shutdown_at_control():
    deployment, stopped = Deployment(), []
    store = await filled({}, [])
    more = {"deployment": deployment, "on_shutdown": lambda: stopped.append(True)}
    async with admin_of(store, **more) as stub:
        assert (await stub.Scale(admin_pb2.ScaleRequest(units=4))).units == 4
        code, message = await refusal(stub.Scale(admin_pb2.ScaleRequest(units=0)))
        assert (code, message) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "units must be 1 to 64, not 0",
        )
        code, message = await refusal(stub.Scale(admin_pb2.ScaleRequest(units=9)))
        assert (code, message) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "unit-9: no memory buy some",
        )
        answer = await stub.Shutdown(admin_pb2.ShutdownRequest(timeout_ms=1500))
    assert (answer.unpersisted_records, deployment.shut_down_s, stopped) == (3, 1.5, [True])


async def test_messaging_forwards_to_control_and_says_when_it_is_away():
    store = await filled({}, [])
    control = GridAdmin(CONFIG, store, deployment=Deployment())
    async with serving(admin_pb2_grpc.add_AdminServicer_to_server, control) as port:
        config = msgspec.structs.replace(CONFIG, port=port - 1)
        async with admin_of(store, config, pump_stats=pump()) as stub:
            assert (await stub.Scale(admin_pb2.ScaleRequest(units=4))).units == 4
            code, message = await refusal(stub.Scale(admin_pb2.ScaleRequest(units=9)))
            assert (code, message) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "unit-9: no memory buy some",
            )
    await control.close()
    async with admin_of(store, pump_stats=pump()) as stub:
        code, message = await refusal(stub.Scale(admin_pb2.ScaleRequest(units=4)))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "control (127.0.0.1:2) does not answer" in message


async def test_spaces_are_created_once():
    store = await filled({}, [])
    async with admin_of(store, pump_stats=pump()) as stub:
        request = admin_pb2.CreateSpaceRequest(name="carts")
        assert (await stub.CreateSpace(request)).created
        assert not (await stub.CreateSpace(request)).created
        stored = (await store.read(space_key("carts"))).entries[space_key("carts")]
        assert decode_schema(stored.value) == SpaceSchema("carts")
        typed = SpaceSchema("carts", key=("id",), fields=(FieldSchema("id", "int"),))
        other = admin_pb2.CreateSpaceRequest(schema=encode_schema(typed))
        code, message = await refusal(stub.CreateSpace(other))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert "another declaration" in message


@pytest.mark.parametrize(
    ("name", "schema", "said"),
    [
        ("", b"", "1 to 128"),
        ("a/b", b"", "'a/b'"),
        ("x" * 129, b"", "1 to 128"),
        ("x", b"{", "the schema is not valid"),
        ("x", b'{"name": "y"}', "is of 'y', not of 'x'"),
    ],
)
async def test_spaces_with_wrong_declarations(name, schema, said):
    async with admin_of(await filled({}, []), pump_stats=pump()) as stub:
        request = admin_pb2.CreateSpaceRequest(name=name, schema=schema)
        code, message = await refusal(stub.CreateSpace(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in message


async def test_a_space_cannot_be_created_without_control():
    async with admin_of(AwayStore(), pump_stats=pump()) as stub:
        code, message = await refusal(stub.CreateSpace(admin_pb2.CreateSpaceRequest(name="x")))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "try again" in message
