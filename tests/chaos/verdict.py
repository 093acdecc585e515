"""Was every promise kept? Judges what clients were told against what there is at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import tupelo
from tupelo.errors import TupeloError

from tests.chaos.models import ACCOUNTS, START_BALANCE, BankModel, ThingModel
from tests.chaos.objects import taken
from tests.linearizability.checker import check_history
from tests.linearizability.history import Op, Recorder, by_key
from tests.linearizability.models import AppendListModel, CounterModel, Model, RegisterModel
from tests.linearizability.quick import check_append_lists, check_counters, check_versions

AT_ONCE: Final = 64
STATES_MAX: Final = 200_000

MODELS: Final[dict[str, Model]] = {
    "register": RegisterModel(),
    "counter": CounterModel(),
    "log": AppendListModel(),
    "thing": ThingModel(),
    "bank": BankModel(),
}
"""By the beginning of a key's name."""


@dataclass
class Verdict:
    """What was found.

    Attributes:
        lost: acknowledged effects that are not there at the end.
        duplicates: effects that are there more often than they can be.
        violations: every promise that was broken, in words, with counter-examples.
    """

    linearizable: bool = True
    lost: int = 0
    duplicates: int = 0
    keys: int = 0
    states: int = 0
    undecided: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def sort_of(key: str) -> str:
    return key.partition("-")[0]


async def read_all(grid: tupelo.Grid, recorder: Recorder, keys: Sequence[str]) -> None:
    """Reads every object once more, as one last client's operations.

    Raises TupeloError for one that cannot be read though nothing is wrong any more.
    """
    registers = grid.space("registers")

    async def register(key: str) -> None:
        call = recorder.invoke("last", key, "get")
        found = await registers.entry(key)
        call.returned(None if found is None else (found.value, found.version))

    async def ask(key: str, kind: str, command: str, form: Callable[[Any], Any]) -> None:
        call = recorder.invoke("last", key, kind)
        name = "bank" if kind == "balances" else "name"
        call.returned(form(await grid.call_with(f"chaos.{command}", {name: key})))

    ways: dict[str, Callable[[str], Awaitable[None]]] = {
        "register": register,
        "counter": lambda key: ask(key, "read", "total", int),
        "log": lambda key: ask(key, "read", "read", tuple),
        "thing": lambda key: ask(key, "holder", "holder", lambda it: taken("holder", "", it)),
        "bank": lambda key: ask(key, "balances", "balances", tuple),
    }
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(key: str) -> None:
        async with slots:
            try:
                await ways[sort_of(key)](key)
            except TupeloError as error:
                raise type(error)(f"{key} cannot be read at the end: {error}") from error

    await asyncio.gather(*(one(key) for key in keys))


def judge(ops: Sequence[Op], states_max: int = STATES_MAX) -> Verdict:
    """Of a history that ends with `read_all`. Each key is looked at, also after a violation."""
    verdict = Verdict()
    for key, own in by_key(ops).items():
        name = str(key)
        sort = sort_of(name)
        verdict.keys += 1
        verdict.violations += _QUICK.get(sort, _nothing)(own)
        for text in _LOST.get(sort, _nothing)(own):
            verdict.lost += 1
            verdict.violations.append(f"{name}: {text}")
        for text in _TWICE.get(sort, _nothing)(own):
            verdict.duplicates += 1
            verdict.violations.append(f"{name}: {text}")
        found = check_history(own, MODELS[sort], states_max)
        verdict.states += found.states
        verdict.undecided += [name] if found.undecided else []
        if found.violation:
            verdict.linearizable = False
            verdict.violations.append(f"{name} is not linearizable:\n{found.counterexample}")
    return verdict


Check = Callable[[Sequence[Op]], Iterable[str]]


def _nothing(ops: Sequence[Op]) -> Iterable[str]:
    return ()


def last_read(ops: Sequence[Op]) -> Any:
    return next(op.result for op in reversed(ops) if op.client == "last")


def lost_register(ops: Sequence[Op]) -> Iterable[str]:
    """The newest acknowledged version must be there, or a newer one, or its removal."""
    newest = max((made for made in map(_made, ops) if made is not None), default=None)
    if newest is None:
        return
    version, value, removed = newest
    found = last_read(ops)
    perhaps_removed = any(op.unknown and op.kind.startswith("delete") for op in ops)
    if found is None:
        if not removed and not perhaps_removed and not _bulk_delete(ops):
            yield f"{value!r} was acknowledged as version {version}; there is no entry"
    elif found[1] < version or (found[1] == version and (removed or found[0] != value)):
        yield f"{value!r} was acknowledged as version {version}; there is {found}"


def _bulk_delete(ops: Sequence[Op]) -> bool:
    """A removal whose version was not told."""
    return any(
        op.kind.startswith("delete") and not op.unknown and op.result == (True, None) for op in ops
    )


def _made(op: Op) -> tuple[int, str, bool] | None:
    """(version, value, whether it was removed) of a write that was told its version."""
    if op.unknown or op.result is None or op.kind in ("get", "contains"):
        return None
    version = op.result if op.kind == "put" else op.result[1] if op.result[0] else None
    if version is None:
        return None
    removed = op.kind.startswith("delete")
    return version, "" if removed else str(op.args[-1]), removed


def lost_additions(ops: Sequence[Op]) -> Iterable[str]:
    told = sum(op.args[0] for op in ops if op.kind == "add" and not op.unknown)
    if last_read(ops) < told:
        yield f"additions of {told} were acknowledged, the counter is at {last_read(ops)}"


def repeated_additions(ops: Sequence[Op]) -> Iterable[str]:
    most = sum(op.args[0] for op in ops if op.kind == "add")
    if last_read(ops) > most:
        yield f"additions of {most} at most were asked for, the counter is at {last_read(ops)}"


def lost_items(ops: Sequence[Op]) -> Iterable[str]:
    there = set(last_read(ops))
    for op in ops:
        if op.kind == "append" and not op.unknown and op.args[0] not in there:
            yield f"{op.args[0]!r} was acknowledged and is not in the list"


def repeated_items(ops: Sequence[Op]) -> Iterable[str]:
    items = list(last_read(ops))
    for item in sorted({item for item in items if items.count(item) > 1}):
        yield f"{item!r} is in the list {items.count(item)} times"


def sums(ops: Sequence[Op]) -> Iterable[str]:
    for op in ops:
        if op.kind == "balances" and not op.unknown and sum(op.result) != ACCOUNTS * START_BALANCE:
            yield f"{op.key}: balances {op.result} add up to {sum(op.result)}"


_LOST: Final[dict[str, Check]] = {
    "register": lost_register,
    "counter": lost_additions,
    "log": lost_items,
}
_TWICE: Final[dict[str, Check]] = {"counter": repeated_additions, "log": repeated_items}
_QUICK: Final[dict[str, Check]] = {
    "register": check_versions,
    "counter": check_counters,
    "log": check_append_lists,
    "bank": sums,
}
