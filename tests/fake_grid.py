"""A grid in one process for tests of the SDK: dictionaries behind real gRPC, with faults to order.

It keeps the promises of the wire contract that a client relies on (dedupe by token, the session's
window, wrong owners told the newer table) and none of those between replicas.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import msgspec
from tupelo import kinds
from tupelo.codec import encode_key, partition_of
from tupelo.errors import ResultCode
from tupelo.v1 import admin_pb2, admin_pb2_grpc, data_pb2, data_pb2_grpc

from tests.fake_partition import OK, Outcome, Partition
from tests.fake_status import FakeStatus

COPIES = 2


class FakeUnit(data_pb2_grpc.SpaceServicer, admin_pb2_grpc.AdminServicer):
    """One server of the fake grid. Faults are attributes, set by tests.

    Attributes:
        fault: called with every request; an int is a code for all its operations; a string is one
            of "drop" (apply, then break the stream), "lose" (break it without applying), "garble"
            (apply, then answer nonsense), "hang" (apply, never answer); None is no fault.
    """

    def __init__(self, grid: FakeGrid, name: str) -> None:
        self.grid = grid
        self.name = name
        self.address = ""
        self.frames = 0
        self.streams = 0
        self.operations = 0
        self.frame_sizes: list[int] = []
        self.batches: list[data_pb2.OpBatch] = []
        self.fault: Callable[[data_pb2.SessionRequest], int | str | None] | None = None
        self.arrivals = asyncio.Condition()
        self.gate = asyncio.Event()
        self.gate.set()
        self.up = False
        self.server: grpc.aio.Server | None = None

    async def start(self) -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        data_pb2_grpc.add_SpaceServicer_to_server(self, server)
        admin_pb2_grpc.add_AdminServicer_to_server(self, server)
        admin_pb2_grpc.add_UnitServicer_to_server(FakeStatus(self), server)
        port = server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await server.start()
        self.server = server
        self.up = True

    async def arrived(self, frames: int) -> None:
        """Waits until so many requests have come, in all."""
        async with self.arrivals:
            await self.arrivals.wait_for(lambda: self.frames >= frames)

    def owned(self) -> list[int]:
        return [number for number, owner in enumerate(self.grid.owners) if owner is self]

    async def opened(self) -> None:
        await self.gate.wait()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(0)
            self.server = None
        self.up = False

    # The services.

    async def Session(self, requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.streams += 1
        while True:
            request = await context.read()
            if request is grpc.aio.EOF:
                return
            response = await self._answer(request)
            if response is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "injected")
            await context.write(response)

    async def Execute(
        self, request: data_pb2.SessionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> data_pb2.SessionResponse:
        response = await self._answer(request)
        if response is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "injected")
        return response

    async def Route(
        self, request: data_pb2.RouteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> data_pb2.RouteResponse:
        async with self.grid.route_asked:
            self.grid.route_requests += 1
            self.grid.route_asked.notify_all()
        await self.grid.route_gate.wait()
        return self.grid.route()

    async def Status(
        self, request: admin_pb2.StatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> admin_pb2.StatusResponse:
        return admin_pb2.StatusResponse(grid_id=self.grid.grid_id.hex(), version="fake")

    async def CreateSpace(
        self, request: admin_pb2.CreateSpaceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> admin_pb2.CreateSpaceResponse:
        created = request.name not in self.grid.spaces
        self.grid.spaces[request.name] = request.schema
        return admin_pb2.CreateSpaceResponse(created=created)

    async def _answer(self, request: data_pb2.SessionRequest) -> data_pb2.SessionResponse | None:
        async with self.arrivals:
            self.frames += 1
            self.arrivals.notify_all()
        await self.gate.wait()
        fault = self.fault(request) if self.fault else None
        if fault == "lose":
            return None
        results = []
        stale = False
        for batch in request.batches:
            if self.grid.record:
                self.batches.append(batch)
            size = len(batch.kinds) + sum(batch.bulk.counts)
            self.operations += size
            self.frame_sizes.append(size)
            result, old = self._batch(batch, fault if isinstance(fault, int) else 0)
            results.append(result)
            stale = stale or old
        if fault == "drop":
            return None
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "garble":
            return data_pb2.SessionResponse(
                request_id=request.request_id, results=[data_pb2.BatchResult(codes=b"\0" * 9999)]
            )
        response = data_pb2.SessionResponse(request_id=request.request_id, results=results)
        if stale:
            response.route.CopyFrom(self.grid.route())
        return response

    def _batch(self, batch: data_pb2.OpBatch, code: int) -> tuple[data_pb2.BatchResult, bool]:
        grid = self.grid
        if batch.grid_id and batch.grid_id != grid.grid_id:
            detail = data_pb2.ErrorDetail(code=25, message="another grid")
            return data_pb2.BatchResult(refused=detail), True
        codes = bytearray()
        columns: tuple[list[int], list[bytes], list[int]] = ([], [], [])
        copies = bytearray()
        errors: list[tuple[int, data_pb2.ErrorDetail]] = []
        for index in range(len(batch.kinds)):
            outcome = (code, 0, b"") if code else self._operation(batch, index)
            codes.append(outcome[0])
            columns[0].append(outcome[1])
            columns[1].append(outcome[2])
            columns[2].append(grid.epoch)
            copies.append(COPIES)
            if outcome[0] >= 16:
                errors.append((index, grid.detail(outcome[0])))
        result = data_pb2.BatchResult(
            codes=bytes(codes),
            versions=columns[0],
            values=columns[1] if any(columns[1]) else (),
            epochs=columns[2],
            copies=bytes(copies),
        )
        if batch.HasField("bulk"):
            self._bulk(batch, result, code, errors)
        result.error_ops.extend(index for index, _ in errors)
        result.errors.extend(detail for _, detail in errors)
        return result, batch.table_version < grid.version

    def _bulk(
        self,
        batch: data_pb2.OpBatch,
        result: data_pb2.BatchResult,
        code: int,
        errors: list[tuple[int, data_pb2.ErrorDetail]],
    ) -> None:
        bulk = batch.bulk
        place = 0
        codes = bytearray()
        for index, partition in enumerate(bulk.partitions):
            keys = bulk.keys[place : place + bulk.counts[index]]
            values = bulk.values[place : place + bulk.counts[index]]
            place += bulk.counts[index]
            number = bulk.op_numbers[index] if bulk.op_numbers else 0
            group = code or self._refuses(batch, partition, number)
            version = 0
            part = self.grid.parts[partition]
            if not group and bulk.kind == kinds.GET:
                for key in keys:
                    value, version = part.entries.get((bulk.space, key), (b"", 0))
                    result.bulk.versions.append(version)
                    result.bulk.values.append(value)
            elif bulk.kind == kinds.GET:
                result.bulk.versions.extend([0] * len(keys))
                result.bulk.values.extend([b""] * len(keys))
            elif not group:
                token = (batch.session, number)
                version = part.write_group(bulk.kind, bulk.space, token, keys, values)
            if bulk.kind != kinds.GET:
                result.bulk.versions.append(version)
            codes.append(group)
            result.bulk.epochs.append(self.grid.epoch)
            if group >= 16:
                errors.append((len(batch.kinds) + index, self.grid.detail(group)))
        result.bulk.codes = bytes(codes)
        result.bulk.copies = bytes([COPIES]) * len(codes)

    def _refuses(self, batch: data_pb2.OpBatch, partition: int, number: int) -> int:
        """A code where the operation is not carried out here, else 0."""
        grid = self.grid
        if partition >= grid.partitions:
            return int(ResultCode.PARTITION_OUT_OF_RANGE)
        if not grid.anyone_answers and grid.owners[partition] is not self:
            return int(ResultCode.WRONG_OWNER)
        if number and batch.session <= grid.sessions_above:
            return int(ResultCode.SESSION_EXPIRED)
        if number:
            part = grid.parts[partition]
            floor = max(part.floors.get(batch.session, 0), batch.acked_below)
            part.floors[batch.session] = floor
            if number < floor or number >= batch.acked_below + grid.session_window:
                return int(ResultCode.STALE_TOKEN)
        return 0

    def _operation(self, batch: data_pb2.OpBatch, index: int) -> Outcome:
        partition = batch.partitions[index]
        number = batch.op_numbers[index] if batch.op_numbers else 0
        refused = self._refuses(batch, partition, number)
        target = batch.targets[batch.target_index[index] if batch.target_index else 0]
        kind = batch.kinds[index]
        if not refused and kind not in (kinds.CALL, kinds.CALL_READ_ONLY):
            refused = 0 if target in self.grid.spaces else int(ResultCode.UNKNOWN_SPACE)
        if refused:
            return refused, 0, b""
        part = self.grid.parts[partition]
        token = (batch.session, number)
        if number and token in part.applied:
            return part.applied[token]
        value = batch.values[index] if batch.values else b""
        expected = batch.expected_versions[index] if batch.expected_versions else 0
        key = batch.keys[index]
        if kind in (kinds.CALL, kinds.CALL_READ_ONLY):
            outcome = self.grid.run(target, msgspec.msgpack.decode(value))
        elif kind in kinds.WRITES:
            outcome = part.write(kind, target, key, value, expected)
        else:
            outcome = part.read(kind, target, key, value)
        if number:
            part.applied[token] = outcome
            part.applications[token] += 1
            ttl = batch.ttls_ms[index] if batch.ttls_ms else 0
            self.grid.ttls_ms[target, batch.keys[index]] = ttl
        return outcome


class FakeGrid:
    """Units, their partitions and the table. Use as an async context manager."""

    def __init__(self, units: int = 3, partitions: int = 16) -> None:
        self.grid_id = bytes(range(16))
        self.partitions = partitions
        self.version = 1
        self.epoch = 1
        self.units = [FakeUnit(self, f"unit-{number + 1}") for number in range(units)]
        self.parts = [Partition() for _ in range(partitions)]
        self.owners: list[FakeUnit | None] = [
            self.units[number % units] for number in range(partitions)
        ]
        self.spaces: dict[str, bytes] = {"default": b'{"name": "default"}'}
        self.commands: dict[str, Callable[[Any], Any]] = {}
        self.ttls_ms: dict[tuple[str, bytes], int] = defaultdict(int)
        self.sessions_above = 0
        self.time_ms = 0
        self.session_window = 65_536
        self.anyone_answers = False
        self.record = True
        self.route_requests = 0
        self.route_asked = asyncio.Condition()
        self.route_gate = asyncio.Event()
        self.route_gate.set()

    async def __aenter__(self) -> FakeGrid:
        for unit in self.units:
            await unit.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for unit in self.units:
            unit.gate.set()
            await unit.stop()

    @property
    def seed(self) -> str:
        return self.units[0].address

    def owner_of(self, key: Any) -> FakeUnit:
        """The owner of a key of an untyped space."""
        owner = self.owners[partition_of(encode_key(key), self.partitions)]
        assert owner is not None
        return owner

    def owners_of(self, unit: FakeUnit) -> int:
        return sum(1 for owner in self.owners if owner is unit)

    async def asked_for_routes(self, times: int) -> None:
        """Waits until the table has been asked for so many times, in all."""
        async with self.route_asked:
            await self.route_asked.wait_for(lambda: self.route_requests >= times)

    def move(self, partition: int, unit: FakeUnit | None) -> None:
        self.owners[partition] = unit
        self.version += 1
        self.epoch += 1

    def fail_over(self, dead: FakeUnit) -> None:
        others = [unit for unit in self.units if unit is not dead and unit.up]
        for partition, owner in enumerate(self.owners):
            if owner is dead:
                self.move(partition, others[partition % len(others)])

    def route(self) -> data_pb2.RouteResponse:
        return data_pb2.RouteResponse(
            grid_id=self.grid_id,
            table_version=self.version,
            partitions=self.partitions,
            incarnations=[f"{unit.name}#1" for unit in self.units],
            addresses=[unit.address for unit in self.units],
            primaries=[self.units.index(unit) + 1 if unit else 0 for unit in self.owners],
            epochs=[self.epoch] * self.partitions,
            time_ms=self.time_ms,
            spaces=[
                data_pb2.SpaceInfo(name=name, schema=schema) for name, schema in self.spaces.items()
            ],
        )

    def detail(self, code: int) -> data_pb2.ErrorDetail:
        fields = b""
        if code == ResultCode.SESSION_EXPIRED:
            fields = msgspec.msgpack.encode({"session_above": self.sessions_above})
        return data_pb2.ErrorDetail(code=code, message=f"injected {code}", fields=fields)

    def run(self, command: str, arguments: Any) -> Outcome:
        if command not in self.commands:
            return int(ResultCode.UNKNOWN_COMMAND), 0, b""
        result = self.commands[command](arguments)
        if isinstance(result, tuple):  # an application error: code, message, fields
            return int(ResultCode.APPLICATION_ERROR), 0, msgspec.msgpack.encode(result)
        return OK, 1, msgspec.msgpack.encode(result)

    def entries(self, space: str = "default") -> dict[bytes, bytes]:
        return {
            key: value
            for part in self.parts
            for (name, key), (value, _) in part.entries.items()
            if name == space
        }

    def most_applications(self) -> int:
        """How often the most often applied token was applied."""
        return max((n for part in self.parts for n in part.applications.values()), default=0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def grids(**settings: Any) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(**settings) as grid:
        yield grid
