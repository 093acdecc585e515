# Made from tupelo/_async/reads.py by scripts/make_sync.py: change it there.
"""What a client reads of a space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from tupelo import kinds
from tupelo._sync.dispatch import Dispatcher, Operation
from tupelo._sync.runtime import monotonic
from tupelo._sync.scan import Scan
from tupelo._sync.scatter import scatter
from tupelo.codec import SpaceCodec
from tupelo.errors import ConnectionLost, InvalidArgument
from tupelo.pieces import Ask, Asking, Bulk, Group, combined_error, decode_count, grouped
from tupelo.results import Versioned
from tupelo.retry import Failure
from tupelo.schema import SpaceSchema, decode_schema
from tupelo.seconds import timeout
from tupelo.transport import CLIENT_CLOSED
from tupelo.writes import hashable, several

V = TypeVar("V")


class SpaceReads(Generic[V]):
    """The reading half of `Space`.

    It has room for what a near cache needs (`NearSpace`), so that a space that was asked for before
    the near cache was made can become one that tells it.
    """

    __slots__ = (
        "__weakref__",
        "_cache",
        "_codec",
        "_dispatcher",
        "_near",
        "_serves",
        "_shareable",
        "name",
    )

    def __init__(self, dispatcher: Dispatcher, name: str, codec: SpaceCodec | None) -> None:
        self._dispatcher = dispatcher
        self._codec = codec
        self.name = name

    def __repr__(self) -> str:
        return f"Space({self.name!r})"

    # Reads.

    def get(self, key: Any, *, timeout_s: float | None = None, strict: bool = False) -> V | None:
        """The value of a key; None where there is no entry."""
        codec = self._codec or self._resolve()
        dispatcher = self._dispatcher
        key_bytes, partition = codec.locate(key, dispatcher.partitions)
        deadline = monotonic() + (dispatcher.timeout_s if timeout_s is None else timeout(timeout_s))
        lane = dispatcher.lanes[partition]
        outcome = lane.submit(
            kinds.GET, partition, self.name, key_bytes, b"", 0, 0, deadline, strict
        )
        if isinstance(outcome, Failure):
            operation = Operation(kinds.GET, self.name, partition, key_bytes, b"", 0, 0, strict)
            outcome = dispatcher.again(operation, outcome, lane, deadline)
        if outcome[0]:
            return None
        try:
            value: V = codec.decode_value(outcome[2])
        except InvalidArgument as error:
            raise codec.misfit(key, error) from None
        return value

    def entry(
        self, key: Any, *, timeout_s: float | None = None, strict: bool = False
    ) -> Versioned[V] | None:
        """The value of a key with its version; None where there is no entry."""
        codec = self._codec or self._resolve()
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        outcome = self._dispatcher.run(
            kinds.GET, self.name, partition, key_bytes, b"", 0, 0, timeout_s, strict
        )
        if outcome[0]:
            return None
        return Versioned(codec.decode_entry(key, outcome[2]), outcome[1])

    def contains(self, key: Any, *, timeout_s: float | None = None, strict: bool = False) -> bool:
        """Whether there is an entry of the key."""
        codec = self._codec or self._resolve()
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        outcome = self._dispatcher.run(
            kinds.CONTAINS, self.name, partition, key_bytes, b"", 0, 0, timeout_s, strict
        )
        return outcome[0] == 0

    def get_many(
        self, keys: Iterable[Any], *, timeout_s: float | None = None, strict: bool = False
    ) -> dict[Any, V]:
        """The values of many keys, without those that have no entry. Not one point in time.

        A key given as a list comes back as a tuple.
        """
        codec = self._codec or self._resolve()
        some = list(several("keys", keys))
        self._dispatcher.turns.take(len(some))
        asked = {codec.encode_key(key): key for key in map(hashable, some)}
        located = codec.located_keys(asked.values(), self._dispatcher.partitions)
        groups = self._bulk(Bulk(kinds.GET, self.name, strict=strict), located, timeout_s)
        decode = codec.decode_entry
        found = {key: value for group in groups for key, value in group.found}
        return {asked[key]: decode(asked[key], found[key]) for key in asked if key in found}

    def count(self, *, timeout_s: float | None = None) -> int:
        """The number of entries, each partition counted at its own moment."""
        dispatcher = self._dispatcher
        asks = [Ask(partition) for partition in range(dispatcher.partitions)]
        scatter(dispatcher, Asking(kinds.COUNT, self.name, decode_count), asks, timeout_s)
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

    # Helpers.

    def _deadline(self, timeout_s: float | None) -> float:
        return monotonic() + (
            self._dispatcher.timeout_s if timeout_s is None else timeout(timeout_s)
        )

    def _bulk(
        self, work: Bulk, located: Mapping[int, dict[bytes, bytes]], timeout_s: float | None
    ) -> list[Group]:
        config = self._dispatcher.config
        count = sum(map(len, located.values()))
        if count > config.bulk_items_max:
            raise InvalidArgument(
                f"{count} entries in one call; bulk_items_max is {config.bulk_items_max}"
            )
        groups = grouped(located, config)
        scatter(self._dispatcher, work, groups, timeout_s)
        error = combined_error(groups)
        if error is not None:
            raise error
        return groups

    def _ready(self) -> SpaceCodec:
        return self._codec or self._resolve()

    def _resolve(self) -> SpaceCodec:
        """The codec of a space that was not known when the object was made.

        A space nobody has declared is taken for untyped; the grid then answers UNKNOWN_SPACE.
        """
        if self._dispatcher.closed:
            raise ConnectionLost(CLIENT_CLOSED)
        routes = self._dispatcher.routes
        if self.name not in routes.table.spaces:
            routes.refresh()
        declared = routes.table.spaces.get(self.name)
        if declared is None:
            return SpaceCodec(SpaceSchema(self.name))
        self._codec = SpaceCodec(decode_schema(declared))
        return self._codec
