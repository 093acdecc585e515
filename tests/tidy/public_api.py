"""The public names of the SDK and their signatures, as one text.

    python -m tests.tidy.public_api      writes public_api.txt (`make pin`)

A change of that file in a commit is a change for users: it belongs into CHANGELOG.md.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = ("tupelo", "tupelo.errors", "tupelo.sync", "tupelo.testing", "tupelo.unit")
PINNED = Path(__file__).with_name("public_api.txt")


def public_names(module: ModuleType) -> list[str]:
    """`__all__`, or what the module defines itself."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    )


def describe() -> str:
    lines = ["# Made by `make pin`; see public_api.py."]
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        lines.append(f"\n[{module_name}]")
        for name in public_names(module):
            lines.extend(_describe(name, getattr(module, name)))
    return "\n".join(lines) + "\n"


def _describe(name: str, value: Any) -> Iterator[str]:
    if inspect.ismodule(value):
        yield f"module {name}"
    elif inspect.isclass(value):
        yield from _class(name, value)
    elif callable(value):
        yield f"{_kind(value)} {name}{_signature(value)}"
    else:
        yield f"value {name}: {type(value).__name__}"


def _class(name: str, cls: type[Any]) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    if issubclass(cls, enum.Enum):
        for member in cls:
            yield f"    {member.name} = {member.value!r}"
        return
    fields = getattr(cls, "__struct_fields__", ())
    annotations = {
        key: value for base in reversed(cls.__mro__) for key, value in _annotations(base).items()
    }
    for field in fields:
        yield f"    {field}: {annotations.get(field, 'Any')}{_default(cls, field)}"
    for member, value in sorted(vars(cls).items()):
        if member in fields:
            continue
        if member.startswith("_") and member not in ("__init__", "__aenter__", "__enter__"):
            continue
        yield from _member(member, value, annotations)


def _member(name: str, value: Any, annotations: dict[str, Any]) -> Iterator[str]:
    if isinstance(value, property):
        yield f"    property {name}{_signature(value.fget)}"
    elif isinstance(value, staticmethod | classmethod):
        yield f"    {type(value).__name__} {name}{_signature(value.__func__)}"
    elif inspect.isfunction(value):
        yield f"    {_kind(value)} {name}{_signature(value)}"
    elif name in annotations:
        yield f"    {name}: {annotations[name]} = {value!r}"
    elif not inspect.isdatadescriptor(value):
        yield f"    {name} = {value!r}"


def _annotations(cls: type[Any]) -> dict[str, Any]:
    return dict(vars(cls).get("__annotations__", {}))


def _default(cls: type[Any], field: str) -> str:
    parameter = inspect.signature(cls).parameters.get(field)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return ""
    return f" = {parameter.default!r}"


def _kind(value: Any) -> str:
    return "async def" if inspect.iscoroutinefunction(value) else "def"


def _signature(value: Any) -> str:
    """As written: annotations are strings in this project, printed without quotes."""
    signature = inspect.signature(value)
    parameters = [
        each.replace(annotation=_Plain(each.annotation))
        if each.annotation is not inspect.Parameter.empty
        else each
        for each in signature.parameters.values()
    ]
    result = signature.return_annotation
    text = str(signature.replace(parameters=parameters, return_annotation=signature.empty))
    text = re.sub(r"<(\w+) object at 0x\w+>", r"<\1>", text)
    return text if result is inspect.Signature.empty else f"{text} -> {_Plain(result)!r}"


class _Plain:
    """An annotation that prints as it was written."""

    def __init__(self, annotation: Any) -> None:
        self._text = (
            annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        )

    def __repr__(self) -> str:
        return self._text


def main() -> int:
    PINNED.write_text(describe(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
