"""The I/O around a unit core: batches in and answers out, frames, swaps and ticks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tupelo.errors import ResultCode
from tupelo.v1.data_pb2 import BatchResult, OpBatch, SessionRequest, SessionResponse

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import StateStore
from tupelo_grid.core.batch import Batch, Pending
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.frames import Ack, Frame
from tupelo_grid.core.swaps import SwapResult
from tupelo_grid.core.table import unit_of
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.disk import Journaling
from tupelo_grid.runtime.names import Names
from tupelo_grid.runtime.swapping import Swapper
from tupelo_grid.transport.answer_room import Room, bound
from tupelo_grid.transport.columns import Columns, to_batch, to_result
from tupelo_grid.transport.joining import Joined, join
from tupelo_grid.transport.local_socket import name_of
from tupelo_grid.transport.replication import PeerConnections, PeerEvents, Way
from tupelo_grid.transport.route import RouteCache
from tupelo_grid.transport.status import detail
from tupelo_grid.transport.validate import malformed, oversized, validate_batch

log = logging.getLogger(__name__)


Place = tuple[int, str, bytes]
"""(partition, space, key)"""
Fault = tuple[ResultCode, str]


class Through(Protocol):
    """Brings entries from the store that a frame misses; tupelo_grid.messaging.through."""

    @property
    def spaces(self) -> frozenset[str]:
        """Those that are read through."""
        ...

    def missing(self, request: SessionRequest) -> list[Place]:
        """What the frame needs and only the store may have."""
        ...

    async def load(self, places: Sequence[Place]) -> dict[Place, Fault]:
        """Why of some of them it is still not known whether they are there."""
        ...

    def faults(self, batch: OpBatch, failed: Mapping[Place, Fault]) -> dict[int, Fault]:
        """By index of the operation, or bulk group, that needs one of those."""
        ...


class Call:
    """A session frame under way. What a batch, or several, have become: an answer or a pending."""

    __slots__ = ("answers", "future", "request", "waits")

    def __init__(self, request: SessionRequest) -> None:
        self.request = request
        self.answers: list[BatchResult | tuple[Pending, Joined | None]] = []
        self.waits = 0
        self.future: asyncio.Future[SessionResponse] | None = None


class UnitShell:
    """Runs one unit core.

    Args:
        grid_id: 16 bytes; a batch that names another grid is refused.
        routes: the answer for clients whose table is old.
        names: the spaces and commands there are.

    Attributes:
        journal: what acknowledgements wait for; None in a unit without a disk.
    """

    def __init__(
        self,
        unit: Unit,
        config: GridConfig,
        clock: Clock,
        store: StateStore,
        routes: RouteCache,
        grid_id: bytes,
        partitions: int,
        names: Names,
        through: Through | None = None,
    ) -> None:
        self.unit = unit
        self._config = config
        self._clock = clock
        self._routes = routes
        self._grid_id = grid_id
        self._partitions = partitions
        self._names = names
        self.through = through
        self._flush_due = False
        self.journal: Journaling | None = None
        self._swapper = Swapper(store, self._swapped)
        self._loop = asyncio.get_running_loop()
        self.connections = PeerConnections(
            grid_id,
            self._replication_way,
            PeerEvents(
                up=self._link_up,
                down=self._link_down,
                blocked=self._link_blocked,
                acknowledged=self._acknowledged,
                frame_bytes_max=config.replication_bytes_max,
            ),
        )

    # -- clients

    def execute(self, request: SessionRequest) -> SessionResponse | asyncio.Future[SessionResponse]:
        """One session frame; the answer, or a future of it where it has to wait."""
        if self._names.strange(request):
            return self._loop.create_task(self._look_up_and_run(request))
        return self._load_or_run(request)

    async def _look_up_and_run(self, request: SessionRequest) -> SessionResponse:
        """A space may have been declared a moment ago: ask once before it is refused."""
        await self._names.look_up(request)
        answer = self._load_or_run(request)
        return answer if isinstance(answer, SessionResponse) else await answer

    def _load_or_run(
        self, request: SessionRequest
    ) -> SessionResponse | asyncio.Future[SessionResponse]:
        through = self.through
        if through is not None and through.spaces and (missing := through.missing(request)):
            return self._loop.create_task(self._load_and_run(request, through, missing))
        return self._run(request)

    async def _load_and_run(
        self, request: SessionRequest, through: Through, missing: Sequence[Place]
    ) -> SessionResponse:
        """What is missing comes from the store first; what it could not tell is refused."""
        answer = self._run(request, await through.load(missing))
        return answer if isinstance(answer, SessionResponse) else await answer

    def _run(
        self, request: SessionRequest, failed: Mapping[Place, Fault] | None = None
    ) -> SessionResponse | asyncio.Future[SessionResponse]:
        call = Call(request)
        prepared = [self._prepare(message, failed) for message in request.batches]
        for one in prepared if len(prepared) == 1 else join(prepared):
            if isinstance(one, BatchResult):
                call.answers.append(one)
                continue
            joined = one if isinstance(one, Joined) else None
            pending = self.unit.submit(one.batch if isinstance(one, Joined) else one)
            call.answers.append((pending, joined))
            if not pending.done:
                pending.token = call
                call.waits += 1
        self.after()
        if not call.waits:
            return self._respond(call)
        call.future = self._loop.create_future()
        return call.future

    def _prepare(
        self, message: OpBatch, failed: Mapping[Place, Fault] | None = None
    ) -> BatchResult | Batch:
        """What the core is to carry out, or why the batch is refused whole."""
        columns = Columns(message)
        refused = validate_batch(columns, self._config, self._partitions)
        if refused is None and message.grid_id and message.grid_id != self._grid_id:
            refused = detail(
                ResultCode.INVALID_ARGUMENT,
                f"this unit belongs to grid {self._grid_id.hex()}, not {message.grid_id.hex()}; "
                "connect anew",
            )
        if refused is not None:
            return BatchResult(refused=refused)
        faults = malformed(columns) | oversized(columns, self._config)
        if failed and self.through is not None:
            unknown = self.through.faults(message, failed)
            faults = {index: detail(*fault) for index, fault in unknown.items()} | faults
        timeout_s = message.timeout_ms / 1000 or self._config.request_timeout_s
        return to_batch(message, columns, faults, self._clock.now() + timeout_s)

    def _respond(self, call: Call) -> SessionResponse:
        results: list[BatchResult] = []
        known, size = self._routes.response().table_version, 0
        # 0: routed by no table at all, as row forms are; they have no use for ours.
        stale = any(0 < message.table_version < known for message in call.request.batches)
        for answer in call.answers:
            if isinstance(answer, BatchResult):
                results.append(answer)
                continue
            pending, joined = answer
            stale = stale or pending.stale
            # Each would keep the other, and the request, until the collector comes by.
            pending.token = None
            size += pending.values_bytes()
            if joined is None:
                results.append(to_result(pending))
            else:
                results += joined.results(pending)
        room = Room(self._config.message_bytes_max)
        if size > room.bytes_max:
            bound(results, call.request.batches, room)
        return SessionResponse(
            request_id=call.request.request_id,
            results=results,
            route=self._routes.response() if stale else None,
        )

    # -- after every event

    def after(self) -> None:
        """Sends what the last event brought about."""
        completed = self.unit.answers.completed
        if completed:
            self.unit.answers.completed = []
            for pending in completed:
                self._complete(pending)
        if not self._flush_due:
            self._flush_due = True
            # Once for all that happens in this turn of the loop: fewer, fuller frames.
            self._loop.call_soon(self._flush)
        for swap in self.unit.take_swaps():
            self._swapper.start(swap)
        if self.journal is not None:
            self.journal.writer.kick()

    def _complete(self, pending: Pending) -> None:
        call = pending.token
        assert isinstance(call, Call)
        call.waits -= 1
        if not call.waits and call.future is not None and not call.future.done():
            call.future.set_result(self._respond(call))

    def _flush(self) -> None:
        self._flush_due = False
        for frame in self.unit.flush():
            self.connections.send(frame)

    # -- replication

    def _replication_way(self, peer: str) -> Way:
        lease = self.unit.leases.get(peer)
        if lease is None:
            return "", ""
        own = unit_of(self.unit.me)
        address = self._config.way(own, lease.unit, lease.replication_address)
        # Whoever leads connections another way wants to have all of them.
        direct = self._config.local_sockets and address == lease.replication_address
        return name_of(self._grid_id, peer) if direct else "", address

    def receive(self, frame: Frame, answer: Callable[[Ack], None]) -> None:
        """`answer` is called with the acknowledgement, at once unless that waits for the disk."""
        ack = self.unit.receive(frame)
        if ack is not None:
            if self.journal is None:
                answer(ack)
            else:
                self.journal.hold(ack, answer)
        self.after()

    def _acknowledged(self, ack: Ack) -> None:
        self.unit.acknowledged(ack)
        self.after()

    def _link_up(self, peer: str) -> None:
        self.unit.link_up(peer)
        self.after()

    def _link_down(self, peer: str) -> None:
        self.unit.link_down(peer)
        self.after()

    def _link_blocked(self, peer: str, blocked: bool) -> None:
        link = self.unit.links.get(peer)
        if link is not None:
            link.blocked = blocked
            self.after()

    # -- swaps

    def _swapped(self, results: Sequence[SwapResult]) -> None:
        for result in results:
            self.unit.swapped(result)
        self.after()

    # -- time

    async def run_ticks(self) -> None:
        """Until cancelled."""
        while True:
            self.unit.tick()
            self._report_mismatches()
            if self.journal is not None:
                self.journal.signs_of_life()
            self.connections.want(self.unit.peers_wanted)
            self.after()
            await asyncio.sleep(self._config.heartbeat_s)

    def _report_mismatches(self) -> None:
        for partition, sequence, sender in self.unit.audit.found:
            log.error(
                "partition %d differs from what its primary %s has at change %d: this should never "
                "happen; it is fetched anew",
                partition,
                sender,
                sequence,
            )
        self.unit.audit.found.clear()

    async def close(self) -> None:
        self._swapper.close()
        await self.connections.close()
