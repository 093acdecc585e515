"""The row RPCs: one entry a call, for grpcurl and languages without an SDK.

Each becomes a columnar batch of one operation (Count and Scan: of some partitions) and is carried
out by whatever the server carries batches out with: a unit by itself, a router on the owners.

A call without a session is numbered in a session of this server: it has at most one effect however
often the server tries, but a caller who repeats it makes a new call. A caller who gives `session`
(a number of its own choice, as `tupelo.session.session_id` makes it) and an `op_number` that counts
from 1 may repeat the same call safely.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import grpc.aio
import msgspec
from tupelo import kinds
from tupelo._async.runtime import new_session_id, wall_ms
from tupelo.batch import timeout_ms
from tupelo.errors import InvalidArgument, ResultCode
from tupelo.session import Session, Sessions
from tupelo.v1 import data_pb2 as pb
from tupelo.v1.data_pb2_grpc import SpaceServicer
from tupelo.writes import check_stored

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.transport.deadlines import row_timeout_s
from tupelo_grid.transport.rows_codec import Place, RowCodec, value_json
from tupelo_grid.transport.rows_scan import ScanPage, read_page_token
from tupelo_grid.transport.rows_scatter import ExecuteBatch, Scatter
from tupelo_grid.transport.rows_through import WaitPersisted, is_declared, until_stored, was_written
from tupelo_grid.transport.session import Execute
from tupelo_grid.transport.status import Refused, answers_errors, detail, refused
from tupelo_grid.transport.validate import oversized

Context = grpc.aio.ServicerContext[Any, Any]

SCAN_LIMIT_DEFAULT: Final = 100
_SESSION_ATTEMPTS_MAX: Final = 3


def one_by_one(execute: Execute) -> ExecuteBatch:
    """A server's way to execute frames, for batches."""

    async def execute_batch(batch: pb.OpBatch, context: Context) -> pb.BatchResult:
        answer = execute(pb.SessionRequest(batches=[batch]))
        response = answer if isinstance(answer, pb.SessionResponse) else await answer
        return response.results[0]

    return execute_batch


class Done(NamedTuple):
    """One operation that was carried out."""

    code: int
    version: int
    value: bytes
    token: pb.WriteToken
    copies: int


class RowServicer(SpaceServicer):
    """The row RPCs of the Space service; mix it into a servicer that has the others.

    Args:
        config: limits.
        execute: carries out a batch of an RPC. It may be given anything; it answers, and raises
            TupeloError at most.
        state: the newest state of the grid, e.g. `lambda: keeper.state`.
        wait_persisted: answers WaitPersisted; raises TupeloError at most.
    """

    def __init__(
        self,
        config: GridConfig,
        execute: ExecuteBatch,
        state: Callable[[], GridState],
        wait_persisted: WaitPersisted,
    ) -> None:
        self._row_config = config
        self._row_execute = execute
        self._row_state = state
        self._row_wait = wait_persisted
        self._row_codec = RowCodec(state())
        self._row_sessions = Sessions(lambda: new_session_id(wall_ms()), config.session_window // 2)
        self._row_scatter = Scatter(config, execute, state, self._explained)

    @answers_errors
    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        done = await self._read_entry(kinds.GET, request, context)
        if done.code == ResultCode.NOT_FOUND:
            return pb.GetResponse()
        response = pb.GetResponse(found=True, value=done.value, version=done.version)
        if request.key_json:
            response.value_json = value_json(done.value)
        return response

    @answers_errors
    async def Contains(self, request: pb.GetRequest, context: Context) -> pb.ContainsResponse:
        done = await self._read_entry(kinds.CONTAINS, request, context)
        return pb.ContainsResponse(found=done.code == ResultCode.OK)

    @answers_errors
    async def Put(self, request: pb.PutRequest, context: Context) -> pb.WriteResponse:
        return await self._put(kinds.PUT, request, 0, context)

    @answers_errors
    async def PutIfAbsent(self, request: pb.PutRequest, context: Context) -> pb.WriteResponse:
        return await self._put(kinds.PUT_IF_ABSENT, request, 0, context)

    @answers_errors
    async def Replace(self, request: pb.PutRequest, context: Context) -> pb.WriteResponse:
        return await self._put(kinds.REPLACE, request, 0, context)

    @answers_errors
    async def CompareAndSet(
        self, request: pb.CompareAndSetRequest, context: Context
    ) -> pb.WriteResponse:
        if not request.expected_version:
            raise InvalidArgument("expected_version is 0; use PutIfAbsent where there is no entry")
        return await self._put(
            kinds.COMPARE_AND_SET, request.put, request.expected_version, context
        )

    @answers_errors
    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.WriteResponse:
        codec = self._codec()
        space = codec.space(request.space)
        if request.write_through:
            check_stored(space)
        place = codec.place(space, request.key, request.key_json, any_type=True)
        kind = kinds.DELETE_IF_VERSION if request.expected_version else kinds.DELETE
        batch = self._batch(kind, request.space, place, b"", context)
        if request.expected_version:
            batch.expected_versions.append(request.expected_version)
        done = await self._write(batch, request.session, request.op_number, context)
        await self._through(done, request.write_through, request.space, context)
        return _written(done)

    @answers_errors
    async def Call(self, request: pb.CallRequest, context: Context) -> pb.CallResponse:
        codec = self._codec()
        info = codec.command(request.command)
        arguments, partition = codec.call(
            request.command, request.arguments, request.arguments_json
        )
        kind = kinds.CALL_READ_ONLY if info.read_only else kinds.CALL
        batch = self._batch(kind, request.command, Place(b"", partition), arguments, context)
        if info.read_only:
            done = await self._run(batch, context)
        else:
            done = await self._write(batch, request.session, request.op_number, context)
            await self._through(done, request.write_through, "", context)
        if done.code == ResultCode.APPLICATION_ERROR:
            raise _application_error(done.value)
        response = pb.CallResponse(result=done.value, token=done.token)
        if request.arguments_json:
            response.result_json = value_json(done.value)
        return response

    @answers_errors
    async def Count(self, request: pb.CountRequest, context: Context) -> pb.CountResponse:
        """All partitions, `scatter_max` at a time. Not a snapshot: each counts at its moment.

        The error names partitions that do not answer and their units, in `partitions_failed` and
        `units_failed` of its fields; `counted` partitions had `count` entries before.
        """
        codec = self._codec()
        codec.space(request.space)
        deadline = self._deadline(context)
        total = await self._row_scatter.count(request.space, codec.partitions, deadline, context)
        return pb.CountResponse(count=total)

    @answers_errors
    async def Scan(self, request: pb.ScanRequest, context: Context) -> pb.ScanResponse:
        """Partition by partition, in order of key bytes within each.

        An entry that is there all the time of a scan is seen exactly once. A page ends at `limit`
        entries (at most scan_entries_max) or about 1 MiB, whichever comes first, and before a
        partition that does not answer; a page that would begin with it is an error like Count's.
        """
        codec = self._codec()
        codec.space(request.space)
        partition, after = read_page_token(request.page_token, codec.partitions)
        limit = min(request.limit or SCAN_LIMIT_DEFAULT, self._row_config.scan_entries_max)
        page = ScanPage(limit, partition, after)
        deadline = self._deadline(context)
        return await self._row_scatter.scan(
            request.space, codec.partitions, page, deadline, context
        )

    def _codec(self) -> RowCodec:
        state = self._row_state()
        if state is not self._row_codec.state:
            self._row_codec = RowCodec(state)
        return self._row_codec

    async def _read_entry(self, kind: int, request: pb.GetRequest, context: Context) -> Done:
        codec = self._codec()
        place = codec.place(codec.space(request.space), request.key, request.key_json)
        batch = self._batch(kind, request.space, place, b"", context)
        batch.strict = request.strict
        return await self._run(batch, context)

    async def _put(
        self, kind: int, request: pb.PutRequest, expected: int, context: Context
    ) -> pb.WriteResponse:
        codec = self._codec()
        space = codec.space(request.space)
        if request.write_through:
            check_stored(space)
        place, value = codec.entry(
            space,
            request.key,
            request.key_json,
            request.value,
            request.value_json,
        )
        batch = self._batch(kind, request.space, place, value, context)
        if request.ttl_ms:
            batch.ttls_ms.append(request.ttl_ms)
        if expected:
            batch.expected_versions.append(expected)
        done = await self._write(batch, request.session, request.op_number, context)
        await self._through(done, request.write_through, request.space, context)
        return _written(done)

    @answers_errors
    async def WaitPersisted(
        self, request: pb.WaitPersistedRequest, context: Context
    ) -> pb.WaitPersistedResponse:
        return await self._row_wait(request)

    async def _through(self, done: Done, asked: bool, space: str, context: Context) -> None:
        """Waits for the store where the call asks for it, or a space does. `space`: the one that
        was written; "": whatever a command wrote."""
        declared = is_declared(self._row_state().spaces, space)
        if was_written(done.code, done.token) and (asked or declared):
            await until_stored(self._row_wait, done.token, self._deadline(context), not asked)

    def _deadline(self, context: Context) -> float:
        return time.monotonic() + row_timeout_s(context, self._row_config)

    def _batch(
        self, kind: int, target: str, place: Place, value: bytes, context: Context
    ) -> pb.OpBatch:
        batch = pb.OpBatch(
            timeout_ms=timeout_ms(self._deadline(context) - time.monotonic()),
            targets=[target],
            kinds=bytes([kind]),
            partitions=[place.partition],
            keys=[place.key],
            values=[value] if value else (),
        )
        faults = oversized(batch, self._row_config)
        if faults:
            raise Refused(faults[0])
        return batch

    async def _write(
        self, batch: pb.OpBatch, session: int, op_number: int, context: Context
    ) -> Done:
        """Under the caller's token, or one of this server's own session."""
        if bool(session) != bool(op_number):
            raise InvalidArgument("give both session and op_number (from 1), or neither")
        if session:
            batch.session = session
            batch.op_numbers.append(op_number)
            # A caller of single rows says nothing of its floor; half a window behind is safe,
            # since what falls below it is refused and never run again.
            batch.acked_below = max(1, op_number - self._row_config.session_window // 2)
            return await self._run(batch, context)
        for _ in range(_SESSION_ATTEMPTS_MAX - 1):
            own, number = self._own_token(batch)
            try:
                return await self._run(batch, context)
            except Refused as error:
                if int(error.detail.code) != ResultCode.SESSION_EXPIRED:
                    raise
                # Certainly not carried out, so it may be repeated as a new operation.
                fields = msgspec.msgpack.decode(error.detail.fields) if error.detail.fields else {}
                self._row_sessions.renew(max(own.id, int(fields.get("session_above", 0))))
            finally:
                own.answered(number, number + 1)
        own, number = self._own_token(batch)
        try:
            return await self._run(batch, context)
        finally:
            own.answered(number, number + 1)

    def _own_token(self, batch: pb.OpBatch) -> tuple[Session, int]:
        session, number = self._row_sessions.reserve(1)
        batch.session = session.id
        batch.acked_below = session.acked_below
        del batch.op_numbers[:]
        batch.op_numbers.append(number)
        return session, number

    async def _run(self, batch: pb.OpBatch, context: Context) -> Done:
        """Raises Refused for what was not carried out."""
        result = await self._row_execute(batch, context)
        self._check(batch, result)
        partition = batch.partitions[0]
        epoch = result.epochs[0] if result.epochs else 0
        version = result.versions[0] if result.versions else 0
        return Done(
            result.codes[0],
            version,
            result.values[0] if result.values else b"",
            pb.WriteToken(partition=partition, epoch=epoch, sequence=version),
            result.copies[0] if result.copies else 0,
        )

    def _check(self, batch: pb.OpBatch, result: pb.BatchResult) -> None:
        if result.HasField("refused"):
            raise Refused(result.refused)
        errors = dict(zip(result.error_ops, result.errors, strict=False))
        for index, code in enumerate(result.codes):
            if code >= ResultCode.WRONG_OWNER:
                raise Refused(self._explained(batch.partitions[index], code, errors.get(index)))
        if len(result.codes) != len(batch.kinds):
            raise refused(ResultCode.OUTCOME_UNKNOWN, "the answer does not fit the request")

    def _explained(self, partition: int, code: int, error: pb.ErrorDetail | None) -> pb.ErrorDetail:
        if code == ResultCode.WRONG_OWNER:
            address = self._row_state().primary_address(partition)
            where = f"it is served by {address}" if address else "it has no primary right now"
            return detail(
                ResultCode.WRONG_OWNER,
                f"partition {partition} is not served here; {where}. Ask there, or a router",
                {"partition": partition, "address": address},
            )
        if error is not None:
            return error
        try:
            name = ResultCode(code).name
        except ValueError:
            name = f"result code {code}"
        return pb.ErrorDetail(code=code, message=name)  # type: ignore[arg-type]


def _written(done: Done) -> pb.WriteResponse:
    if done.code == ResultCode.OK:
        return pb.WriteResponse(
            applied=True, version=done.version, token=done.token, copies=done.copies
        )
    # A condition that did not hold is an answer, not an error; version is that of the entry found.
    return pb.WriteResponse(applied=False, version=done.version, copies=done.copies)


def _application_error(value: bytes) -> Refused:
    code, message, fields = msgspec.msgpack.decode(value)
    return refused(
        ResultCode.APPLICATION_ERROR, f"{code}: {message}", {"code": code, "fields": fields}
    )
