"""What clients ask for: random operations, each with its place in the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from tupelo.session import Session
from tupelo_grid.core import batch as kinds

from tests.linearizability.history import Call
from tests.simulation.commands import ACCOUNTS, BRIEF, SPACE, account_key

if TYPE_CHECKING:
    from tests.simulation.clients import Client

_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.decode
Parse = Callable[[int, int, bytes], Any]


class Operation:
    """One call of a client, with all its attempts.

    Attributes:
        aside: made beside another one, whose end is waited for to make the next.
        calls: its places in the history, one a key.
        parse: makes the history's result of (code, version, value).
        entries: of a bulk write, what is written.
    """

    __slots__ = (
        "aside",
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
        self.aside = False
        self.done = False

    @property
    def writes(self) -> bool:
        return self.kind not in kinds.READ_KINDS

    @property
    def label(self) -> str:
        return f"{self.client.name} op {self.number} kind {self.kind} on {self.partition}"


class Workload:
    """Draws one client's operations. `seen`: versions it was told, by partition and key."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._writes = 0
        self.seen: dict[tuple[int, bytes], int] = {}

    def unique(self) -> str:
        self._writes += 1
        return f"{self._client.name}.{self._writes}"

    def choose(self) -> Operation:
        rng = self._client.world.rng
        partition = rng.randrange(self._client.world.plan.partitions)
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
            operation = self.bulk(partition)
        operation.strict = strict and not operation.writes
        return operation

    def _made(
        self, kind: int, name: str, key: bytes, partition: int, parse: Parse, *args: Any
    ) -> Operation:
        operation = Operation(self._client, kind, partition, key, parse)
        recorder = self._client.world.recorder_of(name)
        operation.calls.append(recorder.invoke(self._client.name, (partition, key), name, *args))
        return operation

    def _register(self, partition: int, chance: float) -> Operation:
        rng = self._client.world.rng
        key = self._client.world.plan.keys[rng.randrange(len(self._client.world.plan.keys))]
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
        if self._client.world.rng.random() < 0.3:
            return self._made(
                kinds.GET, "read_counter", key, partition, lambda c, v, x: _decode(x) if x else 0
            )
        more = self._client.world.rng.randrange(1, 5)
        kind, target = kinds.CALL, "add"
        operation = self._made(kind, target, key, partition, lambda c, v, x: _decode(x), more)
        operation.target, operation.value = target, _encode([key, more])
        return operation

    def _list(self, partition: int) -> Operation:
        key = b"list"
        if self._client.world.rng.random() < 0.3:
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
        rng = self._client.world.rng
        if rng.random() < 0.3:
            operation = Operation(self._client, kinds.CALL_READ_ONLY, partition, b"", _total)
            operation.target = "total"
            return operation
        source, target = rng.sample(range(ACCOUNTS), 2)
        operation = Operation(self._client, kinds.CALL, partition, b"", lambda c, v, x: None)
        operation.target = "transfer"
        operation.value = _encode([account_key(source), account_key(target), rng.randrange(60)])
        return operation

    def bulk(self, partition: int) -> Operation:
        rng = self._client.world.rng
        keys = rng.sample(self._client.world.plan.keys, rng.choice((1, 1, 2)))
        operation = Operation(self._client, -kinds.PUT, partition, b"", lambda c, v, x: v)
        recorder = self._client.world.recorder_of("put")
        for key in keys:
            value = self.unique()
            operation.entries.append((key, value.encode()))
            call = recorder.invoke(self._client.name, (partition, key), "put", value)
            operation.calls.append(call)
        return operation


def _got(code: int, version: int, value: bytes) -> Any:
    return None if code else (value.decode(), version)


def _tried(code: int, version: int, value: bytes) -> Any:
    return (code == 0, version)


def _found(code: int, version: int, value: bytes) -> Any:
    return (True, version) if code == 0 else (False, None)


def _total(code: int, version: int, value: bytes) -> Any:
    return _decode(value)
