"""The data pump: the part of a unit that carries its journals to the data writer.

    async with DataPump(config, source, incarnation, grid_id, clock, schemas) as pump: ...

What to send is decided by `tupelo_grid.core.pump`; here is the stream it goes over. Losing the
stream, the writer or the store loses nothing: the journal keeps what is not persisted, and the
partitions are claimed again on the next stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from tupelo.schema import SpaceSchema
from tupelo.v1 import pump_pb2, pump_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_parts import PartitionLag
from tupelo_grid.core.pump_port import PumpLimits, PumpSource
from tupelo_grid.messaging.pump_backoff import Backoff
from tupelo_grid.messaging.pump_wire import BadFrame, decode_ack, encode_frame
from tupelo_grid.runtime.servers import check_cancelled, open_channel

log = logging.getLogger(__name__)

Call = grpc.aio.StreamStreamCall[pump_pb2.PumpFrame, pump_pb2.PumpAck]

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it

RECONNECT_S_MIN: Final = 0.1
RECONCILE_S: Final = 1.0
"""Roles are compared with the source's so often; commits are noticed at once."""
TICK_S_MAX: Final = 0.1
"""Commits are looked for at least this often while nothing else happens."""
FRAME_BYTES_SHARE: Final = 2
"""Keys and values take at most this part of a message: the rest is for the other columns."""


class StreamLost(Exception):
    """The stream to the writer ended, or is of no use any more."""


class DataPump:
    def __init__(
        self,
        config: GridConfig,
        source: PumpSource,
        incarnation: str,
        grid_id: bytes,
        clock: Clock,
        schemas: Mapping[str, SpaceSchema] | None = None,
        address: str = "",
    ) -> None:
        """`grid_id`: the 16 raw bytes. `schemas` may change while the pump runs; it says which
        spaces are persisted and coalesced. `address` of the writer; default: the messaging process.
        """
        limits = PumpLimits(
            batch_records=config.pump_batch_records,
            batch_bytes=config.message_bytes_max // FRAME_BYTES_SHARE,
            batch_s=config.pump_batch_s,
            frames_in_flight=config.pump_frames_in_flight,
        )
        self._config = config
        self._core = self._make_core(source, limits, {} if schemas is None else schemas)
        self._incarnation = incarnation
        self._grid_id = grid_id
        self._clock = clock
        self._address = address or config.messaging_address
        self._reconnect_s_max = config.store_retry_s_max
        self._answer_s_max = config.pump_answer_s_max + config.store_retry_s_max
        self._tick_s = min(TICK_S_MAX, config.pump_batch_s / 4)
        self._wake = asyncio.Event()
        self._changes = asyncio.Event()
        self._drains = 0
        self._retry = Backoff(RECONNECT_S_MIN, config.pump_retry_s_max)
        self._retry_at = 0.0
        self._reconcile_at = 0.0
        self._answered_at = 0.0
        self._connected = False
        self._error = ""
        self._task: asyncio.Task[None] | None = None

    def _make_core(
        self, source: PumpSource, limits: PumpLimits, schemas: Mapping[str, SpaceSchema]
    ) -> Pump:
        return Pump(source, limits, schemas)

    @property
    def _peer(self) -> str:
        """Who is missed when the stream is lost, for a person."""
        return f"data writer at {self._address}"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="data pump")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    # How it stands.

    @property
    def lag_records(self) -> int:
        """Committed records of this unit's partitions that the store is not known to have."""
        return self._core.lag_records()

    @property
    def lag_bytes(self) -> int:
        """About how much they take in the journals."""
        return self._core.lag_bytes()

    @property
    def lag_s(self) -> float:
        """Seconds since the oldest of them was first seen; 0: none."""
        return self._core.lag_s(self._clock.now())

    @property
    def dead_letters(self) -> int:
        """Rows of this unit that the writer put aside since the pump started."""
        return self._core.dead_letters

    @property
    def persisted_records(self) -> int:
        return self._core.persisted_records

    @property
    def connected(self) -> bool:
        """Whether the writer has answered on the stream there is."""
        return self._connected

    @property
    def error(self) -> str:
        """Why something is not persisted, as last heard; "" when all goes well."""
        for problems in (self._core.problems, self._core.stopped):
            if problems:
                return problems[min(problems)]
        return self._error

    @property
    def stopped(self) -> list[int]:
        """Partitions that are not stored any further until somebody acts."""
        return sorted(self._core.stopped)

    def lags(self) -> list[PartitionLag]:
        """What the store lacks of each partition of this unit, in order."""
        return self._core.lags(self._clock.now())

    def behind(self) -> str:
        """How far the store is behind and why, for whoever is refused because of it."""
        records, size, seconds = self.lag_records, self.lag_bytes, self.lag_s
        cause = self.error or "none is known: it takes changes more slowly than they are made"
        return (
            f"{records} records ({size / 2**20:.1f} MiB) of this unit are not in the store yet, "
            f"the oldest for {seconds:.1f} s; the store's last error: {cause}"
        )

    @property
    def core(self) -> Pump:
        return self._core

    def notify(self) -> None:
        """Looks for new commits now and not at the next tick. Never needed for correctness."""
        self._wake.set()

    def hurry(self, partitions: set[int]) -> None:
        """Somebody waits for what these have committed: it is sent at once."""
        self._core.hurry(partitions)
        self._wake.set()

    async def changed(self) -> None:
        """Waits until something is sent, heard or lost: what the pump tells may then differ."""
        self._changes.clear()
        await self._changes.wait()

    async def drain(self, timeout_s: float) -> int:
        """Sends without waiting for frames to fill, until the store has everything committed or
        `timeout_s` is over. Returns the records that the store is not known to have then."""
        self._drains += 1
        self._core.reconcile(self._clock.now())
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                while self._lag_now():
                    await self.changed()
        except TimeoutError:
            log.warning("not drained in %.1f s: %s", timeout_s, self.error or "still sending")
        finally:
            self._drains -= 1
        return self._lag_now()

    def _lag_now(self) -> int:
        """With what was committed, and who was handed over, since the last look: whoever asks
        takes 0 for all that there is."""
        self._core.observe(self._clock.now())
        return self._core.lag_records()

    # The stream.

    async def _run(self) -> None:
        backoff = Backoff(RECONNECT_S_MIN, self._reconnect_s_max)
        while True:
            try:
                await self._one_stream()
            except (StreamLost, BadFrame, TimeoutError) as error:
                reason = str(error) or "no answer in time"
            except grpc.aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details()}"
            except Exception as error:
                log.exception("the data pump failed; it starts again")
                reason = f"internal error: {error!r}"
            check_cancelled()
            if self._connected:
                backoff.reset()
            self._connected = False
            self._core.on_stream_lost()
            self._set_error(f"no {self._peer}: {reason}")
            until = self._clock.now() + backoff.next_s()
            while self._clock.now() < until:
                self._look()
                await self._sleep(until - self._clock.now())

    async def _one_stream(self) -> None:
        async with open_channel(self._config, self._address) as channel:
            stub = pump_pb2_grpc.DataWriterStub(channel)  # type: ignore[no-untyped-call]
            call: Call = stub.Persist()
            reader = asyncio.create_task(self._read(call), name="data pump answers")
            try:
                self._answered_at = self._clock.now()
                while not reader.done():
                    await self._step(call)
                await reader
            finally:
                reader.cancel()
                call.cancel()
                await asyncio.wait([reader])

    async def _step(self, call: Call) -> None:
        """Sends one frame, or waits for something to happen."""
        self._look()
        now = self._clock.now()
        if not self._core.in_flight:
            self._answered_at = now
        left_s = self._answered_at + self._answer_s_max - now
        if left_s <= 0:
            raise StreamLost(f"the data writer did not answer for {self._answer_s_max:.0f} s")
        if now >= self._retry_at:
            frame = self._core.next_frame(now, flush=self._drains > 0)
            if frame is not None:
                message = encode_frame(frame, self._grid_id, self._incarnation)
                # A stream that has ended refuses to be written to; the reader knows why it ended.
                with suppress(asyncio.InvalidStateError):
                    async with asyncio.timeout(left_s):
                        await call.write(message)
                self._changes.set()
                return
        await self._sleep(self._tick_s)

    async def _read(self, call: Call) -> None:
        while True:
            message: Any = await call.read()
            if message is _EOF:
                # The status says why: asking for it raises what made the stream end.
                code, details = await call.code(), await call.details()
                raise StreamLost(f"the stream ended: {code.name} {details}")
            ack = decode_ack(message)
            self._connected = True
            self._answered_at = self._clock.now()
            if self._core.on_ack(ack):
                self._retry.reset()
                self._error = ""
            else:
                self._retry_at = self._clock.now() + self._retry.next_s()
                self._set_error(ack.error)
            self._wake.set()
            self._changes.set()

    def _look(self) -> None:
        now = self._clock.now()
        self._core.observe(now)
        if now >= self._reconcile_at:
            self._reconcile_at = now + RECONCILE_S
            self._core.reconcile(now)
            self._changes.set()

    async def _sleep(self, seconds: float) -> None:
        """Until woken, at most so long."""
        try:
            async with asyncio.timeout(min(seconds, self._tick_s)):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    def _set_error(self, text: str) -> None:
        self._changes.set()
        if text != self._error:
            self._error = text
            log.warning("changes are not reaching the store: %s", text)
