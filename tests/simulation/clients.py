"""Clients: random operations through the SDK's own session and retry logic, recorded as history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from tupelo.errors import OutcomeUnknown, ResultCode, TupeloError
from tupelo.retry import NOT_SENT, Attempts, Failure, RetryBudget, RetryPolicy
from tupelo.session import Session, Sessions, session_id
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch, Bulk, Pending
from tupelo_grid.core.table import Versioned

from tests.linearizability.history import Call
from tests.simulation.commands import ACCOUNTS, BRIEF, SPACE, account_key
from tests.simulation.places import Calls

if TYPE_CHECKING:
    from tests.simulation.world import World

POLICY = RetryPolicy(base_s=0.02, max_s=0.3)
_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.decode
Parse = Callable[[int, int, bytes], Any]


class Operation:
    """One call of a client, with all its attempts.

    Attributes:
        calls: its places in the history, one a key.
        parse: makes the history's result of (code, version, value).
        entries: of a bulk write, what is written.
    """

    __slots__ = (
        "attempt",
        "attempts",
        "calls",
        "client",
        "done",
        "entries",
        "expected",
        "failure",
        "key",
        "kind",
        "number",
        "parse",
        "partition",
        "session",
        "strict",
        "target",
        "ttl_ms",
        "value",
    )

    def __init__(self, client: Client, kind: int, partition: int, key: bytes, parse: Parse) -> None:
        self.client = client
        self.kind = kind
        self.partition = partition
        self.key = key
        self.parse = parse
        self.calls: list[Call] = []
        self.target = SPACE
        self.value = b""
        self.ttl_ms = 0
        self.expected = 0
        self.strict = False
        self.entries: list[tuple[bytes, bytes]] = []
        self.session: Session | None = None
        self.number = 0
        self.attempt = 0
        self.done = False

    @property
    def writes(self) -> bool:
        return self.kind not in kinds.READ_KINDS

    @property
    def label(self) -> str:
        return f"{self.client.name} op {self.number} kind {self.kind} on {self.partition}"


class Client:
    """Makes calls one after another, some side by side, until told to stop."""

    def __init__(self, world: World, name: str, lanes: int) -> None:
        self.world = world
        self.name = name
        self.calls = Calls(world, name, world.plan.call_timeout_s)
        self.sessions = Sessions(self._make_id, window=64)
        self.budget = RetryBudget(ratio=1.0, burst=1000.0, per_s=100.0, now=0.0)
        self.route: dict[int, Versioned] = {}
        self.seen: dict[tuple[int, bytes], int] = {}
        self._waiting: dict[tuple[str, bool], list[Operation]] = {}
        self._writes = 0
        self.open = 0
        for _ in range(lanes):
            world.loop.after(world.rng.random() * 0.2, self._next)

    def _make_id(self) -> int:
        return session_id(int(self.world.loop.now * 1000), self.world.rng.getrandbits(22))

    def deliver(self, call: Callable[..., None], *args: Any) -> None:
        call(*args)

    # -- what to do

    def _next(self) -> None:
        world = self.world
        if world.loop.now >= world.plan.load_until_s:
            return
        operation = self._choose()
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

    def unique(self) -> str:
        self._writes += 1
        return f"{self.name}.{self._writes}"

    def _choose(self) -> Operation:
        rng = self.world.rng
        partition = rng.randrange(self.world.plan.partitions)
        strict = rng.random() < 0.15
        chance = rng.random()
        if chance < 0.62:
            operation = self._register(partition, chance / 0.62)
        elif chance < 0.72:
            operation = self._counter(partition)
        elif chance < 0.82:
            operation = self._list(partition)
        elif chance < 0.92:
            operation = self._transfer(partition)
        else:
            operation = self._bulk(partition)
        operation.strict = strict and not operation.writes
        return operation

    def _made(
        self, kind: int, name: str, key: bytes, partition: int, parse: Parse, *args: Any
    ) -> Operation:
        operation = Operation(self, kind, partition, key, parse)
        recorder = self.world.recorder_of(name)
        operation.calls.append(recorder.invoke(self.name, (partition, key), name, *args))
        return operation

    def _register(self, partition: int, chance: float) -> Operation:
        rng = self.world.rng
        key = self.world.plan.keys[rng.randrange(len(self.world.plan.keys))]
        value = self.unique()
        known = self.seen.get((partition, key), 0)
        made = self._made
        if not known and 0.74 <= chance < 0.94:
            chance = 0.0  # nothing to be conditional on
        if chance < 0.3:
            operation = made(kinds.GET, "get", key, partition, _got)
        elif chance < 0.35:
            operation = made(kinds.CONTAINS, "contains", key, partition, lambda c, v, x: c == 0)
        elif chance < 0.6:
            operation = made(kinds.PUT, "put", key, partition, lambda c, v, x: v, value)
        elif chance < 0.68:
            operation = made(kinds.PUT_IF_ABSENT, "put_if_absent", key, partition, _tried, value)
        elif chance < 0.74:
            operation = made(kinds.REPLACE, "replace", key, partition, _found, value)
        elif chance < 0.84:
            kind = kinds.COMPARE_AND_SET
            operation = made(kind, "cas", key, partition, _tried, known, value)
            operation.expected = known
        elif chance < 0.9:
            operation = made(kinds.DELETE, "delete", key, partition, _found)
        elif chance < 0.94:
            kind = kinds.DELETE_IF_VERSION
            operation = made(kind, "delete_if", key, partition, _tried, known)
            operation.expected = known
        else:
            key = b"brief" + key
            if chance < 0.97:
                operation = made(kinds.GET, "get", key, partition, _got)
            else:
                operation = made(kinds.PUT, "put_ttl", key, partition, lambda c, v, x: v, value)
                operation.ttl_ms = rng.choice((0, 50, 300, 900))
            operation.target = BRIEF
        operation.value = value.encode()
        return operation

    def _counter(self, partition: int) -> Operation:
        key = b"counter"
        if self.world.rng.random() < 0.3:
            return self._made(
                kinds.GET, "read_counter", key, partition, lambda c, v, x: _decode(x) if x else 0
            )
        more = self.world.rng.randrange(1, 5)
        kind, target = kinds.CALL, "add"
        operation = self._made(kind, target, key, partition, lambda c, v, x: _decode(x), more)
        operation.target, operation.value = target, _encode([key, more])
        return operation

    def _list(self, partition: int) -> Operation:
        key = b"list"
        if self.world.rng.random() < 0.3:
            return self._made(
                kinds.GET,
                "read_list",
                key,
                partition,
                lambda c, v, x: tuple(_decode(x)) if x else (),
            )
        item = self.unique()
        kind, target = kinds.CALL, "append"
        operation = self._made(kind, target, key, partition, lambda c, v, x: _decode(x), item)
        operation.target, operation.value = target, _encode([key, item])
        return operation

    def _transfer(self, partition: int) -> Operation:
        rng = self.world.rng
        if rng.random() < 0.3:
            operation = Operation(self, kinds.CALL_READ_ONLY, partition, b"", _total)
            operation.target = "total"
            return operation
        source, target = rng.sample(range(ACCOUNTS), 2)
        operation = Operation(self, kinds.CALL, partition, b"", lambda c, v, x: None)
        operation.target = "transfer"
        operation.value = _encode([account_key(source), account_key(target), rng.randrange(60)])
        return operation

    def _bulk(self, partition: int) -> Operation:
        rng = self.world.rng
        keys = rng.sample(self.world.plan.keys, 2)
        operation = Operation(self, -kinds.PUT, partition, b"", lambda c, v, x: v)
        recorder = self.world.recorder_of("put")
        for key in keys:
            value = self.unique()
            operation.entries.append((key, value.encode()))
            operation.calls.append(recorder.invoke(self.name, (partition, key), "put", value))
        return operation

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
            self.seen[operation.partition, operation.key] = version
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


def _got(code: int, version: int, value: bytes) -> Any:
    return None if code else (value.decode(), version)


def _tried(code: int, version: int, value: bytes) -> Any:
    return (code == 0, version)


def _found(code: int, version: int, value: bytes) -> Any:
    return (True, version) if code == 0 else (False, None)


def _total(code: int, version: int, value: bytes) -> Any:
    return _decode(value)
