"""The state store of a coordinator in another process, by gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc
from tupelo.v1 import coordinator_pb2 as pb
from tupelo.v1 import coordinator_pb2_grpc as pb_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import REREAD, Hint, StoreAway, StoreInDoubt
from tupelo_grid.core.statestore import KeyValue, Snapshot, TxnResult, check_txn
from tupelo_grid.runtime.servers import check_cancelled, open_channel

logger = logging.getLogger(__name__)

# Fail-overs wait for it when control comes back after it was away.
CONTROL_RECONNECT_MS = 100
_REWATCH_MS_MIN = 50
_REWATCH_MS_MAX = 1_000


class RemoteStateStore:
    """`StateStore` over gRPC. An async context manager; every call has `rpc_timeout_s`.

    A transaction that failed in any way but a certain one is in doubt (StoreInDoubt): gRPC does not
    say reliably whether a request had left.
    """

    def __init__(self, address: str, config: GridConfig) -> None:
        self.address = address
        self._timeout_s = config.rpc_timeout_s
        self._watch_s_max = config.watch_s_max
        self._config = config
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> RemoteStateStore:
        self._channel = open_channel(self._config, self.address, CONTROL_RECONNECT_MS)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None

    def _stub(self) -> Any:
        if self._channel is None:
            raise StoreAway("the connection to the coordinator is not open")
        return pb_grpc.StateStoreStub(self._channel)  # type: ignore[no-untyped-call]

    async def read(self, prefix: str) -> Snapshot:
        try:
            response = await self._stub().Read(
                pb.ReadRequest(prefix=prefix), timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise ValueError(error.details()) from error
            raise StoreAway(self._describe(error)) from error
        return Snapshot(_entries(response.entries), response.revision)

    async def txn(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
    ) -> TxnResult:
        check_txn(conditions, puts, deletes)
        request = pb.TxnRequest(
            conditions=[pb.Condition(key=key, revision=revision) for key, revision in conditions],
            puts=[pb.KeyValue(key=key, value=value) for key, value in puts.items()],
            deletes=deletes,
        )
        try:
            response = await self._stub().Txn(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise ValueError(error.details()) from error
            if error.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNIMPLEMENTED):
                raise StoreAway(self._describe(error)) from error
            raise StoreInDoubt(self._describe(error)) from error
        return TxnResult(response.succeeded, response.revision, _entries(response.current))

    async def watch(self, prefix: str, after_revision: int = 0) -> AsyncIterator[Hint]:
        """Reconnects by itself for ever. Says to re-read at first, and after each connection, since
        that is how a server begins."""
        failures = 0
        yield REREAD
        while True:
            call = self._stub().Watch(
                pb.WatchRequest(prefix=prefix, after_revision=after_revision),
                timeout=self._watch_s_max,
                wait_for_ready=True,
            )
            try:
                while isinstance(event := await call.read(), pb.WatchEvent):
                    failures = 0
                    yield _to_hint(event)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    failures += 1
                    logger.info("watch of %r broke: %s", prefix, self._describe(error))
            else:
                failures += 1
            finally:
                call.cancel()
            check_cancelled()
            if failures:
                exponent = min(failures - 1, 10)
                pause_ms = min(_REWATCH_MS_MIN * 2**exponent, _REWATCH_MS_MAX)
                await asyncio.sleep(pause_ms / 1000)

    def _describe(self, error: grpc.aio.AioRpcError) -> str:
        return f"coordinator {self.address}: {error.code().name}: {error.details()}"


def _entries(messages: Sequence[pb.KeyValue]) -> dict[str, KeyValue]:
    return {entry.key: KeyValue(entry.value, entry.revision) for entry in messages}


def _to_hint(event: pb.WatchEvent) -> Hint:
    reread = not event.entries and not event.deleted
    return Hint(_entries(event.entries), tuple(event.deleted), event.revision, reread)
