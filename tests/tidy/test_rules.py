"""The tidy rules themselves refuse what they are for, with a place to go to."""

from __future__ import annotations

import pytest

from tests.tidy import rules
from tests.tidy.graph import Graph
from tests.tidy.sources import Source


def source(text: str, name: str = "tests/x.py") -> Source:
    return Source(name, text)


def test_sizes() -> None:
    long_function = "def f():\n" + "    pass\n" * rules.FUNCTION_MAX
    problems = list(rules.size(source(long_function + "#" * 101)))
    assert problems == [
        "tests/x.py:72: line has 101 columns, at most 100",
        "tests/x.py:1: f has 71 lines, at most 70",
    ]
    assert list(rules.size(source("\n" * 401))) == [
        "tests/x.py:401: module has 401 lines, at most 400"
    ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("except:\n    f()", "bare except"),
        ("except OSError:\n    pass", "without a comment"),
        ("except OSError:\n    ...", "without a comment"),
        ("except Exception:  # because\n    pass", "swallows every error"),
        ("except (OSError, BaseException):  # because\n    pass", "swallows every error"),
    ],
)
def test_swallowed_errors(body: str, text: str) -> None:
    problems = list(rules.swallowed(source(f"try:\n    f()\n{body}\n")))
    assert any(text in problem for problem in problems)
    assert all(problem.startswith("tests/x.py:3: ") for problem in problems)


def test_handled_errors_are_well() -> None:
    for body in ("except OSError:\n    log()", "except OSError:  # it is gone\n    pass"):
        assert not list(rules.swallowed(source(f"try:\n    f()\n{body}\n")))


def test_suppress_names_errors() -> None:
    assert list(rules.swallowed(source("with contextlib.suppress(Exception):\n    f()\n")))
    assert not list(rules.swallowed(source("with suppress(OSError):\n    f()\n")))


def test_pickle_sleep_skip_and_stub() -> None:
    assert list(rules.pickles(source("from pickle import loads\n")))
    assert list(rules.sleeps(source("def f():\n    time.sleep(1)\n"), set()))
    assert list(rules.sleeps(source("async def f():\n    await asyncio.sleep(n)\n"), set()))
    assert not list(rules.sleeps(source("async def f():\n    await asyncio.sleep(0)\n"), set()))
    assert not list(rules.sleeps(source("def f():\n    time.sleep(1)\n"), {"f"}))
    assert list(rules.skips(source("@pytest.mark.skip\ndef test(): ...\n")))
    assert list(rules.stubs(source("def f():\n    raise NotImplementedError\n")))


def test_marks() -> None:
    word = "TO" + "DO"
    assert list(rules.marks("a.md", f"text\n{word}: later\n")) == [
        f"a.md:2: {word}: do it, or write down why not"
    ]


def test_tests_assert_themselves_or_through_helpers() -> None:
    text = "def helper():\n    assert 1\ndef test_a():\n    helper()\ndef test_b():\n    other()\n"
    names = rules.asserting_names([source(text)])
    assert list(rules.without_assert(source(text), names)) == [
        "tests/x.py:5: test_b asserts nothing"
    ]


def test_unit_imports() -> None:
    text = "import json\nfrom tupelo.unit import Entry\nimport airline.data\nimport tupelo_grid\n"
    problems = list(rules.unit_imports(source(text), {"airline"}, frozenset({"json"}), set()))
    assert problems == ["tests/x.py:4: imports tupelo_grid: a processing unit imports tupelo only"]


def test_graph() -> None:
    files = {
        "grid/g/__init__.py": "",
        "grid/g/a.py": "def f():\n    from g import b\n",
        "grid/g/b.py": "import g.a\n",
        "grid/g/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from g import d\n",
        "grid/g/d.py": "from g import c\n",
        "grid/g/e.py": "import_module(f'g.{name}')\nNAMES = ['c']\n",
    }
    graph = Graph(source(text, name) for name, text in files.items())
    assert graph.circles() == [["g.a", "g.b"]]
    assert graph.reached(["g.a"]) == {"g", "g.a", "g.b"}
    assert graph.reached(["g.e"]) == {"g", "g.e", "g.c", "g.d"}
