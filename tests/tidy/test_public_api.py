"""What users build on changes only on purpose, and says what it does."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from tests.tidy.public_api import MODULES, PINNED, describe, public_names
from tests.tidy.sources import ROOT, none


def test_the_public_api_is_as_pinned() -> None:
    pinned = PINNED.read_text("utf-8").splitlines()
    now = describe().splitlines()
    changes = [
        f"{PINNED.relative_to(ROOT)}:1: {line}"
        for line in difflib.unified_diff(pinned, now, "pinned", "now", lineterm="", n=0)
    ]
    if changes:
        changes.append(f"{PINNED.relative_to(ROOT)}:1: ~ if it is meant: `make pin`, CHANGELOG.md")
    none(changes)


def test_everything_public_has_a_docstring() -> None:
    none(
        problem
        for module in map(importlib.import_module, MODULES)
        for name in public_names(module)
        for problem in _undocumented(name, getattr(module, name))
    )


def _undocumented(name: str, value: Any) -> Iterator[str]:
    if not (inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value)):
        return
    if not (value.__doc__ or "").strip():
        yield f"{_place(value)}: {name} has no docstring"
    if inspect.isclass(value):
        for member, function in vars(value).items():
            target = function.fget if isinstance(function, property) else function
            target = getattr(target, "__func__", target)
            own = inspect.isfunction(target) and target.__module__ == value.__module__
            if not member.startswith("_") and own and not (target.__doc__ or "").strip():
                yield f"{_place(target)}: {name}.{member} has no docstring"


def _place(value: Any) -> str:
    path = inspect.getsourcefile(value)
    assert path is not None
    line = 1 if inspect.ismodule(value) else inspect.getsourcelines(value)[1]
    return f"{path.removeprefix(str(ROOT) + '/')}:{line}"
