"""The documents are true where a test can tell: links, tests and commands that they name exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tupelo.testing import LocalGrid

from tests.tidy.sources import ROOT, documents, functions, none, sources

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TEST = re.compile(r"`((?:tests|processing-units)/[\w/.-]+\.py)(?:::(\w+))?`")
MAKE = re.compile(r"\bmake ([a-z][a-z-]+)\b")
FOLDERS = "client|grid|tests|docs|proto|scripts|engines|loadtest|benchmarks"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w/.-]+)`")
DECISION = re.compile(r"(\d{4})-[a-z0-9-]+\.md")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def numbered(path: Path) -> list[tuple[int, str]]:
    return list(enumerate(path.read_text("utf-8").splitlines(), 1))


@cache
def anchors(path: Path) -> set[str]:
    """Of the headings, as the usual renderers make them."""
    found = set()
    for _, line in numbered(path):
        if line.startswith("#"):
            title = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def broken_links(path: Path) -> Iterator[str]:
    for number, line in numbered(path):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            linked = (path.parent / file).resolve() if file else path
            if not linked.exists():
                yield f"{name_of(path)}:{number}: {target} does not exist"
            elif anchor and anchor not in anchors(linked):
                yield f"{name_of(path)}:{number}: {file or 'this file'} has no heading #{anchor}"


def test_links_resolve() -> None:
    found = documents()
    assert ROOT / "README.md" in found
    none(problem for path in found for problem in broken_links(path))


def test_named_tests_exist() -> None:
    known = {
        source.name: {node.name for node in functions(source)}
        for source in sources("tests", "processing-units")
    }
    none(
        f"{name_of(path)}:{number}: there is no {file}{'::' + test if test else ''}"
        for path in documents()
        for number, line in numbered(path)
        for file, test in TEST.findall(line)
        if file not in known or (test and test not in known[file])
    )


def test_named_paths_and_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    none(
        problem
        for path in documents()
        for number, line in numbered(path)
        for problem in [
            *(
                f"{name_of(path)}:{number}: there is no `make {target}`"
                for target in MAKE.findall(" ".join(re.findall(r"`([^`]+)`", line)))
                if target not in targets
            ),
            *(
                f"{name_of(path)}:{number}: {target} does not exist"
                for target in PATH.findall(line)
                if not (ROOT / target).exists()
            ),
        ]
    )


def test_every_guarantee_names_its_test() -> None:
    path = ROOT / "docs" / "GUARANTEES.md"
    sections = re.split(r"^## ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]
    promises = [section for section in sections if re.match(r"\d+\. ", section)]
    assert len(promises) >= 5
    none(
        f"{name_of(path)}:1: no test is named for {section.splitlines()[0]!r}"
        for section in promises
        if not TEST.search(section)
    )


def test_python_in_documents_compiles() -> None:
    for path in documents():
        for block in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            compile(block, name_of(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert (ROOT / "README.md").read_text("utf-8").count("```python") >= 1


def test_the_processing_unit_of_the_readme_works() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code: dict[str, Any] = {"__name__": "shop"}
    exec(compile(blocks[0], "README.md", "exec"), code)
    grid = LocalGrid(code["unit"])
    grid.space(code["stock"]).put(code["Stock"]("tea", 3))
    assert grid.call(code["take"], "tea", 2).left == 1
    with pytest.raises(code["SoldOut"]) as raised:
        grid.call(code["take"], "tea", 2)
    assert raised.value.fields == {"left": 1}


def test_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(found.group(1)) for name in names if (found := DECISION.fullmatch(name))]
    assert numbers == list(range(1, len(names) + 1)), names
