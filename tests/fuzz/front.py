"""Targets before clients: batches and rows into a unit, answers into the SDK, files."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from tupelo import kinds
from tupelo.batch import GarbledAnswer, columns_of, outcomes, pack_new
from tupelo.calls import Prepared, command_info, result_of
from tupelo.codec import SpaceCodec, decode_key, encode_key, encode_value
from tupelo.errors import InvalidArgument, TupeloError
from tupelo.pieces import Ask, Asking, Bulk, Group, decode_count, decode_page
from tupelo.routing import merged, table_of
from tupelo.schema import decode_schema
from tupelo.session import Sessions
from tupelo.v1 import admin_pb2
from tupelo.v1 import data_pb2 as pb
from tupelo_grid.cli.output import CliError
from tupelo_grid.cli.settings import load_config
from tupelo_grid.config import GridConfig
from tupelo_grid.deployment.admin import GridAdmin
from tupelo_grid.units.loader import UnitLoadError, read_manifest

from tests.fuzz.context import AnyContext
from tests.fuzz.generate import (
    WORDS,
    integer,
    json_text,
    key,
    message,
    mutated,
    packed,
    pick,
    value,
    wire,
)
from tests.fuzz.harness import Broken
from tests.fuzz.unit import OneUnit
from tests.fuzz.wire import Stateless, stored_value
from tests.memory_store import MemoryStateStore

WINDOW: Final = 1000
"""Numbers a session of the SDK gives out before the first is answered."""

_pack: Final = msgspec.msgpack.encode

BATCH_HINTS: Final = {
    "kinds": pick(range(1, 14)),
    "OpBatch.grid_id": pick((b"", b"", bytes(16))),
    "partitions": pick((0, 0, 1, 2, 3, 4, 2**32 - 1)),
    "targets": pick(("default", "default", "counters", "chaos.add", "chaos.transfer", "nowhere")),
    "target_index": pick((0, 0, 0, 1)),
    "keys": key,
    "values": packed,
    "session": pick((1, 2, 3, 1 << 40)),
    "acked_below": pick((0, 1, 2, 2**64 - 1)),
    "op_numbers": lambda rng: integer(rng, rng.choice((4, 16, 64))),
    "counts": pick((1, 1, 2)),
    "BulkBatch.space": pick(("default", "nowhere")),
    "ttls_ms": pick((0, 0, 1, 1000, 2**64 - 1)),
}
_json = json_text
ROW_HINTS: Final = {
    "space": pick(("default", "counters", "accounts", "nowhere", "")),
    "command": pick(("chaos.add", "chaos.transfer", "chaos.balances", "chaos.nothing", "")),
    "key": lambda rng: b"" if rng.random() < 0.5 else key(rng),
    "key_json": lambda rng: "" if rng.random() < 0.5 else _json(rng),
    "value": lambda rng: b"" if rng.random() < 0.5 else packed(rng),
    "value_json": lambda rng: "" if rng.random() < 0.5 else _json(rng),
    "arguments": lambda rng: b"" if rng.random() < 0.5 else packed(rng),
    "arguments_json": lambda rng: rng.choice(
        ("", '{"name": "a", "amount": 1}', '{"bank": "b", "source": 0}', _json(rng))
    ),
    "session": pick((0, 0, 7)),
    "op_number": pick((0, 0, 1, 2, 2**64 - 1)),
    "limit": pick((0, 1, 5, 2**32 - 1)),
    "page_token": pick(("", "", "AAAA", "kgDEAA==", "kgTEAA==", "%", "é")),
}


class Batches:
    """Session frames into the shell of a unit that is primary of all and needs no backup."""

    name = "session_frames"
    fresh_every = 3000

    def __init__(self) -> None:
        self._unit = OneUnit()

    async def one(self, rng: random.Random) -> bool:
        data = wire(rng, message(rng, pb.SessionRequest, BATCH_HINTS))
        try:
            request = pb.SessionRequest.FromString(data)
        except DecodeError:
            return False
        answer = self._unit.shell.execute(request)
        if isinstance(answer, asyncio.Future):
            async with asyncio.timeout(5.0):
                answer = await answer
        answer.SerializeToString()
        if answer.request_id != request.request_id:
            raise Broken("the answer is of another request")
        for batch, result in zip(request.batches, answer.results, strict=True):
            check_result(batch, result)
        return any(not result.HasField("refused") for result in answer.results)

    def close(self) -> None:
        self._unit.close()


def check_result(batch: pb.OpBatch, result: pb.BatchResult) -> None:
    """Every operation and group is answered, or the batch is refused in words."""
    if result.HasField("refused"):
        if not result.refused.message:
            raise Broken("refused without a word")
        return
    if len(result.codes) != len(batch.kinds):
        raise Broken(f"{len(result.codes)} codes for {len(batch.kinds)} operations")
    if len(result.bulk.codes) != len(batch.bulk.partitions):
        raise Broken(f"{len(result.bulk.codes)} codes for {len(batch.bulk.partitions)} groups")
    if len(result.error_ops) != len(result.errors):
        raise Broken("error_ops and errors differ")


class Rows:
    """The unary forms, as grpcurl and other languages send them."""

    name = "row_rpcs"
    fresh_every = 3000

    METHODS: Final = (
        ("Get", pb.GetRequest),
        ("Contains", pb.GetRequest),
        ("Put", pb.PutRequest),
        ("PutIfAbsent", pb.PutRequest),
        ("Replace", pb.PutRequest),
        ("CompareAndSet", pb.CompareAndSetRequest),
        ("Delete", pb.DeleteRequest),
        ("Call", pb.CallRequest),
        ("Count", pb.CountRequest),
        ("Scan", pb.ScanRequest),
        ("Route", pb.RouteRequest),
        ("Execute", pb.SessionRequest),
    )

    def __init__(self) -> None:
        self._unit = OneUnit()

    async def one(self, rng: random.Random) -> bool:
        name, kind = rng.choice(self.METHODS)
        hints = BATCH_HINTS if name == "Execute" else ROW_HINTS
        request = message(rng, kind, hints)
        context: Any = AnyContext()
        method = getattr(self._unit.servicer, name)
        async with asyncio.timeout(5.0):
            return await context.answer(method(request, context)) is not None

    def close(self) -> None:
        self._unit.close()


class SdkAnswers(Stateless):
    """Answers of a unit, to what the SDK has asked."""

    name = "sdk_answers"

    def __init__(self) -> None:
        table = table_of(a_route())
        assert table is not None
        self._table = table
        self._sessions = Sessions(itertools.count(1).__next__, WINDOW)

    HINTS: Final = {
        "codes": pick((0, 0, 1, 3, 4, 16, 20, 64, 200)),
        "copies": pick((0, 1, 2)),
        "versions": pick((0, 1, 5)),
        "values": lambda rng: rng.choice((b"", _pack([[b"k", b"v", 1]]), _pack(3), packed(rng))),
        "error_ops": pick((0, 1, 9)),
        "fields": lambda rng: rng.choice((b"", _pack({"session_above": 3}), packed(rng))),
    }

    async def one(self, rng: random.Random) -> bool:
        result = message(rng, pb.BatchResult, self.HINTS)
        if rng.random() < 0.7:
            result.ClearField("refused")
        try:
            self._read(rng, result)
        except (GarbledAnswer, TupeloError):
            return False
        return True

    def _read(self, rng: random.Random, result: pb.BatchResult) -> None:
        # No frame of the SDK has more operations than its window has numbers.
        count = min(len(result.codes), WINDOW) if rng.random() < 0.8 else rng.randrange(4)
        way = rng.randrange(4)
        if way == 0 and count:
            rows: list[Any] = [
                (object(), kinds.PUT, 0, "default", b"k", b"v", 0, 0, 1e9, False, None)
                for _ in range(count)
            ]
            packed_rows = pack_new(rows, columns_of(rows), self._sessions, self._table, 0.0)
            found = list(outcomes(packed_rows, result))
            if len(found) != count:
                raise Broken(f"{len(found)} outcomes for {count} calls")
        elif way == 1:
            groups = [Group(0, {b"k": b"v", b"l": b"w"}, 4) for _ in range(count)]
            Bulk(rng.choice((kinds.GET, kinds.PUT)), "default").read(groups, result)
        elif way == 2:
            decode = rng.choice((decode_page, decode_count))
            Asking(kinds.SCAN, "default", decode).read([Ask(0) for _ in range(count)], result)
        else:
            call = Prepared("chaos.add", b"", False, b"")
            payload = result.values[0] if result.values else b""
            result_of(call, (rng.choice((0, 4)), 1, payload, 1, 1))


def a_route() -> pb.RouteResponse:
    return pb.RouteResponse(
        grid_id=bytes(16),
        table_version=5,
        partitions=2,
        incarnations=["a#1"],
        addresses=["h:1"],
        primaries=[1, 0],
        epochs=[1, 1],
    )


class SdkRoutes(Stateless):
    """Partition tables, with the schemas and commands that come with them."""

    name = "sdk_routes"

    HINTS: Final = {
        "grid_id": pick((bytes(16), b"")),
        "table_version": pick((0, 5, 6, 7)),
        "partitions": pick((0, 1, 2, 2, 3, 5)),
        "primaries": pick((0, 0, 1, 1, 2, 2**32 - 1)),
        "name": pick(("default", "seats", "command:chaos.add", "")),
        "schema": stored_value,
    }

    async def one(self, rng: random.Random) -> bool:
        response = message(rng, pb.RouteResponse, self.HINTS)
        if rng.random() < 0.8:
            response.partitions = len(response.primaries)
        data = wire(rng, response)
        known = table_of(a_route())
        try:
            table = table_of(pb.RouteResponse.FromString(data))
        except DecodeError:
            return False
        if table is None:
            return False
        newest = merged(known, table, replace=rng.random() < 0.5)
        for partition in range(newest.partitions):
            newest.address_of(partition)
        try:
            command_info(newest, "chaos.add")
        except InvalidArgument:
            return False
        for schema in newest.spaces.values():
            self._use(rng, schema)
        return newest is not known

    def _use(self, rng: random.Random, data: bytes) -> None:
        try:
            schema = decode_schema(data)
        except msgspec.DecodeError:
            return
        try:
            codec = SpaceCodec(schema)
            codec.encode_value(codec.decode_value(packed(rng)))
            codec.locate(value(rng), 16)
        except InvalidArgument:
            return


class Keys(Stateless):
    """Whatever a program may give as a key or value: bytes that read back, or a clear refusal."""

    name = "keys_and_values"

    async def one(self, rng: random.Random) -> bool:
        given: Any = value(rng)
        if rng.random() < 0.2:
            given = rng.choice(
                (object(), {1}, 1 << 70, "\ud800", bytearray(b"a"), ((1,),), [given], float("nan"))
            )
        try:
            data = encode_key(given)
        except InvalidArgument:
            data = b""
        if data and encode_key(decode_key(data)) != data:
            raise Broken(f"{given!r} is not the key that its bytes are")
        try:
            encode_value(given)
        except InvalidArgument:
            return False
        return bool(data)


class Files:
    """unit.toml and the settings file."""

    name = "toml_files"
    fresh_every = 0

    UNIT: Final = b'name = "chaos"\npackage = "chaos_unit"\nmodule = "chaos_unit.unit"\n'
    SETTINGS: Final = (
        b'units = 3\nport = 7400\nlease_s = 3.0\nspaces = ["a"]\n[via]\n"a>b" = "h:1"\n'
    )

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tupelo-fuzz-"))

    async def one(self, rng: random.Random) -> bool:
        unit = rng.random() < 0.5
        text = self.UNIT if unit else self.SETTINGS
        chance = rng.random()
        if chance < 0.8:
            text = mutated(rng, text)
        elif chance < 0.9:
            text = b"%s = %s\n" % (rng.choice((b"name", b"port")), _json(rng).encode())
        file = self._folder / ("unit.toml" if unit else "grid.toml")
        file.write_bytes(text)
        try:
            if unit:
                read_manifest(self._folder)
            else:
                load_config({}, str(file), {})
        except (UnitLoadError, CliError) as error:
            if not str(error):
                raise Broken("refused without a word") from error
            return False
        return True

    def close(self) -> None:
        shutil.rmtree(self._folder)


class Admin:
    """CreateSpace, with any schema."""

    name = "admin"
    fresh_every = 2000

    def __init__(self) -> None:
        config = GridConfig()
        self._store = MemoryStateStore(config)
        self._admin = GridAdmin(config, self._store, pump_stats=admin_pb2.PumpStatus)

    async def one(self, rng: random.Random) -> bool:
        hints = {"name": pick(("seats", "", "x" * 129, *WORDS)), "schema": stored_value}
        context: Any = AnyContext()
        request = message(rng, admin_pb2.CreateSpaceRequest, hints)
        return await context.answer(self._admin.CreateSpace(request, context)) is not None

    def close(self) -> None:
        """Its channel was never used; it goes with its last reference."""


FRONT: Final = (Batches, Rows, SdkAnswers, SdkRoutes, Keys, Files, Admin)
