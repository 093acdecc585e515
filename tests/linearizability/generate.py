"""Random histories of a correct object, and ways to spoil them, for the checker's own tests."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from tests.linearizability.history import NEVER, UNKNOWN, Op
from tests.linearizability.models import ABSENT

Apply = Callable[[str, tuple[Any, ...]], Any]


class RealRegister:
    """A register written without regard to the model: one entry, one sequence number."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.value: Any = ABSENT
        self.version = 0
        self.sequence = 0

    def apply(self, kind: str, args: tuple[Any, ...]) -> Any:
        present = self.value is not ABSENT
        if kind == "get":
            return (self.value, self.version) if present else None
        if kind == "contains":
            return present
        if kind == "put":
            return self._set(args[0])
        if kind == "put_if_absent":
            return (False, self.version) if present else (True, self._set(args[0]))
        if kind == "replace":
            return (True, self._set(args[0])) if present else (False, None)
        if kind == "delete":
            return (True, self._set(ABSENT)) if present else (False, None)
        version = self.version if present else 0
        if not present or version != args[0]:
            return (False, version)
        return (True, self._set(args[1] if kind == "cas" else ABSENT))

    def _set(self, value: Any) -> int:
        # Other keys of the partition take sequence numbers as well.
        self.sequence += self._rng.choice((1, 1, 1, 2, 5))
        self.value = value
        self.version = 0 if value is ABSENT else self.sequence
        return self.sequence


def register_history(
    seed: int,
    *,
    operations: int,
    clients: int = 5,
    unknown: float = 0.05,
    key: str = "k",
) -> list[Op]:
    """A linearizable history of one register.

    Each operation takes effect at one instant between its invocation and its return. With
    probability `unknown` its client is never told; it may then take effect long after, or never.
    """
    rng = random.Random(seed)
    register = RealRegister(rng)
    ops: list[Op] = []
    # (time, tie, what): invocations and effects in order of time.
    agenda: list[tuple[float, int, str, Any]] = [
        (rng.random(), n, "invoke", f"c{n}") for n in range(clients)
    ]
    heapq.heapify(agenda)
    started = 0
    while agenda:
        time, _, what, about = heapq.heappop(agenda)
        if what == "invoke":
            if started == operations:
                continue
            started += 1
            kind, args = _choose(rng, register, started)
            lost = rng.random() < unknown
            delay = rng.expovariate(0.2 if lost else 1.0)
            effect = Op(about, key, kind, args, UNKNOWN, time, NEVER)
            if lost:
                ops.append(effect)
                next_call = (time + rng.expovariate(1.0), started + clients, "invoke", about)
                heapq.heappush(agenda, next_call)
            if not lost or rng.random() < 0.5:
                heapq.heappush(agenda, (time + delay, -started, "effect", (effect, lost)))
        else:
            op, lost = about
            result = register.apply(op.kind, op.args)
            if not lost:
                back = time + rng.expovariate(1.0)
                ops.append(op._replace(result=result, returned=back))
                heapq.heappush(agenda, (back + rng.random() * 0.3, started, "invoke", op.client))
    return ops


def _choose(rng: random.Random, register: RealRegister, number: int) -> tuple[str, tuple[Any, ...]]:
    kind = rng.choice(
        ("get", "get", "get", "put", "put", "put_if_absent", "replace", "cas", "delete", "contains")
    )
    if kind == "cas":
        guess = register.version if rng.random() < 0.7 else max(1, register.sequence - 1)
        return kind, (guess, number)
    if kind in ("put", "put_if_absent", "replace"):
        return kind, (number,)
    return kind, ()


def spoil(ops: list[Op], seed: int) -> list[Op]:
    """The history with one read turned into that of an earlier one: stale, unless concurrent."""
    rng = random.Random(seed)
    reads = sorted(
        (op for op in ops if op.kind == "get" and not op.unknown), key=lambda op: op.invoked
    )
    spoiled = rng.choice(reads[len(reads) // 2 :])
    older = [op for op in reads[: len(reads) // 4] if op.result != spoiled.result]
    if not older:
        return ops
    result = rng.choice(older).result
    return [op._replace(result=result) if op is spoiled else op for op in ops]
