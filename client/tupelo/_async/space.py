"""A space as a client uses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, overload

from tupelo import kinds
from tupelo._async.dispatch import Dispatcher, Operation
from tupelo._async.runtime import monotonic
from tupelo._async.scan import Scan
from tupelo._async.scatter import scatter
from tupelo.codec import SpaceCodec
from tupelo.errors import InvalidArgument
from tupelo.pieces import Ask, Asking, Bulk, Group, combined_error, decode_count, grouped
from tupelo.results import Token, Versioned, Written, WrittenMany
from tupelo.retry import Failure
from tupelo.schema import SpaceSchema, decode_schema
from tupelo.writes import (
    MISSING,
    check_version,
    hashable,
    pairs,
    ttl_ms,
    typed_pair,
    written,
    written_many,
)

V = TypeVar("V")


class Space(Generic[V]):
    """A named collection of entries. Get one from `Grid.space`.

    An untyped space takes any key (`tupelo.codec`) and any MessagePack value. A typed one takes
    entries of its class, or dicts of their fields where only the name of the space was given; the
    key is in the entry, and a key of several fields is written as a tuple: `get(("e1", 7))`.

    Every method takes `timeout_s` (default: `ClientConfig.timeout_s`), which covers retries. They
    raise RequestError for what can never succeed, Unavailable when it certainly was not carried out
    in that time, OutcomeUnknown for a write of which that is not known. A condition that does not
    hold is no error: it returns None.

    `strict=True` on a read has every in-sync replica confirm it, and relies on no clock.
    """

    __slots__ = ("_codec", "_dispatcher", "name")

    def __init__(self, dispatcher: Dispatcher, name: str, codec: SpaceCodec | None) -> None:
        self._dispatcher = dispatcher
        self._codec = codec
        self.name = name

    def __repr__(self) -> str:
        return f"Space({self.name!r})"

    # Reads.

    async def get(
        self, key: Any, *, timeout_s: float | None = None, strict: bool = False
    ) -> V | None:
        """The value of a key; None where there is no entry."""
        codec = self._codec or await self._resolve()
        dispatcher = self._dispatcher
        key_bytes, partition = codec.locate(key, dispatcher.partitions)
        deadline = monotonic() + (dispatcher.timeout_s if timeout_s is None else timeout_s)
        lane = dispatcher.lanes[partition]
        outcome = await lane.submit(
            kinds.GET, partition, self.name, key_bytes, b"", 0, 0, deadline, strict
        )
        if isinstance(outcome, Failure):
            operation = Operation(kinds.GET, self.name, partition, key_bytes, b"", 0, 0, strict)
            outcome = await dispatcher.again(operation, outcome, lane, deadline)
        if outcome[0]:
            return None
        value: V = codec.decode_value(outcome[2])
        return value

    async def entry(
        self, key: Any, *, timeout_s: float | None = None, strict: bool = False
    ) -> Versioned[V] | None:
        """The value of a key with its version; None where there is no entry."""
        codec = self._codec or await self._resolve()
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        outcome = await self._dispatcher.run(
            kinds.GET, self.name, partition, key_bytes, b"", 0, 0, timeout_s, strict
        )
        if outcome[0]:
            return None
        return Versioned(codec.decode_value(outcome[2]), outcome[1])

    async def contains(
        self, key: Any, *, timeout_s: float | None = None, strict: bool = False
    ) -> bool:
        """Whether there is an entry of the key."""
        codec = self._codec or await self._resolve()
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        outcome = await self._dispatcher.run(
            kinds.CONTAINS, self.name, partition, key_bytes, b"", 0, 0, timeout_s, strict
        )
        return outcome[0] == 0

    async def get_many(
        self, keys: Iterable[Any], *, timeout_s: float | None = None, strict: bool = False
    ) -> dict[Any, V]:
        """The values of many keys, without those that have no entry. Not one point in time.

        A key given as a list comes back as a tuple.
        """
        codec = self._codec or await self._resolve()
        asked = {codec.encode_key(key): key for key in map(hashable, keys)}
        located = codec.located_keys(asked.values(), self._dispatcher.partitions)
        groups = await self._bulk(Bulk(kinds.GET, self.name, strict=strict), located, timeout_s)
        decode = codec.decode_value
        found = {key: value for group in groups for key, value in group.found}
        return {asked[key]: decode(found[key]) for key in asked if key in found}

    async def count(self, *, timeout_s: float | None = None) -> int:
        """The number of entries, each partition counted at its own moment."""
        dispatcher = self._dispatcher
        asks = [Ask(partition) for partition in range(dispatcher.partitions)]
        await scatter(dispatcher, Asking(kinds.COUNT, self.name, decode_count), asks, timeout_s)
        error = combined_error(asks)
        if error is not None:
            raise error
        return sum([ask.answer for ask in asks])

    def scan(
        self,
        *,
        page_size: int | None = None,
        page_token: str = "",
        timeout_s: float | None = None,
    ) -> Scan[V]:
        """All entries, partition by partition, in no particular order; iterate over the result.

        An entry that is there from beginning to end comes exactly once; one that is written or
        deleted meanwhile may come or not.

        Args:
            page_size: entries asked of one partition at a time; default `scan_page_size`.
            page_token: `Scan.page_token` of an earlier scan, to go on behind its last entry.
            timeout_s: of each request for pages.
        """
        return Scan(self._dispatcher, self.name, self._ready, page_size, page_token, timeout_s)

    # Writes.

    @overload
    async def put(
        self, entry: V, /, *, ttl_s: float | None = ..., timeout_s: float | None = ...
    ) -> Written: ...

    @overload
    async def put(
        self, key: Any, value: V, /, *, ttl_s: float | None = ..., timeout_s: float | None = ...
    ) -> Written: ...

    async def put(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Written:
        """Writes an entry: `put(entry)` of a typed space, `put(key, value)` of an untyped one.

        Args:
            ttl_s: time to live in seconds; default: that of the space.
        """
        codec = self._codec or await self._resolve()
        if codec.key_of is not None or value is MISSING:
            key, value = typed_pair(codec, key, value)
        dispatcher = self._dispatcher
        key_bytes, partition = codec.locate(key, dispatcher.partitions)
        stored = codec.encode_value(value)
        lives_ms = 0 if ttl_s is None else ttl_ms(ttl_s)
        deadline = monotonic() + (dispatcher.timeout_s if timeout_s is None else timeout_s)
        lane = dispatcher.lanes[partition]
        outcome = await lane.submit(
            kinds.PUT, partition, self.name, key_bytes, stored, lives_ms, 0, deadline
        )
        if isinstance(outcome, Failure):
            operation = Operation(
                kinds.PUT, self.name, partition, key_bytes, stored, lives_ms, 0, False
            )
            outcome = await dispatcher.again(operation, outcome, lane, deadline)
        version = outcome[1]
        return Written(Token(partition, outcome[3], version), version, outcome[4])

    @overload
    async def put_if_absent(
        self, entry: V, /, *, ttl_s: float | None = ..., timeout_s: float | None = ...
    ) -> Written | None: ...

    @overload
    async def put_if_absent(
        self, key: Any, value: V, /, *, ttl_s: float | None = ..., timeout_s: float | None = ...
    ) -> Written | None: ...

    async def put_if_absent(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Written | None:
        """Writes the entry where there is none of its key; None where there is one."""
        return await self._write(kinds.PUT_IF_ABSENT, key, value, ttl_s, 0, timeout_s)

    @overload
    async def replace(
        self, entry: V, /, *, ttl_s: float | None = ..., timeout_s: float | None = ...
    ) -> Written | None: ...

    @overload
    async def replace(
        self, key: Any, value: V, /, *, ttl_s: float | None = ..., timeout_s: float | None = ...
    ) -> Written | None: ...

    async def replace(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Written | None:
        """Writes the entry where there is one of its key already; None where there is none."""
        return await self._write(kinds.REPLACE, key, value, ttl_s, 0, timeout_s)

    @overload
    async def compare_and_set(
        self, entry: V, /, *, version: int, ttl_s: float | None = ..., timeout_s: float | None = ...
    ) -> Written | None: ...

    @overload
    async def compare_and_set(
        self,
        key: Any,
        value: V,
        /,
        *,
        version: int,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
    ) -> Written | None: ...

    async def compare_and_set(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        version: int,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Written | None:
        """Writes the entry where the one there has `version`; None where it has not.

        Args:
            version: of `entry(key)` or of an earlier write; above 0.
        """
        check_version(version)
        return await self._write(kinds.COMPARE_AND_SET, key, value, ttl_s, version, timeout_s)

    async def delete(
        self, key: Any, *, version: int | None = None, timeout_s: float | None = None
    ) -> Written | None:
        """Removes the entry of a key; None where there was none, or not of that version."""
        kind = kinds.DELETE
        if version is not None:
            check_version(version)
            kind = kinds.DELETE_IF_VERSION
        codec = self._codec or await self._resolve()
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        outcome = await self._dispatcher.run(
            kind, self.name, partition, key_bytes, b"", 0, version or 0, timeout_s
        )
        return written(partition, outcome)

    async def put_many(
        self,
        entries: Mapping[Any, V] | Iterable[V] | Iterable[tuple[Any, V]],
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> WrittenMany:
        """Writes many entries, grouped by their owners; each partition's part is all or nothing.

        Args:
            entries: of a typed space an iterable of entries; of an untyped one a mapping, or an
                iterable of (key, value). Of equal keys the last one counts.

        When some parts fail, the others are written nevertheless; `fields` of the error says how
        many (`entries_done`, `entries_failed`, `partitions_failed`).
        """
        codec = self._codec or await self._resolve()
        located = codec.located(pairs(codec, entries), self._dispatcher.partitions)
        work = Bulk(kinds.PUT, self.name, 0 if ttl_s is None else ttl_ms(ttl_s))
        return written_many(await self._bulk(work, located, timeout_s))

    async def delete_many(
        self, keys: Iterable[Any], *, timeout_s: float | None = None
    ) -> WrittenMany:
        """Removes many entries; keys without one are passed over. Errors as of `put_many`."""
        codec = self._codec or await self._resolve()
        located = codec.located_keys(keys, self._dispatcher.partitions)
        return written_many(await self._bulk(Bulk(kinds.DELETE, self.name), located, timeout_s))

    # Helpers.

    async def _write(
        self,
        kind: int,
        key: Any,
        value: Any,
        ttl_s: float | None,
        version: int,
        timeout_s: float | None,
    ) -> Written | None:
        codec = self._codec or await self._resolve()
        if codec.key_of is not None or value is MISSING:
            key, value = typed_pair(codec, key, value)
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        value_bytes = codec.encode_value(value)
        lives_ms = 0 if ttl_s is None else ttl_ms(ttl_s)
        outcome = await self._dispatcher.run(
            kind, self.name, partition, key_bytes, value_bytes, lives_ms, version, timeout_s
        )
        return written(partition, outcome)

    async def _bulk(
        self, work: Bulk, located: Mapping[int, dict[bytes, bytes]], timeout_s: float | None
    ) -> list[Group]:
        config = self._dispatcher.config
        count = sum(map(len, located.values()))
        if count > config.bulk_items_max:
            raise InvalidArgument(
                f"{count} entries in one call; bulk_items_max is {config.bulk_items_max}"
            )
        groups = grouped(located, config)
        await scatter(self._dispatcher, work, groups, timeout_s)
        error = combined_error(groups)
        if error is not None:
            raise error
        return groups

    async def _ready(self) -> SpaceCodec:
        return self._codec or await self._resolve()

    async def _resolve(self) -> SpaceCodec:
        """The codec of a space that was not known when the object was made.

        A space nobody has declared is taken for untyped; the grid then answers UNKNOWN_SPACE.
        """
        routes = self._dispatcher.routes
        if self.name not in routes.table.spaces:
            await routes.refresh()
        declared = routes.table.spaces.get(self.name)
        if declared is None:
            return SpaceCodec(SpaceSchema(self.name))
        self._codec = SpaceCodec(decode_schema(declared))
        return self._codec
