"""Histories: what each client asked for, what it was told, and when."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, NamedTuple


class _Unknown:
    """The result of an operation whose outcome nobody knows."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN: Final = _Unknown()
NEVER: Final = float("inf")


class Op(NamedTuple):
    """One operation as its client saw it.

    An operation with an unknown outcome has result UNKNOWN and returns NEVER: it may take effect at
    any time after its invocation, or not at all. An operation that certainly was not carried out is
    not in a history. Times need only be comparable; when one operation returns at the same instant
    as another is invoked, the two count as concurrent.
    """

    client: Hashable
    key: Hashable
    kind: str
    args: tuple[Any, ...]
    result: Any
    invoked: float
    returned: float

    @property
    def unknown(self) -> bool:
        return self.result is UNKNOWN

    def __str__(self) -> str:
        arguments = ", ".join(map(repr, self.args))
        return f"{self.kind}({arguments}) -> {self.result!r}"


def as_unknown(op: Op) -> Op:
    """The same operation seen by a client that has not heard of it yet."""
    return op._replace(result=UNKNOWN, returned=NEVER)


class Call:
    """An operation under way. Exactly one of its methods is called once."""

    def __init__(self, recorder: Recorder, op: Op) -> None:
        self._recorder = recorder
        self._op = op

    def returned(self, result: Any) -> None:
        now = self._recorder.now()
        self._recorder.ops.append(self._op._replace(result=result, returned=now))

    def unknown(self) -> None:
        self._recorder.ops.append(self._op)

    def failed(self) -> None:
        """Certainly not carried out: leaves no trace."""
        self._recorder.failures += 1


class Recorder:
    """Collects a history. Safe for threads: each call does one append to a list.

    `now` is any clock that all clients share, such as time.perf_counter or a simulator's.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.ops: list[Op] = []
        self.failures = 0

    def invoke(self, client: Hashable, key: Hashable, kind: str, *args: Any) -> Call:
        return Call(self, Op(client, key, kind, args, UNKNOWN, self.now(), NEVER))


def by_key(ops: Iterable[Op]) -> dict[Hashable, list[Op]]:
    """A history is linearizable if and only if that of each key is (Herlihy and Wing, 1990)."""
    keys: dict[Hashable, list[Op]] = {}
    for op in ops:
        keys.setdefault(op.key, []).append(op)
    return keys
