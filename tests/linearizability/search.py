"""The search for an order of one key's operations: Wing and Gong's with Lowe's memo.

Wing and Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for
linearizability" (2017). See checker.py for what makes it quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.linearizability.history import NEVER, Op, as_unknown
from tests.linearizability.models import Model, State

Outcome = Literal["ok", "violation", "undecided"]

ORDER_SHOWN: Final = 6


@dataclass
class Found:
    """How the search of one key ended.

    Attributes:
        order: the end of a longest explanation found, in order of effect.
        placed: how many operations that explanation has.
        state: the one that it leads to.
        blocked: of a violation, the operation that no order could explain by its return; the
            history up to that return is itself a violation.
    """

    outcome: Outcome = "undecided"
    states: int = 0
    order: list[Op] = field(default_factory=list)
    placed: int = 0
    state: State = None
    blocked: Op | None = None


@dataclass
class _Frame:
    """One point of the search: what is done, and what is left to try from here."""

    state: State
    done: int
    ranked: int
    choices: list[tuple[int, State]]
    tried_unknown: bool = False
    entered_by: int = -1


class _Search:
    """The search of one key from one initial state.

    Completed operations are numbered from 0 in order of their return, those with an unknown outcome
    after them. The events (invocations and returns) of completed operations that have not taken
    effect yet form a doubly linked list: those before its first return may come next.
    """

    def __init__(self, ops: Sequence[Op], model: Model, states_max: int) -> None:
        self.model = model
        self.states_max = states_max
        completed = [op for op in ops if not op.unknown]
        # Unknown reads tell nothing and change nothing.
        unknown = [op for op in ops if op.unknown and not model.read_only(op)]
        completed.sort(key=lambda op: op.returned)
        unknown.sort(key=lambda op: op.invoked)
        self.ops = completed + unknown
        self.count = len(completed)
        self.reads = [model.read_only(op) for op in completed]
        self.ranks = [model.rank(op) for op in completed]
        # Operations with a rank take effect in its order, so those done are always the first ones.
        self.in_rank_order = [*sorted(rank for rank in self.ranks if rank is not None), NEVER]
        self._link()
        self.found = Found()

    def _link(self) -> None:
        """Events in order of time, invocations before returns at the same instant."""
        events = [(op.invoked, 0, n) for n, op in enumerate(self.ops[: self.count])]
        events += [(op.returned, 1, n) for n, op in enumerate(self.ops[: self.count])]
        events.sort()
        size = len(events)
        # Position 0 is the head of the list, size + 1 its end.
        self.end = size + 1
        self.next = list(range(1, size + 3))
        self.previous = list(range(-1, size + 1))
        self.op_at = [-1] + [n for _, _, n in events] + [-1]
        self.is_return = [False] + [kind == 1 for _, kind, _ in events] + [True]
        self.call_at = [0] * self.count
        self.return_at = [0] * self.count
        for position, (_, kind, n) in enumerate(events, 1):
            (self.return_at if kind else self.call_at)[n] = position
        self.unknown_before = self._count_unknown([time for time, _, _ in events])

    def _count_unknown(self, times: list[float]) -> list[int]:
        """For each position, how many unknown operations were invoked by then."""
        counts, seen = [0], 0
        for time in [*times, NEVER]:
            while self.count + seen < len(self.ops) and (
                self.ops[self.count + seen].invoked <= time
            ):
                seen += 1
            counts.append(seen)
        return counts

    def run(self, initial: State) -> Found:
        found = self.found
        seen: set[tuple[int, State]] = {(0, initial)}
        stack = [self._frame(initial, 0, 0, -1)]
        furthest = placed = -1
        while stack:
            frame = stack[-1]
            if len(stack) > placed:
                placed = len(stack)
                found.order = [
                    self.ops[each.entered_by] for each in stack[max(1, placed - ORDER_SHOWN) :]
                ]
                found.placed = placed - 1
                found.state = frame.state
            if self.next[0] == self.end:
                found.outcome, found.states, found.blocked = "ok", len(seen), None
                return found
            if not frame.choices and not frame.tried_unknown:
                frame.tried_unknown = True
                frame.choices = self._unknown_choices(frame)
            if not frame.choices:
                furthest = max(furthest, self._first_return())
                stack.pop()
                if 0 <= frame.entered_by < self.count:
                    self._put_back(frame.entered_by)
                continue
            n, state = frame.choices.pop()
            pair = (frame.done | 1 << n, state)
            if pair in seen:
                continue
            if len(seen) >= self.states_max:
                found.outcome, found.states = "undecided", len(seen)
                return found
            seen.add(pair)
            ranked = frame.ranked
            if n < self.count:
                self._take_out(n)
                ranked += self.ranks[n] is not None
            stack.append(self._frame(state, pair[0], ranked, n))
        found.outcome, found.states = "violation", len(seen)
        found.blocked = self.ops[self.op_at[furthest]]
        return found

    def _frame(self, state: Any, done: int, ranked: int, entered_by: int) -> _Frame:
        """What may come next among completed operations, best last."""
        choices: list[tuple[int, State]] = []
        next_rank = self.in_rank_order[ranked]
        if self.model.floor(state) > next_rank:
            return _Frame(state, done, ranked, choices, True, entered_by)
        position = self.next[0]
        while not self.is_return[position]:
            n = self.op_at[position]
            position = self.next[position]
            if self.ranks[n] is not None and self.ranks[n] != next_rank:
                continue
            after = self.model.step(state, self.ops[n])
            if self.reads[n] and state in after:
                return _Frame(state, done, ranked, [(n, state)], True, entered_by)
            choices.extend((n, each) for each in after)
        choices.sort(key=lambda choice: -choice[0])
        return _Frame(state, done, ranked, choices, False, entered_by)

    def _unknown_choices(self, frame: _Frame) -> list[tuple[int, State]]:
        count = self.unknown_before[self._first_return()]
        choices: list[tuple[int, State]] = []
        for n in range(self.count, self.count + count):
            if not frame.done >> n & 1:
                after = self.model.step(frame.state, self.ops[n])
                choices.extend((n, each) for each in after if each != frame.state)
        return choices

    def _first_return(self) -> int:
        position = self.next[0]
        while not self.is_return[position]:
            position = self.next[position]
        return position

    def _take_out(self, n: int) -> None:
        following, preceding = self.next, self.previous
        for position in (self.call_at[n], self.return_at[n]):
            following[preceding[position]] = following[position]
            preceding[following[position]] = preceding[position]

    def _put_back(self, n: int) -> None:
        following, preceding = self.next, self.previous
        for position in (self.return_at[n], self.call_at[n]):
            following[preceding[position]] = position
            preceding[following[position]] = position


def search(ops: Sequence[Op], model: Model, starts: Sequence[State], states_max: int) -> Found:
    """Looks for an explanation of one key's history that begins in one of `starts`.

    A violation means that there is none from any of them, undecided that the bound was reached from
    at least one.
    """
    best = Found("violation")
    states = 0
    for start in starts:
        found = _Search(ops, model, states_max).run(start)
        states += found.states
        if found.outcome == "ok":
            found.states = states
            return found
        rank = (found.outcome == "undecided", found.placed)
        if best.blocked is None or rank > (best.outcome == "undecided", best.placed):
            best = found
    best.states = states
    return best


def prefix(ops: Sequence[Op], last: Op) -> list[Op]:
    """The history as it was known when `last` returned. Linearizable if the whole history is."""
    return [
        op if op.returned <= last.returned else as_unknown(op)
        for op in ops
        if op.invoked <= last.returned
    ]
