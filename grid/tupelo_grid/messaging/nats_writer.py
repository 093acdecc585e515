"""A data writer's side of NATS: takes its share of the grid's stream to the store.

    async with NatsWriter(config, writer, grid_id, "writer-1"): ...

Any number of writers, in any processes, divide the groups of partitions by highest random weight
over those that are heard of. When one falls silent the others take over what it had, beginning
with the oldest message that it did not acknowledge.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from types import TracebackType
from typing import Final, Self

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tupelo_grid.config import GridConfig
from tupelo_grid.messaging.nats_beats import Beat, Roll, decode_beat, encode_beat
from tupelo_grid.messaging.nats_group import GroupReader
from tupelo_grid.messaging.nats_link import (
    Link,
    LinkLost,
    ensure_stream,
    open_link,
    whole,
    words,
)
from tupelo_grid.messaging.nats_names import Names, divide
from tupelo_grid.messaging.nats_settings import check_settings
from tupelo_grid.messaging.pump_backoff import Backoff
from tupelo_grid.messaging.writer import DataWriter, WriterStats

log = logging.getLogger(__name__)

RECONNECT_S_MIN: Final = 0.1
HELLO_S: Final = 0.2
"""A new writer listens for so long before it takes anything; the others answer at once."""


class NatsWriter:
    def __init__(
        self,
        config: GridConfig,
        writer: DataWriter,
        grid_id: bytes,
        name: str,
        takes_part: bool = True,
    ) -> None:
        """Frames go to `writer`, which the caller enters before and leaves after this. `grid_id`:
        the 16 raw bytes. With `takes_part` false it only hears what the others say, for `stats`.

        Raises FatalStartError when nats_* of the configuration are wrong.
        """
        check_settings(config)
        self._config = config
        self._writer = writer
        self._grid_id = grid_id
        self._takes_part = takes_part
        self._names = Names(grid_id)
        self.identity = f"{name}-{secrets.token_hex(4)}"
        self._roll = Roll(config.nats_writer_s)
        self._readers: dict[int, tuple[GroupReader, asyncio.Task[None]]] = {}
        self._link: Link | None = None
        self._changed = asyncio.Event()
        self._error = "not connected to NATS yet"
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="nats writer")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What is under way is read again by another writer, or by this one's successor."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @property
    def groups(self) -> set[int]:
        """The groups of partitions that it reads now."""
        return set(self._readers)

    def stats(self) -> WriterStats:
        """Of all writers that are heard of."""
        mine = self._writer.stats()
        now = asyncio.get_running_loop().time()
        others = [one for one in self._roll.live(now) if one.writer != self.identity]
        told = [mine.dead_letters, *(one.dead_letters for one in others)]
        stored = mine.persisted_records if self._takes_part else 0
        return WriterStats(
            stored + sum(one.persisted_records for one in others),
            max(told),
            self._error or self._roll.error(now),
            mine.store,
            mine.waiting_frames,
        )

    async def on_their_way(self, partitions: frozenset[int]) -> str:
        """Why the store may not have all that was published of `partitions`; "": it has.

        Whoever loads them from the store waits for that: what units that are gone have published
        is committed, and would otherwise reach the store behind the loader's back.
        """
        link = self._link
        if link is None:
            return self._error
        try:
            info = await whole(link.js.stream_info(self._names.stream, self._names.stored))
        except (NatsError, TimeoutError) as error:
            return f"stream {self._names.stream}: {words(error)}"
        left = info.state.subjects or {}
        mine = {self._names.partition(partition) for partition in partitions}
        count = sum(messages for subject, messages in left.items() if subject in mine)
        return f"{count} messages are on their way to the store" if count else ""

    async def _run(self) -> None:
        backoff = Backoff(RECONNECT_S_MIN, self._config.nats_retry_s_max)
        while True:
            try:
                await self._session(backoff)
            except LinkLost as error:
                reason = str(error)
            except Exception as error:
                log.exception("the NATS writer failed; it starts again")
                reason = f"internal error: {error!r}"
            reason = f"no NATS server at {self._config.nats_url}: {reason}"
            if reason != self._error:
                log.error("%s", reason)
            self._error = reason
            await asyncio.sleep(backoff.next_s())

    async def _session(self, backoff: Backoff) -> None:
        async with open_link(self._config, self.identity) as link:
            try:
                await ensure_stream(link, self._config, self._names)
                await link.subscribe(self._names.writers, self._on_beat)
                link.lost.add_done_callback(lambda _: self._changed.set())
                self._link = link
                self._error = ""
                backoff.reset()
                await self._take_part(link)
            finally:
                await self._leave(link)

    async def _take_part(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        beat_at = keep_at = float("-inf")
        while True:
            link.check()
            now = loop.time()
            if now - beat_at > self._config.nats_writer_s:
                # New here, or stopped for so long that it knows of nobody any more.
                self._beat(hello=True)
                await self._listen(HELLO_S)
                now = loop.time()
            if now >= beat_at:
                beat_at = now + self._config.nats_heartbeat_s
                self._beat()
            if now >= keep_at:
                keep_at = now + self._config.nats_ack_s / 3
                for reader, _ in self._readers.values():
                    reader.keep()
            if self._takes_part:
                await self._divide(link)
            await self._pause(beat_at - loop.time())

    async def _listen(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        while (left_s := until - asyncio.get_running_loop().time()) > 0:
            await self._pause(left_s)

    async def _pause(self, seconds: float) -> None:
        """Until who takes part changes or the link is lost, at most so long."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()

    # Who takes part.

    def _beat(self, hello: bool = False, leaving: bool = False) -> None:
        if not self._takes_part or self._link is None:
            return
        stats = self._writer.stats()
        beat = Beat(
            self.identity,
            hello,
            leaving,
            stats.error,
            stats.store,
            stats.persisted_records,
            stats.dead_letters,
        )
        self._link.send_soon(self._names.writers, encode_beat(beat))

    async def _on_beat(self, message: Msg) -> None:
        beat = decode_beat(message.data)
        if beat is None:
            return
        if self._roll.hear(beat, asyncio.get_running_loop().time()):
            self._changed.set()
        if beat.hello and beat.writer != self.identity:
            self._beat()

    def _live(self) -> set[str]:
        """Itself only when it heard its own beat come back: a writer that others cannot hear lets
        them have its share, instead of taking turns with them."""
        now = asyncio.get_running_loop().time()
        return {beat.writer for beat in self._roll.live(now)}

    # Its share.

    async def _divide(self, link: Link) -> None:
        """Begins and ends readers so that they are those of its share."""
        mine = {group for group, name in divide(self._live()).items() if name == self.identity}
        surplus = self._readers.keys() - mine
        if mine - self._readers.keys() or surplus:
            log.info("%s reads %d groups of partitions", self.identity, len(mine))
        await self._end([self._readers.pop(group) for group in surplus])
        for group in mine - self._readers.keys():
            reader = GroupReader(
                group,
                self.identity,
                link,
                self._config,
                self._names,
                self._writer,
                self._grid_id,
                self._live,
            )
            task = asyncio.create_task(self._read(link, reader), name=f"nats group {group}")
            self._readers[group] = (reader, task)

    async def _read(self, link: Link, reader: GroupReader) -> None:
        try:
            await reader.run()
        except LinkLost as error:
            link.fail(str(error))
        except (NatsError, TimeoutError) as error:
            link.fail(words(error))
        except Exception as error:
            log.exception("group %d cannot be read", reader.group)
            link.fail(f"internal error: {error!r}")

    async def _end(self, readers: list[tuple[GroupReader, asyncio.Task[None]]]) -> None:
        for _, task in readers:
            task.cancel()
        if readers:
            await asyncio.wait([task for _, task in readers])
        await asyncio.gather(*(reader.leave() for reader, _ in readers))

    async def _leave(self, link: Link) -> None:
        readers = list(self._readers.values())
        self._readers.clear()
        try:
            async with asyncio.timeout(self._config.rpc_timeout_s):
                await self._end(readers)
                self._beat(leaving=True)
                await link.flush()
        except (TimeoutError, NatsError) as error:
            log.debug("leaving: %s", words(error))
        finally:
            self._link = None
