"""Is there one order of a history's operations that explains every result and respects time?

The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the
memo of Lowe ("Testing for linearizability", 2017): a depth-first search over which operation took
effect next, that never visits the same pair (operations done, state) twice. Keys are checked one by
one, since linearizability is local (Herlihy and Wing, 1990). Three things make it quick:

- A read that fits the present state takes effect at once and is not tried elsewhere: whatever order
  exists, it exists with that read moved to here.
- Of the operations that may come next the one that returned first is tried first.
- Operations with an unknown outcome are tried only when nothing else fits. They need not be
  placed at all.

The problem is NP-complete, so the search is bounded by `states_max` visited pairs a key. What does
not fit into the bound is `undecided`: neither right nor wrong, and to be reported as such.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final

from tests.linearizability.counterexample import explain
from tests.linearizability.history import Op, by_key
from tests.linearizability.models import Model
from tests.linearizability.search import Outcome, search

STATES_MAX: Final = 200_000


@dataclass(frozen=True)
class Verdict:
    """The judgement of a history.

    Attributes:
        outcome: "ok" only when every key was decided and is right. "violation" when one is wrong.
        keys: how many were looked at; a violation ends the search.
        states: pairs visited, over all keys.
        undecided: keys whose search reached its bound.
        counterexample: of a violation, the operations that cannot be explained, readable.
        ops: of a violation, the same as operations.
    """

    outcome: Outcome
    keys: int
    states: int
    undecided: tuple[Hashable, ...] = ()
    counterexample: str = ""
    ops: tuple[Op, ...] = ()

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"

    @property
    def violation(self) -> bool:
        return self.outcome == "violation"

    def __bool__(self) -> bool:
        raise TypeError("a verdict has three values: ask for .ok or .violation")


def check_history(ops: Iterable[Op], model: Model, states_max: int = STATES_MAX) -> Verdict:
    """Judges a history, each key alone.

    `states_max` bounds the search of one key, in visited (operations done, state) pairs; a pair
    takes some microseconds and about 200 bytes.
    """
    states = 0
    undecided: list[Hashable] = []
    keys = by_key(ops)
    for number, (key, own) in enumerate(keys.items(), 1):
        found = search(own, model, [model.initial()], states_max)
        states += found.states
        if found.outcome == "undecided":
            undecided.append(key)
        elif found.outcome == "violation":
            text, kept = explain(own, found, model)
            return Verdict("violation", number, states, tuple(undecided), text, tuple(kept))
    return Verdict("undecided" if undecided else "ok", len(keys), states, tuple(undecided))
