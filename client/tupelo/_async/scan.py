"""Scans: pages of every partition in turn, several partitions asked at the same time."""

from __future__ import annotations

from collections import deque
from typing import Generic, Self, TypeVar

import msgspec

from tupelo import kinds
from tupelo._async import runtime
from tupelo._async.dispatch import Dispatcher
from tupelo._async.scatter import scatter
from tupelo.codec import SpaceCodec
from tupelo.errors import InvalidArgument
from tupelo.pages import Place, decode_place, encode_place
from tupelo.pieces import Ask, Asking, combined_error, decode_page
from tupelo.results import Item
from tupelo.seconds import timeout

V = TypeVar("V")


class Scan(Generic[V]):
    """An iterator over the entries of a space.

    `page_token` is at any moment a token to go on behind the entry that came last, in another
    process too if need be; "" before the first entry and after the last one.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        space: str,
        codec: runtime.CodecLoader,
        page_size: int | None,
        page_token: str,
        timeout_s: float | None,
    ) -> None:
        config = dispatcher.config
        self._limit = config.scan_page_size if page_size is None else page_size
        if self._limit.__class__ is not int or not 0 < self._limit <= config.frame_ops_max:
            raise InvalidArgument(f"page_size must be in 1..{config.frame_ops_max}")
        self._dispatcher = dispatcher
        self._space = space
        self._load_codec = codec
        self._codec: SpaceCodec | None = None
        self._timeout_s = None if timeout_s is None else timeout(timeout_s)
        self._next = decode_place(page_token)
        self._last: Place | None = self._next if page_token else None
        self._rows: deque[tuple[int, bytes, bytes, int]] = deque()

    @property
    def page_token(self) -> str:
        """Where to go on, as text that can be kept."""
        return encode_place(self._last) if self._last else ""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item[V]:
        while not self._rows:
            if self._next.partition >= self._dispatcher.partitions:
                self._last = None
                raise StopAsyncIteration
            await self._load()
        return self._take()

    async def page(self) -> list[Item[V]]:
        """The next entries, `page_size` at most; empty when there are no more.

        Set `page_token` aside with it, to continue there later.
        """
        items: list[Item[V]] = []
        while len(items) < self._limit:
            if self._rows:
                items.append(self._take())
            elif self._next.partition >= self._dispatcher.partitions:
                break
            else:
                await self._load()
        if not items:
            self._last = None
        return items

    def _take(self) -> Item[V]:
        codec = self._codec
        assert codec is not None
        partition, key, value, version = self._rows.popleft()
        self._last = Place(partition, key)
        own = codec.decode_key(key)
        return Item(own, codec.decode_entry(own, value), version)

    async def _load(self) -> None:
        """One page of each of the next partitions; what comes after a full page waits its turn."""
        if self._codec is None:
            self._codec = await self._load_codec()
        dispatcher = self._dispatcher
        start = self._next
        stop = min(start.partition + dispatcher.config.scan_partitions, dispatcher.partitions)
        limit = msgspec.msgpack.encode([self._limit])
        asks = [
            Ask(partition, start.after if partition == start.partition else b"", limit)
            for partition in range(start.partition, stop)
        ]
        await scatter(
            dispatcher, Asking(kinds.SCAN, self._space, decode_page), asks, self._timeout_s
        )
        error = combined_error(asks)
        if error is not None:
            raise error
        self._next = Place(stop, b"")
        for ask in asks:
            rows: list[tuple[bytes, bytes, int]] = ask.answer
            self._rows += [(ask.partition, key, value, version) for key, value, version in rows]
            if len(rows) >= self._limit:
                self._next = Place(ask.partition, rows[-1][0])
                break
