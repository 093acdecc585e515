"""From an operation to its outcome: the unit to ask, and what to do when that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tupelo._async import runtime
from tupelo._async.lane import Nowhere, UnitLane
from tupelo._async.routes import RouteKeeper
from tupelo.batch import Outcome, Token
from tupelo.config import ClientConfig
from tupelo.errors import Overloaded
from tupelo.kinds import WRITES
from tupelo.pieces import Piece
from tupelo.retry import CLOSED, Attempts, Decision, Failure, RetryBudget, RetryPolicy
from tupelo.routing import RouteTable
from tupelo.seconds import timeout
from tupelo.session import Session, Sessions
from tupelo.transport import CLIENT_CLOSED

Lane = UnitLane | Nowhere


class Operation(msgspec.Struct, gc=False, frozen=True):
    """One operation of the slow path, where it is tried more than once."""

    kind: int
    target: str
    partition: int
    key: bytes
    value: bytes
    ttl_ms: int
    expected: int
    strict: bool


class Dispatcher:
    """The client's lanes, one a unit, and the way every operation takes through them.

    Through a router it is one a unit as well: a frame waits for all its units, so that a unit that
    does not answer would hold up calls to the others.

    Attributes:
        lanes: per partition, the lane to its primary; Nowhere while it has none.
        partitions: number of partitions of the grid.
        turns: large calls take one before they are made.
    """

    def __init__(self, config: ClientConfig, routes: RouteKeeper) -> None:
        self.config = config
        self.routes = routes
        self.closed = False
        self.guard = runtime.guard()
        self.sessions = Sessions(
            lambda: runtime.new_session_id(routes.wall_ms()), config.session_window
        )
        self.budget = RetryBudget(
            config.retry_ratio, config.retry_burst, config.retry_per_s, runtime.monotonic()
        )
        self.policy = RetryPolicy(config.backoff_base_s, config.backoff_max_s)
        self.lanes: list[Lane] = []
        self.turns = runtime.Turns(config.turn_items_max)
        self.timeout_s = config.timeout_s
        self.partitions = 0
        # By the address it leads to, and the unit behind that where it is a router's.
        self._ways: dict[tuple[str, str], UnitLane] = {}
        self._retired: list[UnitLane] = []
        self._nowhere = Nowhere()
        self._lost = Nowhere(lost=True)
        self._moves = runtime.News()
        self._cleaner = runtime.Background()
        routes.on_change.append(self._route)
        self._route(routes.table)

    async def run(
        self,
        kind: int,
        target: str,
        partition: int,
        key: bytes,
        value: bytes = b"",
        ttl_ms: int = 0,
        expected: int = 0,
        timeout_s: float | None = None,
        strict: bool = False,
    ) -> Outcome:
        """Carries out one operation: code (below 16), version, value, epoch, copies.

        Raises the errors of tupelo.errors for everything else, after retries within the deadline
        and the client's budget.
        """
        deadline = runtime.monotonic() + (
            self.timeout_s if timeout_s is None else timeout(timeout_s)
        )
        lane = self.lanes[partition]
        outcome = await lane.submit(
            kind, partition, target, key, value, ttl_ms, expected, deadline, strict
        )
        if isinstance(outcome, tuple):
            return outcome
        operation = Operation(kind, target, partition, key, value, ttl_ms, expected, strict)
        return await self.again(operation, outcome, lane, deadline)

    async def again(
        self, operation: Operation, failure: Failure, lane: Lane, deadline: float
    ) -> Outcome:
        """Tries until there is an outcome, with the same token: only then is a retry safe."""
        writes = operation.kind in WRITES
        attempts = Attempts(self.policy, self.budget, writes=writes, deadline=deadline)
        token: Token | None = None
        try:
            while True:
                if failure.session is not None and failure.number:
                    token = (failure.session, failure.number)
                decision = self.decide(attempts, failure, self.moved(operation.partition, lane))
                if decision.refresh:
                    await self.routes.refresh(deadline)
                if decision.delay_s > 0.0:
                    await self._pause(decision.delay_s, operation.partition, lane)
                if decision.fresh and token:
                    self.renew(token, failure)
                    token = None
                if lane is not self.lanes[operation.partition]:
                    lane = self.lanes[operation.partition]
                    attempts.rerouted()
                outcome = await self._attempt(operation, lane, deadline, token)
                if isinstance(outcome, tuple):
                    return outcome
                failure = outcome
        finally:
            if token:
                self.end(token)

    async def _pause(self, seconds: float, partition: int, lane: Lane) -> None:
        """Until the time is over, or the partition is known to be elsewhere than where it was."""
        end = runtime.monotonic() + seconds
        left_s = seconds
        while left_s > 0.0 and lane is self.lanes[partition] and not self.closed:
            await self._moves.wait(left_s)
            left_s = end - runtime.monotonic()

    async def _attempt(
        self, operation: Operation, lane: Lane, deadline: float, token: Token | None
    ) -> Outcome | Failure:
        try:
            return await lane.submit(
                operation.kind,
                operation.partition,
                operation.target,
                operation.key,
                operation.value,
                operation.ttl_ms,
                operation.expected,
                deadline,
                operation.strict,
                token,
            )
        except Overloaded as error:
            session, number = token or (None, 0)
            return Failure(error.code, str(error), {}, False, session, number)

    def decide(self, attempts: Attempts, failure: Failure, moved: bool) -> Decision:
        """What a failed attempt asks for. Raises the caller's error when that was the last one."""
        if self.closed:
            failure = Failure(CLOSED, CLIENT_CLOSED, {}, failure.maybe)
        return attempts.after(failure, runtime.monotonic(), runtime.chance(), moved=moved)

    def moved(self, partition: int, lane: Lane) -> bool:
        """Whether by now another lane than the one just tried leads to the partition."""
        return lane is not self.lanes[partition]

    # Tokens, where they are taken singly.

    def next_token(self) -> Token:
        with self.guard:
            return self.sessions.reserve(1)

    def assign(self, pieces: Sequence[Piece]) -> list[tuple[Session, int, int]]:
        """A token for every piece. Returns (session, first, stop) of them, for `end_all`."""
        taken: list[tuple[Session, int, int]] = []
        most = self.sessions.window
        for start in range(0, len(pieces), most):
            some = pieces[start : start + most]
            with self.guard:
                session, first = self.sessions.reserve(len(some))
            for number, piece in enumerate(some, first):
                piece.token = (session, number)
            taken.append((session, first, first + len(some)))
        return taken

    def end_all(self, taken: Sequence[tuple[Session, int, int]]) -> None:
        with self.guard:
            for session, first, stop in taken:
                session.answered(first, stop)

    def end(self, token: Token) -> None:
        """Nobody waits for the operation any more."""
        session, number = token
        with self.guard:
            session.answered(number, number + 1)

    def renew(self, token: Token, failure: Failure) -> None:
        """The grid does not know the token's session: new operations go under another one."""
        self.end(token)
        above: Any = failure.fields.get("session_above", 0)
        above = above if isinstance(above, int) else 0
        with self.guard:
            self.sessions.renew(max(token[0].id, above))

    # Lanes.

    def _lane(self, address: str, behind: str) -> UnitLane:
        lane = self._ways.get((address, behind))
        if lane is None:
            lane = UnitLane(
                address, self.config, self.routes, self.sessions, self.budget, self.guard
            )
            lane.belongs = lambda partition: self.lanes[partition] is lane
            self._ways[address, behind] = lane
        return lane

    def owner_of(self, partition: int) -> str:
        """Where operations of a partition go; "" while it has no primary."""
        if self.config.routing == "router":
            return self.routes.router
        return self.routes.table.address_of(partition)

    def _route(self, table: RouteTable) -> None:
        """Takes up a newer table: lanes for new units, and their rows for partitions that moved."""
        if self.closed:
            return
        if self.config.routing == "router":
            ways = [(self.routes.router, unit) for unit in table.addresses]
        else:
            ways = [(address, "") for address in table.addresses]
        lanes: list[Lane] = [self._lane(*way) if way[0] else self._nowhere for way in ways]
        if self.config.routing != "router":
            for partition in table.lost:
                lanes[partition] = self._lost
        self.lanes = lanes
        self.partitions = table.partitions
        used = set(ways)
        for way, lane in list(self._ways.items()):
            rows = lane.take_back()
            for row in rows:
                place = lanes[row[2]]
                if isinstance(place, UnitLane):
                    place.push([row])
                else:
                    lane.bounce(row)
            if way not in used:
                del self._ways[way]
                self._retired.append(lane)
        if self._retired:
            self._cleaner.start(self._clean)
        self._moves.tell()

    async def _clean(self) -> None:
        """Closes the lanes to units that hold nothing any more, once they are answered."""
        while self._retired:
            lane = self._retired[0]
            await lane.drain()
            await lane.close()
            self._retired.pop(0)
            kept = {address for address, _ in self._ways} | set(self.routes.seeds)
            if lane.address not in kept:
                await self.routes.drop_channel(lane.address)

    async def close(self) -> None:
        """Ends all lanes; what is pending fails."""
        self.closed = True
        self._moves.tell()
        await self._cleaner.close()
        lanes = [*self._ways.values(), *self._retired]
        for lane in lanes:
            await lane.close()
