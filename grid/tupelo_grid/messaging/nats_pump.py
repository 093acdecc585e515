"""The data pump over NATS JetStream: what a unit has committed goes into the grid's stream.

A published message is no persisted one: JetStream's acknowledgement only ends its being sent again.
The journal is trimmed by the cursor in the writer's answer and by nothing else, so whatever happens
to the stream, the journal has what the store does not.

A message whose answer does not come is asked for in the stream. Is it there, a writer will come to
it. Is it not, it was handled and the answer was lost, or the stream was: only the store knows, so
the partition is claimed again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2

from tupelo_grid.config import GridConfig
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.pump_frames import Answer, PumpAck, PumpFrame
from tupelo_grid.core.pump_port import PumpLimits, PumpSource
from tupelo_grid.core.pump_split import SplitPump, subject_of
from tupelo_grid.messaging.nats_beats import Roll, decode_beat
from tupelo_grid.messaging.nats_link import (
    Link,
    LinkLost,
    OnStored,
    ensure_stream,
    has_message,
    open_link,
)
from tupelo_grid.messaging.nats_names import Names, message_id
from tupelo_grid.messaging.nats_parts import split
from tupelo_grid.messaging.nats_settings import check_settings
from tupelo_grid.messaging.pump import DataPump, StreamLost
from tupelo_grid.messaging.pump_wire import BadFrame, decode_ack, encode_frame

log = logging.getLogger(__name__)

PUBLISH_TRIES: Final = 3
SWEEP_S: Final = 0.25
"""Messages that wait too long are looked for so often."""
ASKED_AT_A_TIME: Final = 32
"""Messages looked up in the stream at a time, the longest waiting first."""


@dataclass(slots=True)
class _Part:
    headers: dict[str, str]
    data: bytes
    on_stored: OnStored
    sent_at: float = 0.0
    tries: int = 0
    sequence: int = 0  # in the stream; 0: not acknowledged yet


@dataclass(slots=True)
class _Flight:
    """A frame on its way."""

    frame: PumpFrame
    subject: str
    asked_at: float
    parts: list[_Part] = field(default_factory=list)


class NatsPump(DataPump):
    """As DataPump, with nats_* of the configuration. Raises FatalStartError when those are wrong.

    It takes up to `nats_in_flight_max` messages into the stream, and each partition one at a time:
    what is committed meanwhile is one message, however long the store takes.
    """

    _core: SplitPump

    def __init__(
        self,
        config: GridConfig,
        source: PumpSource,
        incarnation: str,
        grid_id: bytes,
        clock: Clock,
        schemas: Mapping[str, SpaceSchema] | None = None,
    ) -> None:
        check_settings(config)
        super().__init__(config, source, incarnation, grid_id, clock, schemas, config.nats_url)
        self._reconnect_s_max = config.nats_retry_s_max
        self._names = Names(grid_id)
        self._run_id = secrets.token_hex(4)
        self._roll = Roll(config.nats_writer_s)
        self._flights: dict[int, _Flight] = {}
        self._begun_at = 0.0
        self._sweep_at = 0.0

    def _make_core(
        self, source: PumpSource, limits: PumpLimits, schemas: Mapping[str, SpaceSchema]
    ) -> SplitPump:
        config = self._config
        return SplitPump(
            source,
            PumpLimits(
                batch_records=limits.batch_records,
                batch_bytes=min(limits.batch_bytes, config.nats_message_bytes_max),
                batch_s=limits.batch_s,
                frames_in_flight=config.nats_in_flight_max,
            ),
            schemas,
        )

    @property
    def _peer(self) -> str:
        return f"NATS server at {self._address}"

    async def _one_stream(self) -> None:
        try:
            async with open_link(self._config, self._incarnation) as link:
                await ensure_stream(link, self._config, self._names)
                await link.subscribe(self._names.answers(self._incarnation), self._on_answer)
                await link.subscribe(self._names.writers, self._on_beat)
                link.lost.add_done_callback(lambda _: self._wake.set())
                self._begun_at = self._clock.now()
                while True:
                    link.check()
                    await self._turn(link)
        except LinkLost as error:
            raise StreamLost(str(error)) from error
        finally:
            self._flights.clear()

    async def _turn(self, link: Link) -> None:
        """Sends what there is, or waits for something to happen."""
        self._look()
        now = self._clock.now()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self._listen(now)
            await self._sweep(link, now)
        frames: list[PumpFrame] = []
        if now >= self._retry_at:
            frames = self._core.next_frames(now, flush=self._drains > 0)
        for frame in frames:
            await self._send(link, frame, now)
        if frames:
            self._changes.set()
        else:
            await self._sleep(self._tick_s)

    # To the stream.

    async def _send(self, link: Link, frame: PumpFrame, now: float) -> None:
        message = encode_frame(frame, self._grid_id, self._incarnation)
        size = min(self._config.nats_message_bytes_max, link.data_bytes_max)
        identity = message_id(frame, self._run_id)
        partition = subject_of(frame)[0]
        flight = _Flight(frame, self._names.partition(partition), now)
        self._flights[frame.position] = flight
        for index, (headers, data) in enumerate(split(message.SerializeToString(), identity, size)):
            on_stored = partial(self._on_stored, frame.position, index)
            flight.parts.append(_Part(headers, data, on_stored))
        for part in flight.parts:
            await self._publish(link, flight, part, now)

    async def _publish(self, link: Link, flight: _Flight, part: _Part, now: float) -> None:
        if part.tries == PUBLISH_TRIES:
            raise LinkLost(f"JetStream acknowledged nothing in {PUBLISH_TRIES} tries")
        if part.tries:
            link.forget(part.on_stored)
        part.tries += 1
        part.sent_at = now
        await link.publish(flight.subject, part.data, part.headers, part.on_stored)

    def _on_stored(self, position: int, index: int, sequence: int, error: str) -> None:
        flight = self._flights.get(position)
        if flight is None:
            return
        if error:
            self._again(position, f"the stream {self._names.stream} took nothing: {error}")
            return
        part = flight.parts[index]
        part.sequence = sequence
        if all(one.sequence for one in flight.parts):
            # Only what tells this message from another one that got its place is needed on.
            part.data = b""
            flight.asked_at = self._clock.now()

    def _again(self, position: int, reason: str) -> None:
        """The store is to be asked where the partition stands, after a pause."""
        flight = self._flights.pop(position)
        partition, epoch, _, _ = subject_of(flight.frame)
        answers = [(partition, epoch, 0, Answer.RETRY)]
        self._take(PumpAck(position, answers, error=reason))

    # From the writers.

    async def _on_answer(self, message: Msg) -> None:
        try:
            ack = decode_ack(pump_pb2.PumpAck.FromString(message.data))
        except (BadFrame, DecodeError) as error:
            raise LinkLost(f"an answer of a writer makes no sense: {error}") from error
        self._connected = True
        if self._flights.pop(ack.position, None) is not None:
            self._take(ack)

    def _take(self, ack: PumpAck) -> None:
        if self._core.on_ack(ack):
            self._retry.reset()
            self._error = ""
        else:
            self._retry_at = self._clock.now() + self._retry.next_s()
            self._set_error(ack.error)
        self._wake.set()
        self._changes.set()

    async def _on_beat(self, message: Msg) -> None:
        beat = decode_beat(message.data)
        if beat is None:
            return
        self._connected = True
        self._roll.hear(msgspec.structs.replace(beat, store=""), self._clock.now())

    def _listen(self, now: float) -> None:
        """While something waits, what the writers say is why."""
        error = self._roll.error(now)
        if now - self._begun_at < self._config.nats_writer_s and not self._roll.live(now):
            return  # they had no time to be heard
        self._connected = bool(self._roll.live(now))
        if error and self._flights:
            self._set_error(error)

    # What takes too long.

    async def _sweep(self, link: Link, now: float) -> None:
        """Sends again what JetStream did not acknowledge; asks for what no writer answered."""
        waiting: list[_Flight] = []
        for flight in list(self._flights.values()):
            late = [part for part in flight.parts if not part.sequence]
            for part in late:
                if now - part.sent_at >= self._config.nats_publish_s:
                    await self._publish(link, flight, part, now)
            if not late and now - flight.asked_at >= self._config.nats_answer_s:
                waiting.append(flight)
        waiting.sort(key=lambda flight: flight.asked_at)
        await asyncio.gather(*(self._ask(link, one) for one in waiting[:ASKED_AT_A_TIME]))

    async def _ask(self, link: Link, flight: _Flight) -> None:
        flight.asked_at = self._clock.now()
        there = True
        for part in flight.parts:
            there = there and await has_message(link, self._names, part.sequence, part.headers)
        position = flight.frame.position
        # The answer may have come in the meantime.
        if not there and self._flights.get(position) is flight:
            self._again(position, f"the stream {self._names.stream} lost changes; they are resent")
