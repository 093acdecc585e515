"""Serves the state store to units and to the messaging process.

Status codes: INVALID_ARGUMENT for a request that no store would take; ABORTED when certainly
nothing was done; UNKNOWN when a transaction is in doubt; RESOURCE_EXHAUSTED for a watch too many.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, cast

import grpc
from tupelo.v1 import coordinator_pb2 as pb
from tupelo.v1 import coordinator_pb2_grpc as pb_grpc

from tupelo_grid.coordinator.hub import TooManyWatchers
from tupelo_grid.coordinator.port import Hint, StateStore, StoreAway, StoreInDoubt
from tupelo_grid.core.statestore import KEY_BYTES_MAX, KeyValue

Context = grpc.aio.ServicerContext[Any, Any]


def to_messages(entries: Mapping[str, KeyValue]) -> Iterable[pb.KeyValue]:
    return (
        pb.KeyValue(key=key, value=kv.value, revision=kv.revision) for key, kv in entries.items()
    )


async def _abort(context: Context, code: grpc.StatusCode, details: str) -> NoReturn:
    await context.abort(code, details)
    raise AssertionError("abort raises")


class StateStoreServicer(pb_grpc.StateStoreServicer):
    """`tupelo.v1.StateStore` over any adapter of the port."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def Read(self, request: pb.ReadRequest, context: Context) -> pb.ReadResponse:
        await _check_prefix(request.prefix, context)
        try:
            snapshot = await self._store.read(request.prefix)
        except StoreAway as error:
            await _abort(context, grpc.StatusCode.ABORTED, str(error))
        return pb.ReadResponse(entries=to_messages(snapshot.entries), revision=snapshot.revision)

    async def Txn(self, request: pb.TxnRequest, context: Context) -> pb.TxnResponse:
        puts = {entry.key: entry.value for entry in request.puts}
        if len(puts) != len(request.puts):
            await _abort(
                context, grpc.StatusCode.INVALID_ARGUMENT, "a transaction puts each key once"
            )
        try:
            result = await self._store.txn(
                [(condition.key, condition.revision) for condition in request.conditions],
                puts,
                list(request.deletes),
            )
        except ValueError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StoreAway as error:
            await _abort(context, grpc.StatusCode.ABORTED, str(error))
        except StoreInDoubt as error:
            await _abort(context, grpc.StatusCode.UNKNOWN, str(error))
        return pb.TxnResponse(
            succeeded=result.succeeded,
            revision=result.revision,
            current=to_messages(result.current),
        )

    async def Watch(
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchEvent]:
        await _check_prefix(request.prefix, context)
        hints = self._store.watch(request.prefix, request.after_revision)
        try:
            # Every adapter's watch is an async generator; closing it frees the watcher at once.
            async with aclosing(cast(Any, hints)):
                async for hint in hints:
                    yield _to_event(hint)
        except TooManyWatchers as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))


def _to_event(hint: Hint) -> pb.WatchEvent:
    """An event without any key means: re-read."""
    if hint.reread:
        return pb.WatchEvent(revision=hint.revision)
    return pb.WatchEvent(
        entries=to_messages(hint.entries), deleted=hint.deleted, revision=hint.revision
    )


async def _check_prefix(prefix: str, context: Context) -> None:
    if len(prefix.encode()) > KEY_BYTES_MAX:
        await _abort(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            f"a prefix has at most {KEY_BYTES_MAX} bytes",
        )
