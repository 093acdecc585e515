"""A connection to a NATS server, used until it is lost; then the caller makes a new one.

    async with open_link(config, "unit-1#3") as link:
        await ensure_stream(link, config, names)
        await link.subscribe(subject, on_message)
        await link.publish(subject, data, headers, on_stored)
        await link.lost                     # raises LinkLost with the reason

The client's own reconnecting is off: what was under way when a connection broke is in doubt, and
only the pump and the writers know what to ask then.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from tupelo_grid.config import GridConfig
from tupelo_grid.messaging.nats_names import Names
from tupelo_grid.messaging.nats_settings import login, servers, tls

log = logging.getLogger(__name__)

Result = TypeVar("Result")
OnMessage = Callable[[Msg], Awaitable[None]]
OnStored = Callable[[int, str], None]
"""(sequence in the stream, "") or (0, why the stream did not take it)."""

HEADERS_BYTES: Final = 1024
"""Of a message's size that is kept for subject and headers."""
CLOSE_S: Final = 1.0


async def whole(call: Coroutine[Any, Any, Result]) -> Result:
    """`await call`, for calls of the client that wait for an answer.

    Before Python 3.12 asyncio.wait_for, which the client uses for them, forgets that it was
    cancelled when the answer comes at the same moment; the caller's task would go on for ever.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        # Nobody waits for what it may have raised.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise
    return task.result()


class LinkLost(Exception):
    """The connection ended, or is of no use any more. The text never holds credentials."""


class Link:
    """See the module. `lost` is done, with a LinkLost, once it is of no use any more."""

    def __init__(self, client: Client, config: GridConfig) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=config.nats_publish_s)
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whoever waits gets it; nobody waiting is no reason for a warning at exit.
        self.lost.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._inbox = ""
        self._tokens = itertools.count(1)
        self._unstored: dict[str, OnStored] = {}
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._outgoing = asyncio.Event()

    @property
    def data_bytes_max(self) -> int:
        """Of one message, as the server has it."""
        return max(1, self.client.max_payload - HEADERS_BYTES)

    def fail(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_exception(LinkLost(reason))

    def check(self) -> None:
        """Raises LinkLost when it is lost."""
        if self.lost.done():
            self.lost.result()

    async def subscribe(self, subject: str, on_message: OnMessage) -> Subscription:
        """Messages one after the other. What `on_message` raises loses the link."""

        async def guarded(message: Msg) -> None:
            try:
                await on_message(message)
            except LinkLost as error:
                self.fail(str(error))
            except NatsError as error:
                self.fail(words(error))
            except Exception as error:
                log.exception("a message on %s could not be handled", subject)
                self.fail(f"internal error: {error!r}")

        return await self.client.subscribe(subject, cb=guarded)

    async def publish(
        self, subject: str, data: bytes, headers: dict[str, str], on_stored: OnStored
    ) -> None:
        """Into the stream. `on_stored` is called with its answer, unless the link is lost first."""
        if not self._inbox:
            inbox = self.client.new_inbox()
            await self.subscribe(f"{inbox}.*", self._on_stored)
            self._inbox = inbox
        token = str(next(self._tokens))
        self._unstored[token] = on_stored
        await self.client.publish(subject, data, f"{self._inbox}.{token}", headers)

    def forget(self, on_stored: OnStored) -> None:
        """An answer that still comes is nobody's."""
        for token in [token for token, one in self._unstored.items() if one is on_stored]:
            del self._unstored[token]

    async def _on_stored(self, message: Msg) -> None:
        on_stored = self._unstored.pop(message.subject.rpartition(".")[2], None)
        if on_stored is None:
            return
        if (message.headers or {}).get("Status"):
            raise LinkLost("the stream is gone")
        answer: dict[str, Any] = json.loads(message.data)
        error = answer.get("error")
        if error is None:
            on_stored(int(answer["seq"]), "")
        else:
            on_stored(0, str(error.get("description") or error))

    def send_soon(self, subject: str, data: bytes = b"") -> None:
        """To whoever listens, in the order of the calls; not stored, not acknowledged."""
        self._outbox.append((subject, data))
        self._outgoing.set()

    async def flush(self) -> None:
        """Until the server has what `send_soon` was given."""
        while self._outbox:
            await self.client.publish(*self._outbox.popleft())
        await whole(self.client.flush())

    async def run_outbox(self) -> None:
        while True:
            await self._outgoing.wait()
            self._outgoing.clear()
            try:
                while self._outbox:
                    await self.client.publish(*self._outbox.popleft())
            except NatsError as error:
                self.fail(words(error))
                return


def words(error: BaseException) -> str:
    """An error of the client's, for a person."""
    if isinstance(error, APIError):
        if isinstance(error, ServiceUnavailableError):
            return error.description or "JetStream does not answer: is it enabled at the server?"
        return str(error.description or error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).removeprefix("nats: ") or type(error).__name__


@asynccontextmanager
async def open_link(config: GridConfig, name: str) -> AsyncIterator[Link]:
    """Raises LinkLost when the server cannot be reached, or refuses; the caller tries again."""
    client = Client()
    link: Link | None = None
    heard = ""

    async def on_error(error: Exception) -> None:
        nonlocal heard
        heard = words(error)
        log.debug("nats: %s", heard)

    async def on_closed() -> None:
        if link is not None:
            link.fail(heard or "the connection was closed")

    try:
        async with asyncio.timeout(config.nats_connect_s):
            connecting = client.connect(
                servers(config),
                name=name,
                error_cb=on_error,
                closed_cb=on_closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=max(1, round(config.nats_connect_s)),
                ping_interval=max(1, round(config.keepalive_s)),
                max_outstanding_pings=1,
                # Without a connection nothing is held back here: the journals do that.
                pending_size=0,
                **login(config),
                **tls(config),
            )
            await whole(connecting)
    except (NatsError, OSError, TimeoutError, ssl.SSLError) as error:
        await _close(client)
        raise LinkLost(heard or words(error)) from error
    except BaseException:
        await _close(client)
        raise
    link = Link(client, config)
    outbox = asyncio.create_task(link.run_outbox(), name="nats outbox")
    try:
        yield link
    except NatsError as error:
        raise LinkLost(words(error)) from error
    finally:
        link.fail("closed")
        outbox.cancel()
        await asyncio.wait([outbox])
        await _close(client)


async def _close(client: Client) -> None:
    """A server that does not read any more must not hold up whoever wants another one."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await whole(client.close())
    except Exception as error:
        log.debug("nats: closing: %r", error)


async def ensure_stream(link: Link, config: GridConfig, names: Names) -> None:
    """Makes the grid's stream, or gives it the limits of `config`. Raises LinkLost.

    What has been handled leaves the stream (work queue); when it is full, what is new is refused.
    """
    wanted = StreamConfig(
        name=names.stream,
        description="tupelo: changes on their way to the store",
        subjects=[names.stored],
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_bytes=config.nats_stream_bytes_max,
        max_age=config.nats_stream_age_s_max,
        num_replicas=config.nats_replicas,
        duplicate_window=_duplicates_s(config),
    )
    try:
        try:
            found = (await whole(link.js.stream_info(names.stream))).config
        except NotFoundError:
            await whole(link.js.add_stream(wanted))
            log.info("made the stream %s", names.stream)
            return
        if found.retention != RetentionPolicy.WORK_QUEUE:
            raise LinkLost(f"the stream {names.stream} is no work queue: delete it")
        fields = ("max_bytes", "max_age", "num_replicas", "duplicate_window", "subjects")
        if any(getattr(found, field) != getattr(wanted, field) for field in fields):
            await whole(link.js.update_stream(wanted))
            log.info("the stream %s has new limits", names.stream)
    except (NatsError, TimeoutError) as error:
        raise LinkLost(f"stream {names.stream}: {words(error)}") from error


def _duplicates_s(config: GridConfig) -> float:
    """JetStream wants it to be no longer than messages live."""
    age_s = config.nats_stream_age_s_max
    return min(config.nats_duplicates_s, age_s) if age_s else config.nats_duplicates_s


async def has_message(link: Link, names: Names, sequence: int, headers: Mapping[str, str]) -> bool:
    """Whether the stream still has the message that got `sequence`, and not another one there.

    Raises LinkLost.
    """
    try:
        found = await whole(link.js.get_msg(names.stream, seq=sequence))
    except NotFoundError:
        return False
    except (NatsError, TimeoutError) as error:
        raise LinkLost(f"stream {names.stream}: {words(error)}") from error
    have = found.headers or {}
    return all(have.get(name) == value for name, value in headers.items())
