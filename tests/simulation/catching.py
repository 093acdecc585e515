"""Deliberate faults: how one is put into the core, and what shows it."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.simulation.plan import Plan, draw
from tests.simulation.run import run

Patch = Callable[[], AbstractContextManager[Any]]
Tweak = Callable[[Plan], Plan]


@dataclass(frozen=True)
class Mutation:
    """`tweak` bends the random plans towards it. `directed`: instead of random schedules, which
    never come by: a script that returns what was violated, or ""."""

    name: str
    about: str
    patch: Patch
    within: int = 60
    tweak: Tweak | None = None
    directed: Callable[[], str] | None = None


def on(target: str, new: Any) -> Patch:
    return lambda: mock.patch("tupelo_grid.core." + target, new)


def here(target: str, new: Any) -> Patch:
    return lambda: mock.patch("tests.simulation." + target, new)


def both(*patches: Patch) -> Patch:
    def enter() -> AbstractContextManager[Any]:
        stack = ExitStack()
        for patch in patches:
            stack.enter_context(patch())
        return stack

    return enter


@dataclass(frozen=True)
class Catch:
    """`schedules`: how many it took, 0: it was not caught; `how`: what was violated."""

    name: str
    schedules: int
    how: str


def show(mutation: Mutation, first_seed: int = 1) -> Catch:
    name = mutation.name
    with mutation.patch():
        if mutation.directed is not None:
            how = mutation.directed()
            return Catch(name, 1 if how else 0, how)
        for seed in range(first_seed, first_seed + mutation.within):
            plan = draw(seed, random.Random(seed))
            result = run(seed, plan=mutation.tweak(plan) if mutation.tweak else plan)
            if result.violation:
                how = f"seed {seed}: {result.violation.splitlines()[0]}"
                return Catch(name, seed - first_seed + 1, how)
    return Catch(name, 0, f"{mutation.within} schedules showed nothing")
