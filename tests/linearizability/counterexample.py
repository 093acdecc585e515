"""Makes a violation small enough to read: cuts what the violation does not need, and tells it.

Only cuts that keep the judgement true are made: what follows the failing return; reads (a history
that is right stays right without them); and the front, when what remains fits no state at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.linearizability.history import Op, as_unknown
from tests.linearizability.models import Model, State
from tests.linearizability.search import Found, prefix, search

STATES_MAX = 5_000  # of one search for shortening
BUDGET = 200_000  # of all of them together
LINES_MAX = 40


def explain(ops: Sequence[Op], found: Found, model: Model) -> tuple[str, list[Op]]:
    """Text and operations of a small history that is still a violation."""
    if found.blocked is None:
        raise ValueError("only a violation can be explained")
    whole = sorted(prefix(ops, found.blocked), key=lambda op: (op.invoked, op.returned))
    shortener = _Shortener(model)
    kept = shortener.cut_front(whole)
    starts_anywhere = kept is not whole
    starts = list(model.possible_starts(kept)) if starts_anywhere else [model.initial()]
    kept = shortener.drop_reads(kept, starts)
    last = search(kept, model, starts, STATES_MAX)
    return _tell(kept, last, len(ops), starts_anywhere), kept


class _Shortener:
    """Searches again and again, within one budget; what it cannot decide it leaves as it is."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._budget = BUDGET

    def _violates(self, ops: Sequence[Op], starts: Sequence[State]) -> bool:
        for start in starts:
            if self._budget <= 0:
                return False
            found = search(ops, self._model, [start], min(STATES_MAX, self._budget))
            self._budget -= found.states
            if found.outcome != "violation":
                return False
        return True

    def cut_front(self, ops: list[Op]) -> list[Op]:
        """The shortest end of the history, by bisection, that fits no state it could begin in.

        An operation that was under way when the kept part begins may have taken effect before or
        after: it stays, but with an unknown outcome.
        """
        if not self._model.possible_starts(ops):
            return ops
        low, high = 0, len(ops) - 1
        while low < high:
            middle = (low + high + 1) // 2
            rest = _from(ops, middle)
            if self._violates(rest, self._model.possible_starts(rest)):
                low = middle
            else:
                high = middle - 1
        return _from(ops, low) if low else ops

    def drop_reads(self, ops: list[Op], starts: Sequence[State]) -> list[Op]:
        """Leaves out reads one at a time, latest first."""
        for op in reversed(ops):
            if self._model.read_only(op):
                fewer = [other for other in ops if other is not op]
                if self._violates(fewer, starts):
                    ops = fewer
        return ops


def _from(ops: list[Op], start: int) -> list[Op]:
    begin = ops[start].invoked
    return [*(as_unknown(op) for op in ops[:start] if op.returned >= begin), *ops[start:]]


def _tell(ops: list[Op], found: Found, total: int, starts_anywhere: bool) -> str:
    begin = min(op.invoked for op in ops)
    names = [str(op.client) for op in ops]
    width = max(map(len, names))
    lines = [
        f"key {ops[0].key!r}: no order of these {len(ops)} operations (of {total}) explains them"
        + (", whatever came before" if starts_anywhere else "")
    ]
    for op, name in list(zip(ops, names, strict=True))[-LINES_MAX:]:
        end = "     never" if op.unknown else f"{op.returned - begin:10.6g}"
        mark = "  <-- cannot be explained" if op is found.blocked else ""
        lines.append(f"  {op.invoked - begin:10.6g} .. {end}  {name:{width}}  {op}{mark}")
    order = "; ".join(f"{op.client}: {op.kind}" for op in found.order[-6:]) or "nothing"
    lines.append(f"  furthest explanation ends with: {order}; state: {found.state}")
    return "\n".join(lines)
