"""Makes a violation small enough to read: cuts what the violation does not need, and tells it.

Only cuts that keep the judgement true are made: what follows the failing return; reads (a history
that is right stays right without them); and the front, when what remains fits no state at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.linearizability.history import Op, as_unknown
from tests.linearizability.models import Model
from tests.linearizability.search import Found, prefix, search

STEPS_MAX = 200  # searches spent on shortening
LINES_MAX = 40


def explain(ops: Sequence[Op], found: Found, model: Model, states_max: int) -> tuple[str, list[Op]]:
    """Text and operations of a small history that is still a violation."""
    if found.blocked is None:
        raise ValueError("only a violation can be explained")
    kept = sorted(prefix(ops, found.blocked), key=lambda op: (op.invoked, op.returned))
    kept, starts_anywhere = _cut_front(kept, model, states_max)
    starts = model.possible_starts(kept) if starts_anywhere else [model.initial()]
    kept = _drop_reads(kept, model, list(starts), states_max)
    last = search(kept, model, list(starts), states_max)
    return _tell(kept, last, len(ops), starts_anywhere), kept


def _violates(ops: Sequence[Op], model: Model, starts: Sequence[object], states_max: int) -> bool:
    return search(ops, model, starts, states_max).outcome == "violation"


def _cut_front(ops: list[Op], model: Model, states_max: int) -> tuple[list[Op], bool]:
    """The shortest end of the history, by bisection, that fits no state it could begin in.

    An operation that was under way when the kept part begins may have taken effect before or after:
    it stays, but with an unknown outcome.
    """
    if not model.possible_starts(ops):
        return ops, False

    def tail(start: int) -> list[Op]:
        begin = ops[start].invoked
        return [*(as_unknown(op) for op in ops[:start] if op.returned >= begin), *ops[start:]]

    def bad(start: int) -> bool:
        rest = tail(start)
        return _violates(rest, model, model.possible_starts(rest), states_max)

    low, high = 0, len(ops) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if bad(middle):
            low = middle
        else:
            high = middle - 1
    if low == 0:
        return ops, False
    return tail(low), True


def _drop_reads(ops: list[Op], model: Model, starts: list[object], states_max: int) -> list[Op]:
    """Leaves out reads one at a time, latest first."""
    steps = 0
    for op in reversed(ops):
        if not model.read_only(op):
            continue
        if steps >= STEPS_MAX:
            break
        steps += 1
        fewer = [other for other in ops if other is not op]
        if _violates(fewer, model, starts, states_max):
            ops = fewer
    return ops


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
