"""The Admin service. Control serves it with its deployment, messaging with the way to control.

admin = GridAdmin(config, store, deployment=deployment, on_shutdown=stop.set)      # control
admin = GridAdmin(config, store, pump_stats=writer.status)                         # messaging
admin_pb2_grpc.add_AdminServicer_to_server(admin, server)
...
await admin.close()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
import msgspec
from tupelo.schema import SpaceSchema, decode_schema, encode_schema, same_schema
from tupelo.v1 import admin_pb2, admin_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import StateStore, StoreError
from tupelo_grid.coordinator.promotion import PromotionRefused
from tupelo_grid.core.minimums import impossible
from tupelo_grid.core.table import SPACE_NAME, space_key
from tupelo_grid.deployment.draining import drain_store
from tupelo_grid.deployment.letters import DataStoreError, DeadLetters
from tupelo_grid.deployment.refreshing import GridRefresh, NotRefreshed
from tupelo_grid.deployment.rolling import Restartable, RestartRefused, RollingRestart
from tupelo_grid.deployment.routers import Routers, warnings_of
from tupelo_grid.deployment.status import GridView
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.servers import open_channel

SERVICE = "tupelo.v1.Admin"
STOPPED_NAMED_MAX = 16
"""Numbers in one warning; `status --lags` has all."""
AWAY_TRAILER = (("tupelo-code", "STORE_AWAY"),)

Promote = Callable[[admin_pb2.PromoteRequest], Awaitable[admin_pb2.PromoteResponse]]
Context = grpc.aio.ServicerContext[Any, Any]


class Deployment(Restartable, Protocol):
    """What of the deployment manager an operator can reach."""

    async def scale(self, units: int) -> int: ...

    async def shutdown(self, timeout_s: float) -> int: ...

    def problems(self) -> list[str]: ...


class GridAdmin(admin_pb2_grpc.AdminServicer):
    """Serves Admin in every process of the virtualized middleware.

    Args:
        store: of control itself, or the client of it in messaging.
        deployment: in control only; without it Scale and Shutdown go to control.
        pump_stats: in messaging only; without it the pump's figures come from there.
        on_shutdown: called when Shutdown has stopped everything but this process.
        promote: in control only.
        letters, refresh: in messaging only.
    """

    def __init__(
        self,
        config: GridConfig,
        store: StateStore,
        *,
        deployment: Deployment | None = None,
        pump_stats: Callable[[], admin_pb2.PumpStatus] | None = None,
        on_shutdown: Callable[[], None] | None = None,
        promote: Promote | None = None,
        letters: DeadLetters | None = None,
        refresh: GridRefresh | None = None,
    ) -> None:
        self._letters = letters
        self._refresh = refresh
        self._promote = promote
        self._config = config
        self._store = store
        self._deployment = deployment
        self._pump_stats = pump_stats
        self._on_shutdown = on_shutdown
        self._view = GridView(config, store)
        other = config.messaging_address if deployment is not None else config.control_address
        self._other_name = other
        self._other = open_channel(config, other)
        self._routers = Routers(config)

    async def close(self) -> None:
        await self._view.close()
        await self._routers.close()
        await self._other.close(None)

    async def Status(
        self, request: admin_pb2.StatusRequest, context: Context
    ) -> admin_pb2.StatusResponse:
        response, routers = await asyncio.gather(
            self._view.status(request.lags), self._routers.status()
        )
        response.routers.extend(routers)
        response.warnings.extend(warnings_of(routers))
        if self._deployment is not None:
            response.warnings.extend(self._deployment.problems())
        pump = self._pump_stats() if self._pump_stats else await self._remote_pump(response)
        # How far the store is behind is the units' to tell.
        for name in ("dead_letters", "persisted_records", "store", "error"):
            setattr(response.pump, name, getattr(pump, name))
        if pump.error:
            response.warnings.append(f"the store is away: {pump.error}")
        if pump.dead_letters:
            response.warnings.append(
                f"{pump.dead_letters} changes could not be stored and are dead letters in the "
                f"store: `tupelo dead-letters list`"
            )
        if response.pump.stopped_partitions:
            numbers = ", ".join(map(str, response.pump.stopped_partitions[:STOPPED_NAMED_MAX]))
            response.warnings.append(
                f"{len(response.pump.stopped_partitions)} partitions are not stored any further "
                f"({numbers}): {_problem(response.units)}"
            )
        return response

    async def CreateSpace(
        self, request: admin_pb2.CreateSpaceRequest, context: Context
    ) -> admin_pb2.CreateSpaceResponse:
        schema = await self._schema_of(request, context)
        encoded = encode_schema(schema)
        key = space_key(schema.name)
        try:
            result = await self._store.txn([(key, 0)], {key: encoded})
        except StoreError as error:
            # The space may be there, or may come; asking again tells.
            await self._control_away(context, str(error))
        if result.succeeded:
            return admin_pb2.CreateSpaceResponse(created=True)
        if not same_schema(result.current[key].value, encoded):
            await context.abort(
                grpc.StatusCode.ALREADY_EXISTS,
                f"space {schema.name!r} exists with another declaration; choose another name",
            )
        return admin_pb2.CreateSpaceResponse(created=False)

    async def Scale(
        self, request: admin_pb2.ScaleRequest, context: Context
    ) -> admin_pb2.ScaleResponse:
        if self._deployment is None:
            return await self._forward("Scale", request, context)  # type: ignore[no-any-return]
        try:
            units = await self._deployment.scale(request.units)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except FatalStartError as error:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f"{error.message} {error.hint}".strip()
            )
        return admin_pb2.ScaleResponse(units=units)

    async def Shutdown(
        self, request: admin_pb2.ShutdownRequest, context: Context
    ) -> admin_pb2.ShutdownResponse:
        """Answers when units and messaging are gone; control follows."""
        if self._deployment is None:
            return await self._forward("Shutdown", request, context)  # type: ignore[no-any-return]
        timeout_s = request.timeout_ms / 1000 if request.timeout_ms else self._config.drain_s
        left = await self._deployment.shutdown(timeout_s)
        if self._on_shutdown is not None:
            self._on_shutdown()
        return admin_pb2.ShutdownResponse(unpersisted_records=left)

    async def Restart(
        self, request: admin_pb2.RestartRequest, context: Context
    ) -> AsyncIterator[admin_pb2.RestartProgress]:
        """Ends with the last unit, or early with FAILED_PRECONDITION and the reason."""
        if self._deployment is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"ask control: {self._other_name}")
        rolling = RollingRestart(self._config, self._deployment, self._view.status)
        try:
            async for progress in rolling.run(request.force):
                yield progress
        except FatalStartError as error:
            await _refuse(context, f"{error.message} {error.hint}".strip())
        except (RestartRefused, ValueError) as error:
            await _refuse(context, str(error))

    async def Promote(
        self, request: admin_pb2.PromoteRequest, context: Context
    ) -> admin_pb2.PromoteResponse:
        if self._promote is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"ask control: {self._other_name}")
        try:
            return await self._promote(request)
        except PromotionRefused as error:
            await _refuse(context, str(error))

    async def DrainStore(
        self, request: admin_pb2.DrainStoreRequest, context: Context
    ) -> AsyncIterator[admin_pb2.DrainStoreProgress]:
        timeout_s = request.timeout_ms / 1000 if request.timeout_ms else self._config.drain_s
        async for progress in drain_store(self._view, timeout_s):
            yield progress

    async def ListDeadLetters(
        self, request: admin_pb2.DeadLettersRequest, context: Context
    ) -> admin_pb2.DeadLettersResponse:
        return await self._with_letters(lambda letters: letters.list(request), context)

    async def RetryDeadLetters(
        self, request: admin_pb2.DeadLettersRequest, context: Context
    ) -> admin_pb2.DeadLettersResponse:
        return await self._with_letters(lambda letters: letters.retry(request), context)

    async def DropDeadLetters(
        self, request: admin_pb2.DeadLettersRequest, context: Context
    ) -> admin_pb2.DeadLettersResponse:
        return await self._with_letters(lambda letters: letters.drop(request), context)

    async def Refresh(
        self, request: admin_pb2.RefreshRequest, context: Context
    ) -> admin_pb2.RefreshResponse:
        if self._refresh is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"ask messaging: {self._other_name}")
        try:
            return await self._refresh.refresh(request)
        except ValueError as error:
            await _invalid(context, str(error))
        except NotRefreshed as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error), AWAY_TRAILER)
            raise AssertionError("abort raises") from error

    async def _with_letters(
        self,
        work: Callable[[DeadLetters], Awaitable[admin_pb2.DeadLettersResponse]],
        context: Context,
    ) -> admin_pb2.DeadLettersResponse:
        if self._letters is None:
            where = self._config.messaging_address
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"ask messaging: {where}")
        try:
            return await work(self._letters)
        except ValueError as error:
            await _invalid(context, str(error))
        except DataStoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the store: {error}", AWAY_TRAILER)
            raise AssertionError("abort raises") from error

    async def _schema_of(
        self, request: admin_pb2.CreateSpaceRequest, context: Context
    ) -> SpaceSchema:
        try:
            schema = decode_schema(request.schema) if request.schema else SpaceSchema(request.name)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            await _invalid(context, f"the schema is not valid: {error}")
        if request.name and request.name != schema.name:
            await _invalid(context, f"the schema is of {schema.name!r}, not of {request.name!r}")
        if not SPACE_NAME.fullmatch(schema.name):
            await _invalid(
                context,
                f"a space's name is 1 to 128 of A-Z a-z 0-9 _ - . and not {schema.name!r}",
            )
        wrong = impossible(schema.name, schema.min_in_sync, self._config.backups)
        if wrong:
            await _invalid(context, wrong)
        return schema

    async def _remote_pump(self, response: admin_pb2.StatusResponse) -> admin_pb2.PumpStatus:
        stub: Any = admin_pb2_grpc.AdminStub(  # type: ignore[no-untyped-call]
            self._routers.channels["messaging"]
        )
        try:
            answer: admin_pb2.StatusResponse = await stub.Status(
                admin_pb2.StatusRequest(), timeout=2 * self._config.status_timeout_s
            )
        except grpc.aio.AioRpcError:
            response.warnings.append(
                f"messaging ({self._config.messaging_address}) does not answer: no router and "
                f"nothing reaches the store; clients that know the units go on"
            )
            return admin_pb2.PumpStatus()
        return answer.pump

    async def _forward(self, method: str, request: Any, context: Context) -> Any:
        """To control, with what is left of the caller's deadline."""
        stub: Any = admin_pb2_grpc.AdminStub(self._other)  # type: ignore[no-untyped-call]
        limit_s = self._config.drain_s + 2 * self._config.stop_timeout_s
        left_s = context.time_remaining()
        try:
            return await getattr(stub, method)(
                request, timeout=limit_s if left_s is None else min(limit_s, left_s)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                await self._control_away(context, error.details() or "")
            await context.abort(error.code(), error.details() or "")

    async def _control_away(self, context: Context, reason: str) -> NoReturn:
        # The trailer tells this answer from no answer.
        await context.abort(
            grpc.StatusCode.UNAVAILABLE,
            f"control ({self._config.control_address}) does not answer, try again: {reason}",
            (("tupelo-code", "CONTROL_AWAY"),),
        )
        raise AssertionError("abort raises")


def _problem(units: Iterable[admin_pb2.UnitStatus]) -> str:
    for unit in units:
        if unit.stopped_partitions and unit.store_error:
            return unit.store_error
    return "see the log of the data writer"


async def _refuse(context: Context, message: str) -> NoReturn:
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
    raise AssertionError("abort raises")


async def _invalid(context: Context, message: str) -> NoReturn:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
    raise AssertionError("abort raises")
