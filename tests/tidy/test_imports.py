"""No module is dead, and no modules import one another in a circle."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

from tests.tidy.graph import Graph
from tests.tidy.sources import ROOT, Source, none, written

# What users and processes start from; everything in the two packages is reached from here.
ROOTS = (
    "tupelo",
    "tupelo.sync",
    "tupelo.testing",
    "tupelo.unit",
    "tupelo_grid.cli.main",
    "tupelo_grid.runtime.process",
    "loadtest.arrivals",
    "loadtest.locustfile",
)


@cache
def unit_folders() -> dict[str, str]:
    """Folder of each processing unit -> the module that its unit.toml declares."""
    found = {}
    for root in ("processing-units", "tests", "benchmarks"):
        for path in (ROOT / root).rglob("unit.toml"):
            manifest = tomllib.loads(path.read_text("utf-8"))
            folder = path.parent.relative_to(ROOT).as_posix()
            module = manifest.get("module", f"{manifest['package']}.unit")
            found[folder] = f"{folder.replace('/', '.')}.{module}"
    return found


@cache
def graph() -> Graph:
    return Graph(written(), unit_folders())


def is_started(source: Source) -> bool:
    """Run as a program, or by pytest."""
    name = Path(source.name).name
    if name in ("__main__.py", "conftest.py") or name.startswith("test_"):
        return True
    return any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for node in source.tree.body
    )


def is_test(source: Source) -> bool:
    return source.name.startswith("tests/") or "/tests/" in source.name


def test_every_module_is_reached() -> None:
    found = graph()
    product = {name for name, source in found.sources.items() if not is_test(source)}
    started = {name for name, source in found.sources.items() if is_started(source)}
    started.update(unit_folders().values())
    alive = found.reached([*ROOTS, *(started & product)])
    alive_in_tests = found.reached(started - product)
    none(
        source.at(1, f"{name} is dead: nothing that is started imports it")
        for name, source in found.sources.items()
        if source.text.strip() and name not in (alive if name in product else alive_in_tests)
    )


def test_roots_exist() -> None:
    found = graph()
    none(
        f"tests/tidy/test_imports.py:1: {root} is no module"
        for root in set(ROOTS) - set(found.sources)
    )


def test_there_are_no_circles() -> None:
    found = graph()
    none(
        found.sources[circle[0]].at(
            found.edges[circle[0]][circle[1]], "imports in a circle: " + " -> ".join(circle)
        )
        for circle in found.circles()
    )
