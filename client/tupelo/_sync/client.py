# Made from tupelo/_async/client.py by scripts/make_sync.py: change it there.
"""The grid as a client uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, overload
from weakref import WeakSet

import grpc

from tupelo import kinds
from tupelo._sync.dispatch import Dispatcher
from tupelo._sync.near import Near, NearSpace, with_cache
from tupelo._sync.persist import wait_stored
from tupelo._sync.routes import RouteKeeper
from tupelo._sync.runtime import monotonic
from tupelo._sync.space import Space
from tupelo._unit.command import Command
from tupelo.calls import (
    Prepared,
    command_info,
    prepare,
    prepare_by_name,
    result_of,
)
from tupelo.codec import SpaceCodec, partition_of
from tupelo.config import ClientConfig
from tupelo.errors import ConnectionLost, InvalidArgument, RequestError
from tupelo.near import NearCache
from tupelo.schema import SpaceSchema, decode_schema, encode_schema, schema_of
from tupelo.seconds import timeout, ttl_ms
from tupelo.transport import CLIENT_CLOSED, admin_stub, describe
from tupelo.v1.admin_pb2 import CreateSpaceRequest, StatusRequest, StatusResponse
from tupelo.writes import written

P = ParamSpec("P")
R = TypeVar("R")
E_co = TypeVar("E_co", covariant=True)


class SpaceDeclaration(Protocol[E_co]):
    """A space as a unit's author declares it (`unit.space(...)`), seen from a client."""

    @property
    def schema(self) -> SpaceSchema: ...

    @property
    def type(self) -> type[E_co] | None: ...


class Grid:
    """A connection to a grid. Get one from `connect`; `close` it, or use it in a `with`.

    It may be used by any number of callers at the same time: what they ask for together travels
    together.
    """

    def __init__(self, seeds: Sequence[str], config: ClientConfig) -> None:
        self.config = config
        self._routes = RouteKeeper(seeds, config)
        self._dispatcher: Dispatcher | None = None
        self._near: Near | None = None
        # By name, those without a near cache of their own: they tell one that is made later.
        self._spaces: dict[str, WeakSet[Space[Any]]] = {}

    def open(self) -> Self:
        """Fetches the partition table. Raises ConnectionLost after `connect_timeout_s`, and when
        the client was closed."""
        if self._dispatcher is not None:
            self._open_dispatcher()
        if self._dispatcher is None:
            try:
                self._routes.first()
                self._dispatcher = Dispatcher(self.config, self._routes)
            except BaseException:
                self._routes.close()
                raise
        return self

    def close(self) -> None:
        """Ends the connection. Pending calls fail: ConnectionLost, or OutcomeUnknown for a write
        that has been sent. A second time does nothing."""
        if self._dispatcher is not None:
            self._routes.check_home()
        if self._near is not None:
            self._near.close()
        if self._dispatcher is not None:
            self._dispatcher.close()
        self._routes.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Grid({', '.join(self._routes.seeds)})"

    @overload
    def space(self, space: SpaceDeclaration[R], *, near_cache: NearCache) -> NearSpace[R]: ...

    @overload
    def space(self, space: str, *, near_cache: NearCache) -> NearSpace[Any]: ...

    @overload
    def space(self, space: SpaceDeclaration[R]) -> Space[R]: ...

    @overload
    def space(self, space: str) -> Space[Any]: ...

    def space(self, space: Any, *, near_cache: NearCache | None = None) -> Space[Any]:
        """A space of the grid.

        Args:
            near_cache: keeps entries in this client; one for all that ask for the space with it,
                and with the same settings (InvalidArgument otherwise). See `NearSpace`.
            space: the declaration in a processing unit's package (then entries are instances of
                its class), or a name: then values are whatever MessagePack can carry, or dicts of
                all fields where the space is typed.
        """
        dispatcher = self._open_dispatcher()
        if near_cache is not None and not isinstance(near_cache, NearCache):
            raise InvalidArgument(f"near_cache is a tupelo.NearCache(...), not {near_cache!r:.100}")
        if isinstance(space, str):
            declared = self._routes.table.spaces.get(space)
            codec = SpaceCodec(decode_schema(declared)) if declared else None
            name, entry_type = space, None
        elif not isinstance(getattr(space, "schema", None), SpaceSchema):
            raise InvalidArgument(
                "a space is given by its name, or by what `unit.space(...)` gave a processing "
                f"unit, not by {space!r:.100}"
            )
        else:
            name, entry_type = space.schema.name, space.type
            codec = SpaceCodec(space.schema, entry_type)
        if near_cache is None:
            return self._plain_space(name, codec)
        near = self._near = self._near or Near(self._routes, self.config)
        cache = near.cache(name, near_cache)
        with dispatcher.guard:
            known = list(self._spaces.get(name, ()))
        for one in known:
            if not isinstance(one, NearSpace):
                with_cache(one, near, cache, serves=False)
        return with_cache(Space(dispatcher, name, codec), near, cache, serves=True)

    def _plain_space(self, name: str, codec: SpaceCodec | None) -> Space[Any]:
        dispatcher = self._open_dispatcher()
        space: Space[Any] = Space(dispatcher, name, codec)
        with dispatcher.guard:
            # In this order: either this finds the near cache, or its maker finds this.
            self._spaces.setdefault(name, WeakSet()).add(space)
            near = self._near
        if near is None or name not in near.follower.caches:
            return space
        return with_cache(space, near, near.follower.caches[name], serves=False)

    @overload
    def call(self, command: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def call(self, command: str, /, *, route: Any = ..., **kwargs: Any) -> Any: ...

    def call(self, command: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a command in the unit that owns its route, and returns what it returns.

        Args:
            command: a command object of a processing unit's package, or "unit.command".
            args, kwargs: its arguments. With a command given by name they go by name too, and
                `route` is the routing value, needed only where the grid does not publish it.

        Raises what the command raised: its own error class where the command object knows it,
        ApplicationError otherwise; CommandFailed when its code broke; else as `Space`'s methods.
        """
        if not isinstance(command, str):
            return self._run(prepare(command, args, kwargs), None, False, False)
        if args:
            raise InvalidArgument(
                "with a command given by name, arguments go by name too: call(name, event=...)"
            )
        return self.call_with(command, kwargs, route=kwargs.pop("route", None))

    def call_with(
        self,
        command: Command[..., Any] | str,
        arguments: Mapping[str, Any],
        *,
        route: Any = None,
        timeout_s: float | None = None,
        strict: bool = False,
        write_through: bool = False,
    ) -> Any:
        """`call` with the arguments as a mapping, and with options of the call itself.

        Args:
            route: routing value of a command given by name, as in `call`.
            timeout_s: default `ClientConfig.timeout_s`; retries included.
            strict: a read-only command is confirmed by every in-sync replica.
            write_through: returns only when the store has what the command wrote, as where it
                writes to a space declared so; within the same time. Raises NotPersisted otherwise:
                then it was carried out nevertheless.
        """
        if isinstance(command, str):
            call = self._by_name(command, arguments, route)
        else:
            call = prepare(command, (), arguments)
        return self._run(call, timeout_s, strict, write_through)

    def _run(
        self, call: Prepared, timeout_s: float | None, strict: bool, write_through: bool
    ) -> Any:
        dispatcher = self._open_dispatcher()
        timeout_s = self.config.timeout_s if timeout_s is None else timeout(timeout_s)
        deadline = monotonic() + timeout_s
        partition = partition_of(call.route, dispatcher.partitions)
        kind = kinds.CALL_READ_ONLY if call.read_only else kinds.CALL
        outcome = dispatcher.run(
            kind, call.name, partition, call.route, call.arguments, 0, 0, timeout_s, strict
        )
        result = result_of(call, outcome)
        # Only the unit knows which spaces the command wrote to.
        if self._near is not None and not call.read_only:
            self._near.wrote(partition, outcome[3], outcome[1])
        if write_through or self._routes.table.any_write_through:
            done = None if call.read_only else written(partition, outcome)
            if done is not None and done.version:
                wait_stored(dispatcher, (done.token,), deadline, not write_through)
        return result

    def _by_name(self, name: str, arguments: Mapping[str, Any], route: Any) -> Prepared:
        info = command_info(self._routes.table, name)
        if info is None and route is None:
            self._routes.refresh()
            info = command_info(self._routes.table, name)
        return prepare_by_name(name, arguments, info, route)

    def create_space(
        self,
        name: str,
        *,
        ttl_s: float | None = None,
        persist: bool = True,
        coalesce: bool = True,
        write_through: bool = False,
        read_through: bool = False,
        min_in_sync: int = 0,
        spill: bool = False,
        timeout_s: float | None = None,
    ) -> Space[Any]:
        """Declares an untyped space; one of that name with the same settings is left as it is.

        Args:
            ttl_s: default time to live of its entries; None: they do not expire.
            persist: whether the data writer stores them.
            coalesce: whether the store may skip versions that a newer one replaces soon after.
            write_through: whether writes are answered only when the store has them.
            read_through: whether an entry that is asked for and not there is looked for in the
                store.
            min_in_sync: copies, the primary's included, without which writes to it are refused; 0:
                as the grid is set.
            spill: whether writes are taken also while the store is away and the journals are full,
                older ones waiting in files of the units; else they are refused (Overloaded).
        """
        schema = schema_of(
            name=name,
            ttl_ms=0 if ttl_s is None else ttl_ms(ttl_s),
            persist=persist,
            coalesce=coalesce,
            write_through=write_through,
            read_through=read_through,
            min_in_sync=min_in_sync,
            spill=spill,
        )
        self._admin(
            "CreateSpace",
            CreateSpaceRequest(name=name, schema=encode_schema(schema)),
            timeout_s,
        )
        self._routes.refresh()
        return self._plain_space(name, SpaceCodec(schema))

    def status(self, *, timeout_s: float | None = None) -> StatusResponse:
        """How the grid is: units, partitions, the data pump (tupelo/v1/admin.proto)."""
        response: StatusResponse = self._admin("Status", StatusRequest(), timeout_s)
        return response

    def _admin(self, method: str, request: Any, timeout_s: float | None) -> Any:
        """Asks the seeds in turn: routers and the control process serve Admin."""
        self._open_dispatcher()
        self._routes.check_home()
        timeout_s = self.config.timeout_s if timeout_s is None else timeout(timeout_s)
        problem = ""
        for seed in dict.fromkeys((self._routes.router, *self._routes.seeds)):
            stub = admin_stub(self._routes.channel(seed))
            try:
                return getattr(stub, method)(request, timeout=timeout_s)
            except grpc.RpcError as error:
                problem = f"{seed}: {describe(error)}"
                code = error.code()
                if code is grpc.StatusCode.INVALID_ARGUMENT:
                    raise InvalidArgument(problem) from None
                if code in (
                    grpc.StatusCode.ALREADY_EXISTS,
                    grpc.StatusCode.FAILED_PRECONDITION,
                ):
                    raise RequestError(problem) from None
        raise ConnectionLost(f"no router answered ({problem})")

    def _open_dispatcher(self) -> Dispatcher:
        if self._dispatcher is None:
            raise ConnectionLost("the grid is not connected: enter or what connect() gives")
        if self._dispatcher.closed:
            raise ConnectionLost(CLIENT_CLOSED)
        return self._dispatcher
