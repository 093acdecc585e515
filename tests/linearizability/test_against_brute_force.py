"""The checker agrees with trying every order of tiny histories, written without its model."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.linearizability.checker import check_history
from tests.linearizability.history import NEVER, UNKNOWN, Op
from tests.linearizability.models import AppendListModel, RegisterModel

VERSION_MAX = 9  # enough for four writes above the versions that the strategies draw
State = tuple[Any, int, int]  # value or None, version, last sequence


def outcomes(state: State, op: Op) -> list[tuple[Any, State]]:
    """Every (answer, state after) that an explicit register could give."""
    value, version, last = state
    present = value is not None
    if op.kind == "get":
        return [((value, version) if present else None, state)]
    if op.kind == "delete":
        if not present:
            return [((False, None), state)]
        return [((True, new), (None, 0, new)) for new in range(last + 1, VERSION_MAX + 1)]
    if op.kind == "put_if_absent" and present:
        return [((False, version), state)]
    if op.kind == "cas" and (not present or version != op.args[0]):
        return [((False, version if present else 0), state)]
    after = [(new, (op.args[-1], new, new)) for new in range(last + 1, VERSION_MAX + 1)]
    return after if op.kind == "put" else [((True, new), state) for new, state in after]


def fits(answer: Any, told: Any) -> bool:
    if told is UNKNOWN or told == answer:
        return True
    if isinstance(answer, tuple) and isinstance(told, tuple):
        return told[0] == answer[0] and told[1] is None
    return told is None and isinstance(answer, int)


def brute_force(ops: list[Op], state: State = (None, 0, 0)) -> bool:
    if all(op.unknown for op in ops):
        return True
    first_return = min(op.returned for op in ops)
    for index, op in enumerate(ops):
        if op.invoked > first_return:
            continue
        rest = ops[:index] + ops[index + 1 :]
        for answer, after in outcomes(state, op):
            if fits(answer, op.result) and brute_force(rest, after):
                return True
    return False


versions = st.integers(1, 5)
values = st.integers(1, 3)
maybe_version = st.one_of(versions, st.none())


@st.composite
def operations(draw: st.DrawFn) -> Op:
    kind = draw(st.sampled_from(["get", "get", "put", "put", "put_if_absent", "cas", "delete"]))
    args: tuple[Any, ...] = ()
    result: Any
    if kind == "get":
        result = draw(st.one_of(st.none(), st.tuples(values, maybe_version)))
    elif kind == "put":
        args, result = (draw(values),), draw(maybe_version)
    elif kind == "put_if_absent":
        args, result = (draw(values),), (draw(st.booleans()), draw(versions))
    elif kind == "cas":
        args = (draw(versions), draw(values))
        applied = draw(st.booleans())
        result = (applied, draw(versions if applied else st.integers(0, 5)))
    else:
        result = draw(st.one_of(st.just((False, None)), st.tuples(st.just(True), maybe_version)))
    invoked = draw(st.integers(0, 8))
    returned: float = invoked + draw(st.integers(0, 5))
    if draw(st.integers(0, 4)) == 0:
        result, returned = UNKNOWN, NEVER
    return Op("c", "k", kind, args, result, invoked, returned)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations(), min_size=1, max_size=5))
def test_register_agrees_with_brute_force(ops: list[Op]) -> None:
    verdict = check_history(ops, RegisterModel())
    assert verdict.outcome == ("ok" if brute_force(ops) else "violation"), verdict


@st.composite
def list_operations(draw: st.DrawFn) -> Op:
    invoked = draw(st.integers(0, 8))
    returned: float = invoked + draw(st.integers(0, 5))
    if draw(st.booleans()):
        items = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
        return Op("c", "k", "read", (), items, invoked, returned)
    result: Any = draw(st.one_of(st.integers(1, 4), st.none()))
    if draw(st.integers(0, 3)) == 0:
        result, returned = UNKNOWN, NEVER
    return Op("c", "k", "append", (draw(st.integers(1, 3)),), result, invoked, returned)


def brute_force_list(ops: list[Op], items: tuple[int, ...] = ()) -> bool:
    if all(op.unknown for op in ops):
        return True
    first_return = min(op.returned for op in ops)
    for index, op in enumerate(ops):
        after = items if op.kind == "read" else (*items, op.args[0])
        answer = items if op.kind == "read" else len(after)
        told = op.result is UNKNOWN or op.result is None or op.result == answer
        rest = ops[:index] + ops[index + 1 :]
        if op.invoked <= first_return and told and brute_force_list(rest, after):
            return True
    return False


@settings(max_examples=300, deadline=None)
@given(st.lists(list_operations(), min_size=1, max_size=6))
def test_append_list_agrees_with_brute_force(ops: list[Op]) -> None:
    verdict = check_history(ops, AppendListModel())
    assert verdict.outcome == ("ok" if brute_force_list(ops) else "violation"), verdict
