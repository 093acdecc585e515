"""Clients: random operations through the SDK's own session and retry logic, recorded as history."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from tupelo.errors import OutcomeUnknown, ResultCode, TupeloError
from tupelo.retry import NOT_SENT, Attempts, Failure, RetryBudget, RetryPolicy
from tupelo.session import SESSION_RANDOM_BITS, Sessions, session_id
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk, Pending
from tupelo_grid.core.table import Versioned

from tests.simulation.commands import SPACE
from tests.simulation.places import Calls
from tests.simulation.workload import Operation, Workload

if TYPE_CHECKING:
    from tests.simulation.world import World

POLICY = RetryPolicy(base_s=0.02, max_s=0.3)
_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.decode


class Client:
    """Makes calls one after another, some side by side, until told to stop."""

    def __init__(self, world: World, name: str, lanes: int) -> None:
        self.world = world
        self.name = name
        self.calls = Calls(world, name, world.plan.call_timeout_s)
        self.sessions = Sessions(self._make_id, window=64)
        self.budget = RetryBudget(ratio=1.0, burst=1000.0, per_s=100.0, now=0.0)
        self.route: dict[int, Versioned] = {}
        self.workload = Workload(self)
        self._waiting: dict[tuple[str, bool], list[Operation]] = {}
        self.open = 0
        for _ in range(lanes):
            world.loop.after(world.rng.random() * 0.2, self._next)

    def _make_id(self) -> int:
        bits = self.world.rng.getrandbits(SESSION_RANDOM_BITS)
        return session_id(int(self.world.loop.now * 1000), bits)

    def deliver(self, call: Callable[..., None], *args: Any) -> None:
        call(*args)

    # -- what to do

    def _next(self) -> None:
        world = self.world
        if world.loop.now >= world.plan.load_until_s:
            return
        operation = self.workload.choose()
        self._begin(operation)
        if operation.kind < 0:
            # Others beside it: their groups travel together, and become one record.
            for _ in range(world.rng.randrange(3)):
                other = self.workload.bulk(operation.partition)
                other.aside = True
                self._begin(other)

    def _begin(self, operation: Operation) -> None:
        world = self.world
        operation.attempts = Attempts(
            POLICY,
            self.budget,
            writes=operation.writes,
            deadline=world.loop.now + (3.0 if world.rng.random() < 0.8 else 0.4),
        )
        self.budget.deposit(1)
        self.open += 1
        world.operations += 1
        self._submit(operation)

    # -- attempts

    def _submit(self, operation: Operation) -> None:
        operation.attempt += 1
        versioned = self.route.get(operation.partition)
        owner = versioned.config.primary if versioned is not None else ""
        if not owner:
            self._failed(operation, Failure(NOT_SENT, "no primary"))
            return
        if operation.writes and operation.session is None:
            operation.session, operation.number = self.sessions.reserve(1)
        place = (owner, operation.strict)
        waiting = self._waiting.get(place)
        if waiting is None:
            self._waiting[place] = [operation]
            self.world.loop.after(self.world.rng.random() * 0.002, self._send, place)
        else:
            waiting.append(operation)

    def _send(self, place: tuple[str, bool]) -> None:
        """Everything that waits for the unit leaves as one batch a session."""
        groups: dict[int, list[Operation]] = {}
        for operation in self._waiting.pop(place):
            if not operation.done:
                session = operation.session.id if operation.session else 0
                groups.setdefault(session, []).append(operation)
        owner, strict = place
        world = self.world
        if 0 in groups and len(groups) > 1:
            reads = groups.pop(0)
            next(iter(groups.values())).extend(reads)
        for session, operations in groups.items():
            # As a unit has them: groups of one partition that follow one another are one record.
            operations.sort(key=attrgetter("partition"))
            held = operations[0].session
            floor = held.acked_below if held is not None else 0
            token = (self, [(operation, operation.attempt) for operation in operations])
            timeout_s = 0.15 + world.rng.random() * 0.5
            world.send_batch(self, owner, operations, (session, floor, strict, timeout_s), token)
            for operation in operations:
                world.loop.after(timeout_s, self._late, operation, operation.attempt)

    def _late(self, operation: Operation, attempt: int) -> None:
        if attempt == operation.attempt and not operation.done:
            self._failed(operation, self._failure(operation, ResultCode.OUTCOME_UNKNOWN, {}, True))

    def refused(self, operations: list[tuple[Operation, int]]) -> None:
        """Nobody listens at that address."""
        for operation, attempt in operations:
            if attempt == operation.attempt and not operation.done:
                self._failed(operation, self._failure(operation, NOT_SENT, {}, False))

    @staticmethod
    def _failure(operation: Operation, code: int, fields: dict[str, Any], maybe: bool) -> Failure:
        return Failure(code, "", fields, maybe, operation.session, operation.number)

    def answered(
        self, operations: list[tuple[Operation, int]], pending: Pending, route: dict[int, Versioned]
    ) -> None:
        self.learn(route)
        fields = {error.index: error.fields for error in pending.errors}
        position = bulk_position = 0
        for operation, attempt in operations:
            if operation.kind < 0:
                assert pending.bulk is not None
                code, version = pending.bulk.codes[bulk_position], 0
                version = pending.bulk.versions[bulk_position]
                detail = fields.get(len(pending.codes) + bulk_position, {})
                value = b""
                bulk_position += 1
            else:
                code, version = pending.codes[position], pending.versions[position]
                value, detail = pending.values[position], fields.get(position, {})
                position += 1
            if attempt != operation.attempt or operation.done:
                continue
            if code < kinds.CARRIED_OUT_BELOW:
                self._succeeded(operation, code, version, value)
            else:
                maybe = code == ResultCode.OUTCOME_UNKNOWN
                self._failed(operation, self._failure(operation, code, detail, maybe))

    def _succeeded(self, operation: Operation, code: int, version: int, value: bytes) -> None:
        result = operation.parse(code, version, value)
        if code == ResultCode.APPLICATION_ERROR:
            result = None
        for call in operation.calls:
            call.returned(result)
        if version and operation.target == SPACE:
            self.workload.seen[operation.partition, operation.key] = version
        if operation.target == "total":
            self.world.checks.total(operation, result)
        self._end(operation)

    def _failed(self, operation: Operation, failure: Failure) -> None:
        world = self.world
        moved = False
        try:
            decision = operation.attempts.after(
                failure, world.loop.now, world.rng.random(), moved=moved
            )
        except OutcomeUnknown:
            for call in operation.calls:
                call.unknown()
            self._end(operation)
            return
        except TupeloError as error:
            if failure.code not in _EXPECTED:
                world.checks.unexpected(operation, error)
            if operation.writes:
                world.checks.said_not_done(operation)
            for call in operation.calls:
                call.failed()
            self._end(operation)
            return
        if decision.fresh:
            above = failure.fields.get("session_above", 0)
            assert operation.session is not None
            operation.session.answered(operation.number, operation.number + 1)
            self.sessions.renew(max(operation.session.id, above))
            operation.session, operation.number = None, 0
        operation.attempt += 1
        if decision.refresh:
            self.refresh()
        world.loop.after(decision.delay_s + 0.002, self._submit, operation)

    def _end(self, operation: Operation) -> None:
        operation.done = True
        self.open -= 1
        if operation.session is not None:
            operation.session.answered(operation.number, operation.number + 1)
        if not operation.aside:
            pause_s = self.world.rng.expovariate(1.0 / self.world.plan.think_s)
            self.world.loop.after(pause_s, self._next)

    # -- routes

    def refresh(self) -> None:
        def done(snapshot: Any) -> None:
            self.learn(self.world.decoded(snapshot)[0])

        self.calls.call(self.world.store.read, done, lambda: None, self.deliver)

    def learn(self, parts: dict[int, Versioned]) -> None:
        for number, versioned in parts.items():
            known = self.route.get(number)
            if known is None or known.revision < versioned.revision:
                self.route[number] = versioned


_EXPECTED = frozenset(
    {
        NOT_SENT,
        int(ResultCode.WRONG_OWNER),
        int(ResultCode.NOT_READY),
        int(ResultCode.OVERLOADED),
        int(ResultCode.NOT_ENOUGH_REPLICAS),
        int(ResultCode.PARTITION_LOST),
        int(ResultCode.SESSION_EXPIRED),
        int(ResultCode.OUTCOME_UNKNOWN),
    }
)


def batch_of(
    operations: list[Operation], session: int, floor: int, strict: bool, deadline: float
) -> Batch:
    """A fresh batch, as if decoded from the wire."""
    single = [one for one in operations if one.kind > 0]
    many = [one for one in operations if one.kind < 0]
    bulk = None
    if many:
        bulk = Bulk(
            kind=kinds.PUT,
            space=SPACE,
            partitions=[one.partition for one in many],
            counts=[len(one.entries) for one in many],
            op_numbers=[one.number for one in many],
            keys=[key for one in many for key, _ in one.entries],
            values=[value for one in many for _, value in one.entries],
        )
    names = list(dict.fromkeys(one.target for one in single))
    return Batch(
        session=session,
        acked_below=floor,
        kinds=bytes(one.kind for one in single),
        partitions=[one.partition for one in single],
        targets=names,
        target_index=[names.index(one.target) for one in single] if len(names) > 1 else None,
        keys=[one.key for one in single],
        values=[one.value for one in single],
        op_numbers=[one.number for one in single],
        ttls_ms=[one.ttl_ms for one in single],
        expected=[one.expected for one in single],
        strict=strict,
        deadline=deadline,
        bulk=bulk,
    )
