"""Models of the test unit's objects, for the checker; counters and lists have theirs there."""

from __future__ import annotations

from typing import Any

from tests.linearizability.history import Op
from tests.linearizability.models import SequentialModel, State

ACCOUNTS = 4
START_BALANCE = 100


class ThingModel(SequentialModel):
    """take(customer) -> (True, customer) or (False, holder); release(customer) -> (True, None) or
    (False, holder or None); holder() -> holder or "" (None means "not told" to the checker)."""

    reads = frozenset({"holder"})

    def initial(self) -> State:
        return ""

    def apply(self, state: str, op: Op) -> tuple[Any, State]:
        if op.kind == "holder":
            return state, state
        customer = op.args[0]
        if op.kind == "take":
            return ((False, state), state) if state else ((True, customer), customer)
        return ((True, ""), "") if state == customer else ((False, state), state)

    def read_only(self, op: Op) -> bool:
        """A refusal changes nothing either."""
        return op.kind == "holder" or (
            not op.unknown and op.result is not None and not op.result[0]
        )


class BankModel(SequentialModel):
    """transfer(source, target, amount) -> (True, (balance, balance)) or (False, balance of the
    source); balances() -> tuple of all."""

    reads = frozenset({"balances"})

    def initial(self) -> State:
        return (START_BALANCE,) * ACCOUNTS

    def apply(self, state: tuple[int, ...], op: Op) -> tuple[Any, State]:
        if op.kind == "balances":
            return state, state
        source, target, amount = op.args
        if state[source] < amount:
            return (False, state[source]), state
        after = list(state)
        after[source] -= amount
        after[target] += amount
        return (True, (after[source], after[target])), tuple(after)

    def read_only(self, op: Op) -> bool:
        return op.kind == "balances" or (
            not op.unknown and op.result is not None and not op.result[0]
        )
