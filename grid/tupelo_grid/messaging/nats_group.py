"""One group of partitions as one data writer reads it: in order, acknowledged after the commit.

The stream is a work queue, in which the server allows one consumer a subject. So a group has one
reader, and whoever takes a group over deletes the consumer of the one before: its own then begins
with the oldest message that nobody has acknowledged. What both may have in hand is harmless, since
the store takes a batch only at its cursor and under its epoch.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError
from tupelo.v1 import pump_pb2

from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import PumpAck, PumpFrame
from tupelo_grid.messaging.nats_link import Link, LinkLost, whole, words
from tupelo_grid.messaging.nats_names import Names, consumer_name, consumer_owner
from tupelo_grid.messaging.nats_parts import Assembler, BadPart
from tupelo_grid.messaging.pump_wire import BadFrame, decode_frame, encode_ack
from tupelo_grid.messaging.writer import DataWriter

log = logging.getLogger(__name__)

PULL_S: Final = 10.0
"""An idle pull ends after so long, and the next one begins."""
PULL_LATE_S: Final = 2.0
"""A pull that ended so long ago and did not say so was lost: the consumer is looked for."""
TAKE_PAUSE_S: Final = 0.2
"""Between looks whether the reader before has let the group go."""
INACTIVE_S: Final = 60.0
"""After so long without a reader the server forgets a consumer by itself."""

ALREADY_READ: Final = (10100, 10099)
"""JetStream's codes for a consumer whose subjects another one reads."""
STILL_THERE: Final = ("404", "408")
"""What a pull may end with that says nothing about the consumer: no message, time is up."""
TOO_LARGE: Final = "Message Size Exceeds MaxBytes"
WORKING, DONE = b"+WPI", b"+ACK"


class GroupReader:
    """`run` reads until it is cancelled or the link is lost; `live()` are the writers that take
    part. What was taken and not acknowledged then is somebody else's to read again."""

    def __init__(
        self,
        group: int,
        owner: str,
        link: Link,
        config: GridConfig,
        names: Names,
        writer: DataWriter,
        grid_id: bytes,
        live: Callable[[], set[str]],
    ) -> None:
        self.group = group
        self._link = link
        self._config = config
        self._names = names
        self._writer = writer
        self._grid_id = grid_id
        self._live = live
        self._owner = owner
        self._turn = 0
        self._consumer = ""
        self._parts: Assembler[Msg] = Assembler()
        self._inbox = ""
        self._pulled = 0  # messages still to come of the pull under way; 0: none is
        self._pulls = 0
        self._pulled_at = 0.0
        self._bytes_max = config.nats_pull_bytes_max
        self._held: dict[str, None] = {}  # to be acknowledged, by reply subject
        self._gone = asyncio.Event()
        self._again: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        self._inbox = self._link.client.new_inbox()
        subscription = await self._link.subscribe(f"{self._inbox}.*", self._on_message)
        try:
            while True:
                await self._take()
                self._gone.clear()
                self._pulled = 0
                self._held.clear()
                await self._pull()
                await self._until_gone()
                # Begun anew, it gives out first what is in hand and nobody has acknowledged.
                await self.leave()
        finally:
            for task in self._again:
                task.cancel()
            if not self._link.lost.done():
                await subscription.unsubscribe()

    async def leave(self) -> None:
        """Lets the group go at once, so that the next reader need not wait."""
        if not self._consumer:
            return
        try:
            await whole(self._link.js.delete_consumer(self._names.stream, self._consumer))
        except (NatsError, TimeoutError) as error:
            log.debug("%s: %s", self._consumer, words(error))

    # The consumer.

    async def _take(self) -> None:
        """Makes the consumer; waits while another live writer has one."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._config.nats_writer_s
        while True:
            self._turn += 1
            self._consumer = consumer_name(self.group, self._turn, self._owner)
            try:
                if await self._make():
                    return
                await self._evict(loop.time() >= patience)
            except TimeoutError:
                # A cluster that lost a server is not ready again at once.
                log.warning("%s: no answer in time", self._consumer)
            await asyncio.sleep(TAKE_PAUSE_S)

    async def _make(self) -> bool:
        """False: another consumer has the group."""
        try:
            await whole(self._link.js.add_consumer(self._names.stream, self._settings()))
        except NotFoundError as error:
            raise LinkLost("the stream is gone") from error
        except APIError as error:
            if error.err_code not in ALREADY_READ:
                raise
            return False
        return True

    def _settings(self) -> ConsumerConfig:
        """Kept in memory: a server that comes back without it makes its reader take it again."""
        return ConsumerConfig(
            name=self._consumer,
            filter_subject=self._names.group(self.group),
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._config.nats_ack_s,
            max_ack_pending=2 * self._config.nats_pull_messages,
            inactive_threshold=INACTIVE_S,
            mem_storage=True,
        )

    async def _evict(self, impatient: bool) -> None:
        """Deletes the consumer that has the group, when its owner is gone or does not let go, or
        is this reader, which does not know of it any more."""
        mine = self._names.group(self.group)
        live = self._live()
        for info in await whole(self._link.js.consumers_info(self._names.stream)):
            name = info.name or ""
            taken = info.config is not None and info.config.filter_subject == mine
            owner = consumer_owner(name)
            if not taken or (owner in live and owner != self._owner and not impatient):
                continue
            log.info("taking group %d over from %s", self.group, name)
            try:
                await whole(self._link.js.delete_consumer(self._names.stream, name))
            except NotFoundError:
                log.debug("%s has gone by itself", name)

    async def _until_gone(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._gone.is_set():
            try:
                async with asyncio.timeout(PULL_S / 4):
                    await self._gone.wait()
            except TimeoutError:
                if self._pulled and loop.time() > self._pulled_at + PULL_S + PULL_LATE_S:
                    return

    # Messages.

    async def _pull(self) -> None:
        """Asks for more, unless that is under way or enough is in hand."""
        size = self._config.nats_pull_messages
        assert self._inbox, "nobody pulls before `run`"
        if self._pulled or len(self._held) >= size:
            return
        self._pulled = size
        self._pulls += 1
        self._pulled_at = asyncio.get_running_loop().time()
        request = {
            "batch": size,
            "max_bytes": self._bytes_max,
            "expires": round(PULL_S * 1e9),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._names.stream}.{self._consumer}"
        reply = f"{self._inbox}.{self._pulls}"
        await self._link.client.publish(subject, json.dumps(request).encode(), reply)

    async def _on_message(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status", "")
        if status and not message.data:
            if message.subject != f"{self._inbox}.{self._pulls}" or not self._pulled:
                return  # of a pull that is over: it has brought all that it was to bring
            nothing_came = self._pulled == self._config.nats_pull_messages
            self._pulled = 0
            about = (message.headers or {}).get("Description", "")
            if about == TOO_LARGE and nothing_came:
                self._bytes_max *= 2
            if status in STILL_THERE or about == TOO_LARGE:
                await self._pull()
            else:
                log.info("%s: %s %s", self._consumer, status, about)
                self._gone.set()
            return
        self._pulled = max(0, self._pulled - 1)
        self._held[message.reply] = None
        await self._read(message)
        await self._pull()

    async def _read(self, message: Msg) -> None:
        try:
            whole, messages, given_up = self._parts.add(
                message.subject, message.headers, message.data, message
            )
        except BadPart as error:
            log.error("passing over a message on %s: %s", message.subject, error)
            self._done([message])
            return
        self._done(given_up)
        if whole is None:
            return
        try:
            frame, sender = self._decode(whole)
        except (BadFrame, DecodeError) as error:
            # Its sender finds that it is gone and asks the store where it stands.
            log.error("passing over a frame on %s: %s", message.subject, error)
            self._done(messages)
            return
        self._watch(await self._writer.submit(frame), frame, sender, messages)

    def _decode(self, data: bytes) -> tuple[PumpFrame, str]:
        found = pump_pb2.PumpFrame.FromString(data)
        if found.grid_id != self._grid_id:
            raise BadFrame(f"it is of grid {found.grid_id.hex() or 'none'}")
        return decode_frame(found), found.sender

    # Answers.

    def _watch(
        self,
        stored: asyncio.Future[PumpAck],
        frame: PumpFrame,
        sender: str,
        messages: list[Msg],
    ) -> None:
        def on_stored(done: asyncio.Future[PumpAck]) -> None:
            if done.cancelled() or self._link.lost.done():
                return
            if done.result().away:
                # It stays ours and in its place; the writer paused before it said so.
                task = asyncio.ensure_future(self._submit_again(frame, sender, messages))
                self._again.add(task)
                task.add_done_callback(self._again.discard)
                return
            answer: Any = encode_ack(done.result())
            self._link.send_soon(self._names.answers(sender), answer.SerializeToString())
            self._done(messages)
            if not self._pulled:
                task = asyncio.ensure_future(self._pull_soon())
                self._again.add(task)
                task.add_done_callback(self._again.discard)

        stored.add_done_callback(on_stored)

    async def _submit_again(self, frame: PumpFrame, sender: str, messages: list[Msg]) -> None:
        self._watch(await self._writer.submit(frame), frame, sender, messages)

    async def _pull_soon(self) -> None:
        try:
            await self._pull()
        except NatsError as error:
            self._link.fail(words(error))

    def _done(self, messages: list[Msg]) -> None:
        for message in messages:
            self._held.pop(message.reply, None)
            self._link.send_soon(message.reply, DONE)

    def keep(self) -> None:
        """Tells the server that what is in hand is worked on; to be called well within
        nats_ack_s. What cannot be completed any more is let go."""
        self._done(self._parts.grow_older())
        for reply in self._held:
            self._link.send_soon(reply, WORKING)
