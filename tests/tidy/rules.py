"""Rules on one file at a time. Each yields `file:line: what is wrong`."""

from __future__ import annotations

import ast
import re

from tests.tidy.sources import Problems, Source, dotted, functions

LINE_MAX = 100
FUNCTION_MAX = 70
MODULE_MAX = 400

# Spelt in two halves, so that this file does not hold them.
MARKS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
PICKLES = ("pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle")
BROAD = ("Exception", "BaseException")
SLEEPS = ("time.sleep", "asyncio.sleep", "gevent.sleep")
SKIPS = ("skip", "skipif", "xfail", "importorskip")


def size(source: Source) -> Problems:
    lines = source.lines
    if len(lines) > MODULE_MAX:
        yield source.at(len(lines), f"module has {len(lines)} lines, at most {MODULE_MAX}")
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            yield source.at(number, f"line has {len(line)} columns, at most {LINE_MAX}")
    for node in functions(source):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_MAX:
            yield source.at(node, f"{node.name} has {length} lines, at most {FUNCTION_MAX}")


def marks(name: str, text: str) -> Problems:
    """Nothing is left for later without saying so in the change log or a decision."""
    for number, line in enumerate(text.splitlines(), 1):
        for mark in MARKS.findall(line):
            yield f"{name}:{number}: {mark}: do it, or write down why not"


def pickles(source: Source) -> Problems:
    """What unpickles data runs it."""
    for node in ast.walk(source.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.split(".")[0] in PICKLES:
                yield source.at(node, f"imports {name}: use msgspec")


def swallowed(source: Source) -> Problems:
    """An error is handled, told, or passed on; where it is neither, a comment says why."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            yield from _handler(source, node)
        elif isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] == "suppress":
            for argument in node.args:
                if dotted(argument) in BROAD:
                    yield source.at(node, f"suppresses any {dotted(argument)}: name the errors")


def _handler(source: Source, node: ast.ExceptHandler) -> Problems:
    if node.type is None:
        yield source.at(node, "bare except: name the errors")
        return
    idle = all(
        isinstance(each, ast.Pass | ast.Continue)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in node.body
    )
    if idle and not _comment(source, node.lineno, node.body[-1].end_lineno or node.lineno):
        yield source.at(node, "swallows an error without a comment that says why")
    names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    if idle and any(dotted(name) in BROAD for name in names):
        yield source.at(node, "swallows every error: name those that can be expected")


def _comment(source: Source, first: int, last: int) -> bool:
    return any("#" in line for line in source.lines[first - 1 : last])


def stubs(source: Source) -> Problems:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if dotted(call) == "NotImplementedError":
                yield source.at(node, "is a stub: write it, or an abstract method or Protocol")


def sleeps(source: Source, allowed: set[str]) -> Problems:
    """Waiting for a time is slow and flaky; wait for what shall happen. sleep(0) only yields."""
    for function in [*functions(source), None]:
        if function is None:
            body: list[ast.AST] = [
                node
                for node in ast.iter_child_nodes(source.tree)
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            ]
            name = "<module>"
        else:
            body, name = [function], function.name
        if name in allowed:
            continue
        for node in (each for part in body for each in ast.walk(part)):
            if not isinstance(node, ast.Call) or dotted(node.func) not in SLEEPS:
                continue
            if [ast.unparse(argument) for argument in node.args] != ["0"]:
                yield source.at(node, f"{name} sleeps: wait for an event instead")


def skips(source: Source) -> Problems:
    for node in ast.walk(source.tree):
        name = dotted(node) if isinstance(node, ast.Attribute) else ""
        if name.startswith("pytest.") and name.split(".")[-1] in SKIPS:
            yield source.at(node, f"{name}: a test that does not run proves nothing")


def asserting_names(tests: list[Source]) -> set[str]:
    """Functions of the tests that assert, themselves or through another such function."""
    bodies = [(node.name, node) for source in tests for node in functions(source)]
    names: set[str] = set()
    grown = True
    while grown:
        grown = False
        for name, node in bodies:
            if name not in names and _asserts(node, names):
                names.add(name)
                grown = True
    return names


def _asserts(node: ast.AST, names: set[str]) -> bool:
    for each in ast.walk(node):
        if isinstance(each, ast.Assert):
            return True
        if isinstance(each, ast.Call):
            name = dotted(each.func)
            last = name.rpartition(".")[2] or getattr(each.func, "attr", "")
            if last in names or name in ("pytest.raises", "pytest.fail", "pytest.warns"):
                return True
    return False


def without_assert(source: Source, names: set[str]) -> Problems:
    for node in functions(source):
        if node.name.startswith("test_") and not _asserts(node, names):
            yield source.at(node, f"{node.name} asserts nothing")


def unit_imports(
    source: Source, own: set[str], stdlib: frozenset[str], extra: set[str]
) -> Problems:
    """Application code knows the SDK, never the server."""
    for node in ast.walk(source.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            if top not in stdlib and top not in own and top not in {"tupelo", *extra}:
                yield source.at(node, f"imports {name}: a processing unit imports tupelo only")
