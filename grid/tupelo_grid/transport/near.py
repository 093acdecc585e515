"""The server's side of near caches: one stream a client, frames from cursors over the journals."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc
import grpc.aio
from tupelo.v1.data_pb2 import NearFrame, NearRequest

from tupelo_grid.config import GridConfig
from tupelo_grid.core.near import NearColumns, NearFeed, NearLimits, NearSource

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[NearRequest, NearFrame]

_EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it


class NearStreams:
    """All near-cache streams of one unit.

    While there are some, the journals are looked at every `near_interval_s`, once for all of them.

    Args:
        source: the unit's journals.
        grid_id: 16 bytes; a client that names another grid is refused.
    """

    def __init__(self, source: NearSource, config: GridConfig, grid_id: bytes) -> None:
        self._source = source
        self._config = config
        self._grid_id = grid_id
        self._limits = NearLimits(
            config.near_records_max, config.near_bytes_max, config.near_lag_records_max
        )
        self._open: set[_Stream] = set()
        self._closed = False
        self._looker: asyncio.Task[None] | None = None

    @property
    def open_streams(self) -> int:
        return len(self._open)

    async def serve(self, context: Context) -> None:
        """The body of the Near RPC; returns when the client closes its side, or at `close`."""
        if self._closed:
            return
        if len(self._open) >= self._config.near_streams_max:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{len(self._open)} near caches follow this unit already; use fewer clients with "
                "one, or raise near_streams_max",
            )
        first = await context.read()
        if first is _EOF:
            return
        if first.grid_id and first.grid_id != self._grid_id:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"this unit belongs to grid {self._grid_id.hex()}, not {first.grid_id.hex()}",
            )
        feed = NearFeed(self._source, list(first.spaces), self._limits)
        feed.ask(first.ping)
        stream = _Stream(context, feed, self._config.near_interval_s)
        self._open.add(stream)
        if self._looker is None or self._looker.done():
            self._looker = asyncio.get_running_loop().create_task(self._look())
        try:
            await stream.run()
        finally:
            self._open.discard(stream)

    async def _look(self) -> None:
        """Finds the partitions with new commits, as long as somebody wants to know."""
        seen: dict[int, int] = {}
        while self._open:
            source = self._source
            now = {partition: source.committed(partition) for partition in source.serving()}
            changed = [number for number, commit in now.items() if seen.get(number) != commit]
            seen = now
            if changed:
                for stream in self._open:
                    stream.look(changed)
            await asyncio.sleep(self._config.near_interval_s)

    def close(self) -> None:
        """Ends all streams."""
        self._closed = True
        if self._looker is not None:
            self._looker.cancel()
        for stream in self._open:
            stream.stop()


class _Stream:
    def __init__(self, context: Context, feed: NearFeed, pause_s: float) -> None:
        self._context = context
        self._feed = feed
        self._pause_s = pause_s
        self._wake = asyncio.Event()
        self._ended = False

    def look(self, partitions: list[int]) -> None:
        self._feed.look(partitions)
        self._wake.set()

    def stop(self) -> None:
        self._ended = True
        self._wake.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read())
                await self._write()
                reader.cancel()
        except* (grpc.aio.UsageError, grpc.aio.BaseError):
            # The RPC ended between two of our steps: nobody is left to tell.
            log.debug("near-cache stream ended by its client")

    async def _read(self) -> None:
        while True:
            request = await self._context.read()
            if request is _EOF:
                self.stop()
                return
            self._feed.ask(request.ping)
            self._wake.set()
            # What comes faster is left to flow control: the newest question counts.
            await asyncio.sleep(self._pause_s)

    async def _write(self) -> None:
        while not self._ended:
            columns = self._feed.frame()
            if columns is None:
                self._wake.clear()
                await self._wake.wait()
            else:
                # While a slow client holds this up, its cursors stay where they are.
                await self._context.write(frame_of(columns))


def frame_of(columns: NearColumns) -> NearFrame:
    return NearFrame(
        echo=columns.echo,
        partitions=columns.partitions,
        epochs=columns.epochs,
        after=columns.after,
        through=columns.through,
        resets=bytes(columns.resets) if any(columns.resets) else b"",
        counts=columns.counts if columns.keys else (),
        keys=columns.keys,
        versions=columns.versions,
        space_index=columns.space_index if any(columns.space_index) else (),
    )
