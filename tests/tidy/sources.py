"""The project's own files, as the tidy tests read them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

PYTHON_ROOTS = (
    "client",
    "grid",
    "processing-units",
    "engines",
    "loadtest",
    "benchmarks",
    "scripts",
    "tests",
)
GENERATED = ("client/tupelo/v1/", "client/tupelo/_sync/")
TEXT_SUFFIXES = (".py", ".md", ".toml", ".proto", ".sh", ".yaml", ".yml", ".svg")

Problems = Iterator[str]


@dataclass(frozen=True)
class Source:
    """A Python file. `name` is its path from the root, with slashes."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parse(self.name, self.text)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def generated(self) -> bool:
        return self.name.startswith(GENERATED)

    def at(self, node: ast.AST | int, text: str) -> str:
        """A message that editors can jump to."""
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.name}:{line}: {text}"


@cache
def _parse(name: str, text: str) -> ast.Module:
    return ast.parse(text, name)


@cache
def sources(*roots: str) -> tuple[Source, ...]:
    """All Python files below `roots` (default: all of the project's), generated ones included."""
    return tuple(
        Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for root in roots or PYTHON_ROOTS
        for path in sorted((ROOT / root).rglob("*.py"))
    )


def written(*roots: str) -> list[Source]:
    """The same without generated files."""
    return [source for source in sources(*roots) if not source.generated]


def documents() -> list[Path]:
    found = list(ROOT.glob("*.md"))
    for folder in ("docs", "processing-units", "loadtest", "benchmarks"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(found)


def text_files() -> list[Path]:
    """Everything written by hand that a reader reads."""
    found = [path for path in ROOT.iterdir() if path.suffix in TEXT_SUFFIXES]
    found += [ROOT / "Makefile", ROOT / ".ci" / "run"]
    for root in (*PYTHON_ROOTS, "proto", "docs"):
        found += [path for path in (ROOT / root).rglob("*") if path.suffix in TEXT_SUFFIXES]
    return sorted(
        path for path in found if not path.relative_to(ROOT).as_posix().startswith(GENERATED)
    )


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return ""


def none(problems: Iterable[str]) -> None:
    """Fails with one line a problem."""
    found = sorted(set(problems))
    if found:
        pytest.fail("\n".join(["", *found]), pytrace=False)
