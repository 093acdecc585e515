"""The row RPCs, as grpcurl and other languages use them, through a router."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from tupelo.codec import encode_key
from tupelo.errors import ResultCode
from tupelo.schema import FieldSchema, SpaceSchema, encode_schema
from tupelo.v1 import data_pb2 as pb
from tupelo_grid.config import GridConfig

from tests.integration.router_rig import Rig, pack, running

SEATS = SpaceSchema(
    "seats",
    key=("event", "number"),
    route=(0,),
    fields=(
        FieldSchema("event", "str"),
        FieldSchema("number", "int"),
        FieldSchema("holder", "str", optional=True),
    ),
)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    config = GridConfig(key_bytes_max=200, value_bytes_max=5000)
    async with running(config, known=False) as rig:
        rig.grid.spaces["seats"] = encode_schema(SEATS)
        rig.grid.spaces["brief"] = encode_schema(SpaceSchema("brief", persist=False))
        rig.commands["air.hold"] = b'{"route": ["event"], "read_only": false}'
        rig.commands["air.map"] = b'{"route": ["event"], "read_only": true}'
        await rig.publish()
        await rig.keeper.wait_for(lambda state: len(state.table.parts) == 16)
        yield rig


async def ask(rig: Rig, method: str, request: Any) -> Any:
    return await getattr(rig.stub, method)(request, timeout=5)


async def fails(rig: Rig, method: str, request: Any) -> tuple[grpc.StatusCode, str, str, Any]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(rig, method, request)
    error = caught.value
    trailers = dict(error.trailing_metadata() or ())
    packed = trailers.get("tupelo-fields-bin", b"")
    fields = msgspec.msgpack.decode(packed) if packed else None  # type: ignore[arg-type]
    return error.code(), error.details() or "", str(trailers.get("tupelo-code")), fields


async def test_put_get_and_delete_in_json(rig: Rig) -> None:
    put = pb.PutRequest(space="default", key_json='"k"', value_json='{"a": 1}', ttl_ms=60_000)
    written = await ask(rig, "Put", put)
    assert (written.applied, written.copies, written.version) == (True, 2, 1)
    assert written.token.sequence == written.version
    assert rig.grid.ttls_ms["default", pack("k")] == 60_000
    got = await ask(rig, "Get", pb.GetRequest(space="default", key_json='"k"'))
    assert (got.found, got.value_json, got.version) == (True, '{"a":1}', 1)
    packed = await ask(rig, "Get", pb.GetRequest(space="default", key=pack("k"), strict=True))
    assert (packed.value, packed.value_json) == (pack({"a": 1}), "")
    has = pb.GetRequest(space="default", key_json='"k"')
    assert (await ask(rig, "Contains", has)).found
    deleted = await ask(rig, "Delete", pb.DeleteRequest(space="default", key_json='"k"'))
    assert deleted.applied
    assert not (await ask(rig, "Contains", has)).found
    assert not (await ask(rig, "Get", has)).found
    again = await ask(rig, "Delete", pb.DeleteRequest(space="default", key_json='"k"'))
    assert not again.applied


async def test_conditions_that_do_not_hold_are_answers(rig: Rig) -> None:
    put = pb.PutRequest(space="default", key_json="1", value_json="1")
    assert not (await ask(rig, "Replace", put)).applied
    first = await ask(rig, "PutIfAbsent", put)
    assert first.applied
    second = await ask(rig, "PutIfAbsent", put)
    assert (second.applied, second.version) == (False, first.version)
    cas = pb.CompareAndSetRequest(put=put, expected_version=first.version)
    third = await ask(rig, "CompareAndSet", cas)
    assert third.applied
    stale = await ask(rig, "CompareAndSet", cas)
    assert (stale.applied, stale.version) == (False, third.version)
    delete = pb.DeleteRequest(space="default", key_json="1", expected_version=first.version)
    assert not (await ask(rig, "Delete", delete)).applied
    delete.expected_version = third.version
    assert (await ask(rig, "Delete", delete)).applied


async def test_a_callers_token_makes_a_call_safe_to_repeat(rig: Rig) -> None:
    put = pb.PutRequest(space="default", key_json="1", value_json="1", session=1 << 41, op_number=1)
    first = await ask(rig, "Put", put)
    assert await ask(rig, "Put", put) == first
    assert rig.grid.most_applications() == 1
    put.op_number = 0
    assert (await fails(rig, "Put", put))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_expired_session_of_the_server_is_renewed(rig: Rig) -> None:
    rig.grid.sessions_above = (1 << 63) - 5
    put = pb.PutRequest(space="default", key_json="1", value_json="1")
    assert (await ask(rig, "Put", put)).applied
    put.session, put.op_number = 7, 1
    code, _, name, fields = await fails(rig, "Put", put)
    assert (code, name) == (grpc.StatusCode.ABORTED, "SESSION_EXPIRED")
    assert fields == {"session_above": (1 << 63) - 5}


async def test_typed_entries(rig: Rig) -> None:
    put = pb.PutRequest(space="seats", value_json='{"event": "e1", "number": 7}')
    assert (await ask(rig, "Put", put)).applied
    got = await ask(rig, "Get", pb.GetRequest(space="seats", key_json='["e1", 7]'))
    assert got.value_json == '{"event":"e1","number":7,"holder":null}'


async def test_a_key_of_the_wrong_type_can_be_removed(rig: Rig) -> None:
    wrong = pb.DeleteRequest(space="seats", key_json='["e1", "7"]')
    assert not (await ask(rig, "Delete", wrong)).applied


@pytest.mark.parametrize(
    ("method", "message", "code", "name", "says"),
    [
        ("Get", pb.GetRequest(space="nope", key_json="1"), grpc.StatusCode.NOT_FOUND,
         "UNKNOWN_SPACE", "declare it"),
        ("Count", pb.CountRequest(space="nope"), grpc.StatusCode.NOT_FOUND, "UNKNOWN_SPACE",
         "declare it"),
        ("Scan", pb.ScanRequest(space="nope"), grpc.StatusCode.NOT_FOUND, "UNKNOWN_SPACE",
         "declare it"),
        ("Scan", pb.ScanRequest(space="default", page_token="x!"),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "page_token"),
        ("Call", pb.CallRequest(command="air.nope"), grpc.StatusCode.NOT_FOUND,
         "UNKNOWN_COMMAND", "known: air.hold"),
        ("Call", pb.CallRequest(command="air.hold"), grpc.StatusCode.INVALID_ARGUMENT,
         "INVALID_ARGUMENT", "needs the argument 'event'"),
        ("Put", pb.PutRequest(space="seats", value_json='{"event": 1}'),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "does not fit space 'seats'"),
        ("Put", pb.PutRequest(space="brief", key_json="1", value_json="1", write_through=True),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "not stored (persist=False)"),
        ("Delete", pb.DeleteRequest(space="brief", key_json="1", write_through=True),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "not stored (persist=False)"),
        ("Put", pb.PutRequest(space="default", key=b"\xc1", value=b"\x01"),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "not MessagePack"),
        ("Put", pb.PutRequest(space="default", key=b"\x01", value=b"\xc1"),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "not MessagePack"),
        ("Put", pb.PutRequest(space="default", key=pack("k" * 300), value=b"\x01"),
         grpc.StatusCode.INVALID_ARGUMENT, "KEY_TOO_LARGE", "key_bytes_max"),
        ("Put", pb.PutRequest(space="default", key=b"\x01", value=pack("v" * 6000)),
         grpc.StatusCode.INVALID_ARGUMENT, "VALUE_TOO_LARGE", "value_bytes_max"),
        ("Put", pb.PutRequest(space="default", key=b"\x01", value=b"\x01", ttl_ms=2**63),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "ttl_ms_max"),
        ("CompareAndSet", pb.CompareAndSetRequest(put=pb.PutRequest(space="default")),
         grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "expected_version"),
    ],
)  # fmt: skip
async def test_bad_input_is_a_status_that_says_what_to_do(
    rig: Rig, method: str, message: Any, code: grpc.StatusCode, name: str, says: str
) -> None:
    status, details, found, _ = await fails(rig, method, message)
    assert (status, found) == (code, name)
    assert says in details
    put = pb.PutRequest(space="default", key_json="0", value_json="0")
    assert (await ask(rig, "Put", put)).applied, "the router goes on"


async def test_calls_and_what_they_raise(rig: Rig) -> None:
    rig.grid.commands["air.hold"] = lambda arguments: {"held": arguments["seat"]}
    call = pb.CallRequest(command="air.hold", arguments_json='{"event": "e1", "seat": 7}')
    answer = await ask(rig, "Call", call)
    assert answer.result_json == '{"held":7}'
    assert answer.token.sequence == 1
    rig.grid.commands["air.map"] = lambda arguments: [1, 2]
    packed = pb.CallRequest(command="air.map", arguments=pack({"event": "e1"}))
    answer = await ask(rig, "Call", packed)
    assert (answer.result, answer.result_json) == (pack([1, 2]), "")
    rig.grid.commands["air.hold"] = lambda arguments: ("SeatTaken", "seat 7 is taken", {"seat": 7})
    code, details, name, fields = await fails(rig, "Call", call)
    assert (code, name) == (grpc.StatusCode.FAILED_PRECONDITION, "APPLICATION_ERROR")
    assert "seat 7 is taken" in details
    assert fields == {"code": "SeatTaken", "fields": {"seat": 7}}


async def test_codes_of_units_reach_the_caller(rig: Rig) -> None:
    for unit in rig.grid.units:
        unit.fault = lambda request: int(ResultCode.NOT_ENOUGH_REPLICAS)
    put = pb.PutRequest(space="default", key_json="1", value_json="1")
    code, details, name, _ = await fails(rig, "Put", put)
    assert (code, name) == (grpc.StatusCode.UNAVAILABLE, "NOT_ENOUGH_REPLICAS")
    assert details


async def scan_all(rig: Rig, limit: int) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    token = ""
    while True:
        request = pb.ScanRequest(space="default", limit=limit, page_token=token)
        page = await ask(rig, "Scan", request)
        assert len(page.keys) <= (limit or 100)
        assert len(page.keys) == len(page.values) == len(page.versions)
        found.extend(zip(page.keys, page.values, strict=True))
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("entries", [0, 1, 16, 333])
@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
async def test_count_and_scan_see_every_entry_once(rig: Rig, entries: int, limit: int) -> None:
    keys = [f"s{number}" for number in range(entries)]
    if limit == 1 and entries > 16:
        keys = keys[:16]
    for key in keys:
        partition = rig.batch(b"\x01", [key]).partitions[0]
        part = rig.grid.parts[partition]
        part.entries["default", encode_key(key)] = (pack(key), 1)
    assert (await ask(rig, "Count", pb.CountRequest(space="default"))).count == len(keys)
    found = await scan_all(rig, limit)
    assert sorted(found) == sorted((encode_key(key), pack(key)) for key in keys)


async def test_a_sparse_scan_takes_few_round_trips(rig: Rig) -> None:
    put = pb.PutRequest(space="default", key_json="1", value_json="1")
    await ask(rig, "Put", put)
    before = sum(unit.frames for unit in rig.grid.units)
    assert len(await scan_all(rig, 100)) == 1
    assert sum(unit.frames for unit in rig.grid.units) - before <= 5 * 3
