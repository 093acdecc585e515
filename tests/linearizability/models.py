"""What a correct object does, as a checker needs it: from a state and an operation to next states.

A model is asked `step(state, op)`: which states can follow when `op` takes effect in `state` and
answers what it answered? None at all means that the answer is impossible there. An operation with
an unknown outcome fits any answer. States are hashable values, never changed in place.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from tests.linearizability.history import UNKNOWN, Op

State = Hashable


class Model(Protocol):
    """The behaviour of one key."""

    def initial(self) -> State: ...

    def step(self, state: Any, op: Op) -> Sequence[State]:
        """The states that can follow; empty when the operation cannot have this result here."""
        ...

    def read_only(self, op: Op) -> bool:
        """True when an operation with this result changes nothing, wherever it took effect."""
        ...

    def rank(self, op: Op) -> int | None:
        """In every right order, operations that have a rank take effect by rising or equal rank.

        None where the result does not tell. Ranks make the search quick, not right or wrong.
        """
        ...

    def floor(self, state: Any) -> int:
        """No operation of a lower rank can take effect in this state, or in any that follows."""
        ...

    def possible_starts(self, ops: Sequence[Op]) -> Sequence[State]:
        """States that a later part of a history may begin in, enough to judge `ops` by: when `ops`
        fits none of them, it fits no state at all. Used to shorten counter-examples only."""
        ...


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()


class RegisterState(NamedTuple):
    """An entry. `version` is 0 while nobody has seen it; it is then known to be at least `low`.

    Of an absent entry `low` is the least that the version of its removal can have been.
    """

    value: Hashable
    version: int
    low: int
    expires: bool

    def __str__(self) -> str:
        if self.value is ABSENT:
            return f"absent (versions up to {self.low} are used)"
        version = str(self.version) if self.version else f"{self.low} or later"
        return f"value {self.value!r} at version {version}"


class RegisterModel:
    """An entry of a space. Versions are journal sequence numbers: they rise strictly per key.

    kind(args)                  result
    get()                       None, or (value, version)
    contains()                  bool
    put(value)                  version
    put_ttl(value)              version; the entry may vanish at any later time
    put_if_absent(value)        (True, version) or (False, version found)
    replace(value)              (True, version) or (False, None)
    cas(expected, value)        (True, version) or (False, version found, 0 when absent)
    delete()                    (True, version of the removal) or (False, None)
    delete_if(expected)         (True, version of the removal) or (False, version found)

    Any version may be None where the client was not told it. A `cas` or `delete_if` that fails
    without telling what it found is accepted when the version may have been another one.
    """

    def initial(self) -> RegisterState:
        return RegisterState(ABSENT, 0, 0, False)

    def read_only(self, op: Op) -> bool:
        if op.kind in ("get", "contains"):
            return True
        if op.unknown or op.kind in ("put", "put_ttl"):
            return False
        return not op.result[0]

    def possible_starts(self, ops: Sequence[Op]) -> Sequence[RegisterState]:
        values: dict[Hashable, None] = {object(): None}
        for op in ops:
            if op.kind == "get" and not op.unknown and op.result is not None:
                values[op.result[0]] = None
        entries = [RegisterState(value, 0, 1, False) for value in values]
        may_vanish = [RegisterState(value, 0, 1, True) for value in values]
        return [self.initial(), *entries, *may_vanish]

    def rank(self, op: Op) -> int | None:
        """Even for a write that made a version, odd for an operation that saw it."""
        kind, result = op.kind, op.result
        if op.unknown or kind == "contains" or result is None:
            return None
        if kind == "put" or kind == "put_ttl":
            return 2 * int(result)
        seen = kind == "get" or not result[0]
        return 2 * result[1] + seen if result[1] else None

    def floor(self, state: RegisterState) -> int:
        return 2 * state.low

    def step(self, state: RegisterState, op: Op) -> Sequence[RegisterState]:
        after = self._step(state, op)
        if not state.expires:
            return after
        gone = RegisterState(ABSENT, 0, state.low + 1, False)
        return [*after, *self._step(gone, op)]

    def _step(self, state: RegisterState, op: Op) -> Sequence[RegisterState]:
        kind, result = op.kind, op.result
        if kind == "put" or kind == "put_ttl":
            told = None if result is UNKNOWN else result
            return _write(state, op.args[0], told, expires=kind == "put_ttl")
        if kind == "get":
            return _get(state, result)
        if kind == "contains":
            present = state.value is not ABSENT
            return (state,) if result is UNKNOWN or result == present else ()
        return _conditional(state, op)


def _get(state: RegisterState, result: Any) -> Sequence[RegisterState]:
    if result is UNKNOWN:
        return (state,)
    if result is None:
        return (state,) if state.value is ABSENT else ()
    if state.value is ABSENT or result[0] != state.value:
        return ()
    return _observe(state, result[1])


def _write(
    state: RegisterState, value: Hashable, version: int | None, *, expires: bool = False
) -> Sequence[RegisterState]:
    if version is None:
        return (RegisterState(value, 0, state.low + 1, expires),)
    if version <= state.low:
        return ()
    return (RegisterState(value, 0 if value is ABSENT else version, version, expires),)


def _observe(state: RegisterState, version: int | None) -> Sequence[RegisterState]:
    """The entry was seen to have this version."""
    if version is None or version == state.version:
        return (state,)
    if state.version or version < state.low:
        return ()
    return (RegisterState(state.value, version, version, state.expires),)


def _conditional(state: RegisterState, op: Op) -> Sequence[RegisterState]:
    kind = op.kind
    new = ABSENT if kind in ("delete", "delete_if") else op.args[-1]
    matching = _where_condition_holds(state, op)
    if op.unknown:
        done = [after for before in matching for after in _write(before, new, None)]
        return [*done, state]
    applied, version = op.result
    if applied:
        return [after for before in matching for after in _write(before, new, version)]
    present = state.value is not ABSENT
    if kind == "put_if_absent":
        return _observe(state, version) if present else ()
    if kind == "replace" or kind == "delete":
        return () if present else (state,)
    if not present:
        return (state,) if version in (0, None) else ()
    if version == op.args[0] or (version is None and state.version == op.args[0]):
        return ()
    return _observe(state, version)


def _where_condition_holds(state: RegisterState, op: Op) -> Sequence[RegisterState]:
    """The state as it must be for a conditional operation to take effect; empty: it cannot be."""
    present = state.value is not ABSENT
    if op.kind == "put_if_absent":
        return () if present else (state,)
    if not present:
        return ()
    if op.kind in ("cas", "delete_if"):
        return _observe(state, op.args[0])
    return (state,)


class SequentialModel:
    """A model whose every operation has one right answer: subclasses say which by `apply`."""

    reads: frozenset[str] = frozenset()

    def initial(self) -> State:
        raise TypeError(f"{type(self).__name__} does not say what it begins with")

    def apply(self, state: Any, op: Op) -> tuple[Any, State]:
        """The answer and the state after it."""
        raise TypeError(f"{type(self).__name__} does not say what {op.kind} does")

    def step(self, state: State, op: Op) -> Sequence[State]:
        answer, after = self.apply(state, op)
        fits = op.result is UNKNOWN or op.result == answer or op.result is None
        return (after,) if fits else ()

    def read_only(self, op: Op) -> bool:
        return op.kind in self.reads

    def rank(self, op: Op) -> int | None:
        return None

    def floor(self, state: Any) -> int:
        return 0

    def possible_starts(self, ops: Sequence[Op]) -> Sequence[State]:
        """No better guess than the beginning: counter-examples keep their front."""
        return ()


class AppendListModel(SequentialModel):
    """append(item) -> length after it, or None where not told; read() -> tuple of all items."""

    reads = frozenset({"read"})

    def initial(self) -> State:
        return ()

    def apply(self, state: tuple[Any, ...], op: Op) -> tuple[Any, State]:
        if op.kind == "read":
            return state, state
        after = (*state, op.args[0])
        return len(after), after

    def rank(self, op: Op) -> int | None:
        """The list only grows: by its length."""
        if op.unknown or op.result is None:
            return None
        return 2 * len(op.result) + 1 if op.kind == "read" else 2 * int(op.result)

    def floor(self, state: tuple[Any, ...]) -> int:
        return 2 * len(state)


class CounterModel(SequentialModel):
    """add(n) -> sum after it, or None where not told; read() -> sum."""

    reads = frozenset({"read"})

    def initial(self) -> State:
        return 0

    def apply(self, state: int, op: Op) -> tuple[Any, State]:
        after = state if op.kind == "read" else state + op.args[0]
        return after, after
