# Made from tupelo/_async/near.py by scripts/make_sync.py: change it there.
"""Spaces with a near cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from tupelo import kinds
from tupelo._sync import runtime
from tupelo._sync.links import Links
from tupelo._sync.routes import RouteKeeper
from tupelo._sync.runtime import monotonic
from tupelo._sync.space import Space
from tupelo._unit.entry import describe
from tupelo.codec import SpaceCodec
from tupelo.config import ClientConfig
from tupelo.errors import InvalidArgument
from tupelo.following import Follower, is_shared, read_answer
from tupelo.near import NearCache, NearStats, SpaceCache
from tupelo.pieces import Bulk
from tupelo.results import Versioned, Written, WrittenMany
from tupelo.routing import RouteTable
from tupelo.seconds import timeout
from tupelo.writes import MISSING, check_version, hashable, several, typed_pair

V = TypeVar("V")


class Near:
    """The near caches of one client, and the streams that keep them right."""

    def __init__(self, routes: RouteKeeper, config: ClientConfig) -> None:
        self.guard = runtime.guard()
        self.follower = Follower(routes.table.partitions)
        self._routes = routes
        self._config = config
        self._grid_id = routes.table.grid_id
        self._links = Links(routes, config, self.follower, self.guard)
        routes.on_change.append(self._follow)

    def cache(self, name: str, settings: NearCache) -> SpaceCache:
        """The near cache of a space, made when first asked for. Raises InvalidArgument."""
        config = self._config
        if config.routing == "router":
            raise InvalidArgument(
                'near caches follow the units, which a client with routing="router" does not reach'
            )
        if settings.staleness_max_s <= 2 * config.near_heartbeat_s:
            raise InvalidArgument(
                f"staleness_max_s={settings.staleness_max_s:g} must be above twice "
                f"near_heartbeat_s={config.near_heartbeat_s:g}"
            )
        with self.guard:
            cache = self.follower.caches.get(name)
            if cache is not None:
                if cache.settings != settings:
                    raise InvalidArgument(
                        f"space {name!r} has a near cache with other settings already: "
                        f"{cache.settings}"
                    )
                return cache
            cache = self.follower.cache(name, settings)
        self._links.restart()
        self._follow(self._routes.table)
        return cache

    def _follow(self, table: RouteTable) -> None:
        with self.guard:
            if table.grid_id != self._grid_id or table.partitions != len(self.follower.parts):
                self._grid_id = table.grid_id
                self.follower.begin_anew(table.partitions)
            self.follower.table(table.epochs)
        self._links.follow(table.units())

    def wrote(self, partition: int, epoch: int, sequence: int) -> None:
        """A command of this client wrote something."""
        with self.guard:
            self.follower.wrote(partition, epoch, sequence)

    def close(self) -> None:
        if self._follow in self._routes.on_change:  # it may be closed twice
            self._routes.on_change.remove(self._follow)
        self._links.close()


def with_cache(space: Space[V], near: Near, cache: SpaceCache, *, serves: bool) -> NearSpace[V]:
    """Makes a space one with a near cache: the same object, whoever has it.

    Args:
        serves: False: reads go to the grid, but the cache learns of what is read and written.
    """
    entry_type = space._codec.entry_type if space._codec else None
    one: Any = space
    one._near, one._cache, one._serves = near, cache, serves
    one._shareable = entry_type is not None and describe(entry_type).shareable
    # So a space pays nothing per call for a near cache that it does not have.
    one.__class__ = NearSpace
    made: NearSpace[V] = one
    return made


class NearSpace(Space[V]):
    """A space with a near cache: `get`, `entry`, `contains` and `get_many` are served from it.

    What they return may be older than what the grid has, by some milliseconds ordinarily and by
    `NearCache.staleness_max_s` at most; it never goes back, and has what this client itself wrote.
    `strict=True` asks the grid. A command, `count` and `scan` do so always.

    What is returned may be changed by who gets it, and the cache is not: entries whose values
    cannot change (frozen classes of such fields, str, bytes, numbers) are shared, others are
    decoded at each hit.
    """

    # None of its own: see `SpaceReads`.
    __slots__ = ()

    _cache: SpaceCache
    _near: Near
    _serves: bool
    _shareable: bool

    def near_stats(self) -> NearStats:
        """What became of the near cache so far."""
        return self._cache.stats()

    def peek(self, key: Any, default: Any = None) -> V | Any:
        """The value of a key if the near cache has it and may serve it; never asks the grid.

        Returns:
            The value, None where it is known that there is no entry, or else `default`.
        """
        codec = self._codec
        if codec is None:
            return default
        slot = self._cache.lookup(codec.encode_key(key), monotonic())
        if slot is None:
            return default
        return slot.value if slot.shared else codec.decode_value(slot.value)

    def get(self, key: Any, *, timeout_s: float | None = None, strict: bool = False) -> V | None:
        """The value of a key; None where there is no entry. From the near cache if it can."""
        if timeout_s is not None:
            timeout(timeout_s)
        codec = self._codec or self._resolve()
        key_bytes = codec.encode_key(key)
        if self._serves and not strict:
            slot = self._cache.lookup(key_bytes, monotonic())
            if slot is not None:
                value: V = slot.value if slot.shared else codec.decode_value(slot.value)
                return value
        return (self._fetch(codec, key, timeout_s, strict))[0]

    def entry(
        self, key: Any, *, timeout_s: float | None = None, strict: bool = False
    ) -> Versioned[V] | None:
        """The value of a key with its version, as `get` finds it."""
        if timeout_s is not None:
            timeout(timeout_s)
        codec = self._codec or self._resolve()
        if self._serves and not strict:
            slot = self._cache.lookup(codec.encode_key(key), monotonic())
            if slot is not None:
                if not slot.version:
                    return None
                value = slot.value if slot.shared else codec.decode_value(slot.value)
                return Versioned(value, slot.version)
        found, version = self._fetch(codec, key, timeout_s, strict)
        return Versioned(found, version) if found is not None and version else None

    def contains(self, key: Any, *, timeout_s: float | None = None, strict: bool = False) -> bool:
        """Whether there is an entry of the key, as `get` finds it. It fills nothing."""
        if timeout_s is not None:
            timeout(timeout_s)
        codec = self._codec or self._resolve()
        key_bytes = codec.encode_key(key)
        if self._serves and not strict:
            slot = self._cache.lookup(key_bytes, monotonic())
            if slot is not None:
                return slot.version != 0
        there = super().contains(key, timeout_s=timeout_s, strict=strict)
        self._forget((key_bytes,))
        return there

    def get_many(
        self, keys: Iterable[Any], *, timeout_s: float | None = None, strict: bool = False
    ) -> dict[Any, V]:
        """The values of many keys, without those that have no entry: what the near cache has from
        there, the rest from the grid. It fills nothing."""
        if timeout_s is not None:
            timeout(timeout_s)
        codec = self._codec or self._resolve()
        asked = {codec.encode_key(key): key for key in map(hashable, several("keys", keys))}
        found: dict[Any, V] = {}
        missing: dict[bytes, Any] = {}
        now = monotonic()
        for key_bytes, key in asked.items():
            slot = self._cache.lookup(key_bytes, now) if self._serves and not strict else None
            if slot is None:
                missing[key_bytes] = key
            elif slot.version:
                found[key] = slot.value if slot.shared else codec.decode_value(slot.value)
        if missing:
            found |= super().get_many(missing.values(), timeout_s=timeout_s, strict=strict)
            self._forget(missing)
        return {key: found[key] for key in asked.values() if key in found}

    def put(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> Written:
        """As `Space.put`; what is cached of the key is dropped, here at once."""
        done = self._write(kinds.PUT, key, value, ttl_s, 0, timeout_s, write_through)
        assert done is not None, "a put has no condition"
        return done

    def delete(
        self,
        key: Any,
        *,
        version: int | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> Written | None:
        """As `Space.delete`; what is cached of the key is dropped, here at once."""
        if version is not None:
            check_version(version)
        codec = self._codec or self._resolve()
        key_bytes = codec.encode_key(key)
        try:
            return super().delete(
                key, version=version, timeout_s=timeout_s, write_through=write_through
            )
        finally:
            self._forget((key_bytes,))

    # Helpers.

    def _fetch(
        self, codec: SpaceCodec, key: Any, timeout_s: float | None, strict: bool
    ) -> tuple[V | None, int]:
        """The value and version (0: none) from the grid; the cache keeps them if it may."""
        near, cache, dispatcher = self._near, self._cache, self._dispatcher
        key_bytes, partition = codec.locate(key, dispatcher.partitions)
        with near.guard:
            ticket = cache.ask(key_bytes, partition, monotonic())
        try:
            outcome = dispatcher.run(
                kinds.GET_NEAR, self.name, partition, key_bytes, b"", 0, 0, timeout_s, strict
            )
            answer = read_answer(outcome)
            stored = answer.value
            value: V | None = None if stored is None else codec.decode_entry(key, stored)
        except BaseException:
            with near.guard:
                cache.gave_up(ticket)
            raise
        shared = stored is None or self._shareable or is_shared(value)
        if shared:
            answer = answer._replace(value=value)
        with near.guard:
            size = len(key_bytes) + len(stored or b"")
            absent = not codec.schema.read_through
            near.follower.answered(cache, ticket, answer, shared, size, absent)
        return value, answer.version

    def _forget(self, keys: Iterable[bytes]) -> None:
        with self._near.guard:
            for key in keys:
                self._cache.forget(key)

    def _write(
        self,
        kind: int,
        key: Any,
        value: Any,
        ttl_s: float | None,
        version: int,
        timeout_s: float | None,
        write_through: bool,
    ) -> Written | None:
        codec = self._codec or self._resolve()
        own = key
        if codec.key_of is not None or value is MISSING:
            own = typed_pair(codec, key, value)[0]
        key_bytes = codec.encode_key(own)
        try:
            return super()._write(kind, key, value, ttl_s, version, timeout_s, write_through)
        finally:
            # Written, not written, or nobody knows: what is cached proves nothing any more.
            self._forget((key_bytes,))

    def _write_many(
        self,
        codec: SpaceCodec,
        work: Bulk,
        located: Mapping[int, dict[bytes, bytes]],
        timeout_s: float | None,
        write_through: bool,
    ) -> WrittenMany:
        try:
            return super()._write_many(codec, work, located, timeout_s, write_through)
        finally:
            for entries in located.values():
                self._forget(entries)
