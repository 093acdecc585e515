"""One unit, or router, as a client is connected to it: frames over a Session stream.

Whatever waits when the stream is free becomes the next frame. There is no timer in it: an idle
stream takes a call at once, and under load the frames fill themselves while one is on its way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import grpc
import grpc.aio

from tupelo._async.frames import Frame, Parcel, Part, Stream
from tupelo._async.routes import RouteKeeper
from tupelo._async.runtime import check_home
from tupelo.batch import GarbledAnswer
from tupelo.config import ClientConfig
from tupelo.errors import ConnectionLost, DeadlineExceeded, Overloaded, TooLarge
from tupelo.retry import backoff_s
from tupelo.transport import describe, is_too_large, space_stub
from tupelo.v1.data_pb2 import BatchResult, OpBatch, SessionRequest, SessionResponse

EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]

# Of a frame that is late already: the part of `stall_s` after which the table is asked for again.
ASK_AGAIN: Final = 0.2


class UnitConnection:
    """The multiplexed way to one address.

    `frames_in_flight` streams share one queue; each has one unanswered request. Create it inside a
    running event loop; `close()` ends it, and fails what waits.

    Args:
        address: "host:port" of a unit or router.
        config: limits and pauses.
        routes: told of newer tables that come with answers, and asked when the unit is away.
    """

    def __init__(self, address: str, config: ClientConfig, routes: RouteKeeper) -> None:
        self.address = address
        self.config = config
        self.routes = routes
        self.closed = False
        self.frames = 0
        self._loop = asyncio.get_running_loop()
        self._channel = routes.channel(address)
        self._stub = space_stub(self._channel)
        self._parcels: deque[Parcel] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._flying: set[Frame] = set()
        self._request_id = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._failures = 0
        self._pumps = [
            self._loop.create_task(self._pump(), name=f"tupelo-pump-{address}")
            for _ in range(config.frames_in_flight)
        ]

    def begin(
        self, batches: Sequence[OpBatch], timeout_s: float, size_bytes: int | None = None
    ) -> asyncio.Future[list[BatchResult]]:
        """Queues batches for the next frame; one result a batch, in order.

        Batches of several sessions may go together. The future raises ConnectionLost when they
        certainly were not sent, OutcomeUnknown when no (readable) answer came, DeadlineExceeded
        when they waited too long to be sent, TooLarge. Raises Overloaded when too many wait.

        Args:
            size_bytes: of the batches, if known; measured otherwise.
        """
        check_home(self._loop)
        if self.closed:
            raise ConnectionLost(f"the connection to {self.address} is closed")
        if len(self._parcels) >= self.config.queue_batches_max:
            raise Overloaded(
                f"{len(self._parcels)} batches wait for {self.address}; "
                "send fewer at a time, or raise queue_batches_max"
            )
        future: asyncio.Future[list[BatchResult]] = self._loop.create_future()
        deadline = time.monotonic() + timeout_s
        self._parcels.append(Parcel(batches, future, deadline, size_bytes))
        self.wake()
        return future

    async def exchange(
        self, batches: Sequence[OpBatch], timeout_s: float, size_bytes: int | None = None
    ) -> list[BatchResult]:
        """`begin`, and waits for the results."""
        return await self.begin(batches, timeout_s, size_bytes)

    async def drain(self) -> None:
        """Waits until nothing is unanswered; deadlines bound it."""
        if self._flying or self._waiting():
            self._drained = self._loop.create_future()
            await self._drained

    async def close(self) -> None:
        """Ends the streams. What was sent has an unknown outcome, what waits was not done."""
        if self.closed:
            return
        self.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        error = ConnectionLost(f"the connection to {self.address} was closed")
        for frame in list(self._flying):
            self._fail(frame, error)
        self._drop_waiting(error)

    def wake(self) -> None:
        """Something waits: a free stream takes it in the loop's next turn."""
        if self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self.config.sweep_s, self._sweep)

    # What a subclass adds to frames beside parcels.

    def _waiting(self) -> bool:
        return bool(self._parcels)

    def _take(self, now: float, size_bytes: int = 0) -> list[Part]:
        """Parts of the next frame, which holds `size_bytes` already, within its limits."""
        parts: list[Part] = []
        parcels = self._parcels
        while parcels:
            parcel = parcels[0]
            if parcel.future.done():
                parcels.popleft()
                continue
            if size_bytes or len(parcels) > 1:
                size_bytes += parcel.bytes()
                if size_bytes > self.config.frame_bytes_max and size_bytes > parcel.bytes():
                    break
            parts.append(parcels.popleft())
        return parts

    def _drop_waiting(self, error: Exception) -> None:
        """Fails everything that has not been sent."""
        while self._parcels:
            self._parcels.popleft().fail(error, sent=False)

    def _away(self, error: Exception) -> None:
        """The unit cannot be reached: batches of others fail at once, their senders decide."""
        while self._parcels:
            self._parcels.popleft().fail(error, sent=False)

    def _expire_waiting(self, now: float) -> None:
        if any(parcel.deadline <= now for parcel in self._parcels):
            error = DeadlineExceeded("the time ran out before it could be sent")
            waiting = list(self._parcels)
            self._parcels.clear()
            for parcel in waiting:
                if parcel.deadline <= now:
                    parcel.fail(error, sent=False)
                else:
                    self._parcels.append(parcel)

    # The stream.

    async def _pump(self) -> None:
        stream: Stream | None = None
        try:
            while not self.closed:
                if not self._waiting():
                    await self._rest()
                    continue
                if stream is None:
                    if not await self._reach():
                        continue
                    stream = self._stub.Session()
                frame = self._next_frame(stream)
                if frame is None:
                    continue
                if not await self._carry(frame, stream):
                    stream.cancel()
                    stream = None
                # Those just answered may have more to ask: the next frame takes it along.
                await asyncio.sleep(0)
        finally:
            if stream is not None:
                stream.cancel()

    async def _rest(self) -> None:
        idle = self._loop.create_future()
        self._idle.append(idle)
        try:
            await idle
        finally:
            if idle in self._idle:
                self._idle.remove(idle)

    async def _reach(self) -> bool:
        """Waits until the channel is connected. False after a pause when it could not be."""
        channel = self._channel
        left_s = self.config.connect_timeout_s
        state = channel.get_state(try_to_connect=True)
        started = time.monotonic()
        while state is not grpc.ChannelConnectivity.READY:
            left_s = self.config.connect_timeout_s - (time.monotonic() - started)
            failed = state in (
                grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                grpc.ChannelConnectivity.SHUTDOWN,
            )
            if failed or left_s <= 0:
                await self._pause(ConnectionLost(f"{self.address} cannot be reached"))
                return False
            try:
                async with asyncio.timeout(left_s):
                    await channel.wait_for_state_change(state)
            except TimeoutError:
                pass  # the loop sees that no time is left, and gives up as for any other failure
            state = channel.get_state(try_to_connect=True)
        self._failures = 0
        return True

    async def _pause(self, error: ConnectionLost) -> None:
        """After a failed connection: another table may know a better place for what waits."""
        self._away(error)
        await self.routes.refresh()
        config = self.config
        delay_s = backoff_s(
            self._failures, config.backoff_base_s, config.backoff_max_s, self.routes.chance()
        )
        self._failures += 1
        await asyncio.sleep(delay_s)

    def _next_frame(self, stream: Stream) -> Frame | None:
        now = time.monotonic()
        parts = self._take(now)
        if not parts:
            return None
        self._request_id += 1
        request = SessionRequest(
            request_id=self._request_id,
            batches=[batch for part in parts for batch in part.batches],
        )
        frame = Frame(request, parts, now)
        frame.stream = stream
        self._flying.add(frame)
        return frame

    async def _carry(self, frame: Frame, stream: Stream) -> bool:
        """Sends a frame and hands out its answer. False: the stream is of no more use."""
        try:
            await stream.write(frame.request)
            response: Any = await stream.read()
            if response is EOF:
                raise GarbledAnswer("the stream ended without an answer")
            self.frames += 1
            self._settle(frame, response)
        except asyncio.CancelledError:
            self._fail(frame, ConnectionLost(f"the stream to {self.address} was given up"))
            if self.closed or not stream.cancelled():
                raise
            return False
        except (grpc.RpcError, asyncio.InvalidStateError, GarbledAnswer) as error:
            self._fail(frame, await self._reason(error, stream))
            return False
        return True

    async def _reason(self, error: Exception, stream: Stream) -> Exception:
        if isinstance(error, asyncio.InvalidStateError) and stream.done():
            message = f"{(await stream.code()).name}: {await stream.details()}"
            return ConnectionLost(f"{self.address} did not answer ({message})")
        if is_too_large(error):
            return TooLarge(f"{self.address} refused the message ({describe(error)})")
        return ConnectionLost(f"{self.address} did not answer ({describe(error)})")

    def _settle(self, frame: Frame, response: SessionResponse) -> None:
        if response.HasField("route"):
            self.routes.offer(response.route)
        results = response.results
        expected = len(frame.request.batches)
        if response.request_id != frame.request.request_id or len(results) != expected:
            raise GarbledAnswer("the answer is not that of the request")
        parts = frame.parts
        if len(parts) == 1:
            parts[0].settle(results)
        else:
            self._settle_each(parts, results)
        self._flying.discard(frame)

    def _settle_each(self, parts: list[Part], results: Sequence[BatchResult]) -> None:
        """Every part on its own, so that one garbled result does not take the others with it."""
        place = 0
        garbled: GarbledAnswer | None = None
        for part in parts:
            count = len(part.batches)
            try:
                part.settle(results[place : place + count])
            except GarbledAnswer as error:
                garbled = error
                part.fail(ConnectionLost(f"{self.address}: {error}"), sent=True)
            place += count
        if garbled is not None:
            raise garbled

    def _fail(self, frame: Frame, error: Exception) -> None:
        self._flying.discard(frame)
        for part in frame.parts:
            part.fail(error, sent=True)

    # Deadlines: one timer for all that wait, since one a call would cost as much as the call.

    def _sweep(self) -> None:
        self._sweeper = None
        now = time.monotonic()
        self._expire_waiting(now)
        for frame in list(self._flying):
            for part in frame.parts:
                part.expire(now)
            if frame.deadline <= now:
                self._give_up(frame)
            elif now - frame.asked_at >= self.config.stall_s:
                # Once it is late, whether it has moved is found out soon after it has.
                frame.asked_at = now - self.config.stall_s * (1 - ASK_AGAIN)
                frame.late = True
                self._stalled(frame)
        if self._drained is not None and not (self._flying or self._waiting()):
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None
        if self._flying or self._waiting():
            self._sweeper = self._loop.call_later(self.config.sweep_s, self._sweep)

    def _stalled(self, frame: Frame) -> None:
        """A frame got no answer for `stall_s`, or for a while longer."""
        self.routes.refresh_soon()

    def _give_up(self, frame: Frame) -> None:
        """Cancels the stream of a frame whose answer nobody waits for, or would wait in vain."""
        if frame.stream is not None:
            frame.stream.cancel()
