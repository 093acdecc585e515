"""Who imports whom, among the project's own modules, read from the syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from tests.tidy.sources import Source, dotted

PREFIXES = {"client/": "", "grid/": ""}


def module_name(source: Source) -> str:
    """The dotted name a file is imported by."""
    path = source.name.removesuffix(".py").removesuffix("/__init__")
    for prefix, replacement in PREFIXES.items():
        if path.startswith(prefix):
            path = replacement + path[len(prefix) :]
    return path.replace("/", ".")


class Graph:
    """Edges `importer -> {imported: line}`.

    Imports inside functions count: they only delay a circle. Those for type checkers alone count
    towards what is alive, but make no circle, since they are never carried out.
    """

    def __init__(self, files: Iterable[Source], folders: Iterable[str] = ()) -> None:
        """`folders`: those of processing units, whose packages are imported by their own name."""
        self.sources = {module_name(source): source for source in files}
        self.aliases = {
            name.removeprefix(prefix): name
            for prefix in (folder.replace("/", ".") + "." for folder in folders)
            for name in self.sources
            if name.startswith(prefix)
        }
        self.edges: dict[str, dict[str, int]] = {name: {} for name in self.sources}
        self.mentions: dict[str, set[str]] = {name: set() for name in self.sources}
        for name, source in self.sources.items():
            self._read(name, source)

    def _read(self, name: str, source: Source) -> None:
        typing_only = {
            id(inner)
            for node in ast.walk(source.tree)
            if isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING")
            for inner in ast.walk(node)
        }
        dynamic = _dynamic_prefixes(source.tree)
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                self.mentions[name].update(self._known(node.value))
                for prefix in dynamic:
                    # "name", or "name.function".
                    self.mentions[name].update(self._known(prefix + node.value.split(".")[0]))
                continue
            for target in self._targets(name, source, node):
                self.mentions[name].add(target)
                if id(node) not in typing_only and target != name:
                    self.edges[name].setdefault(target, getattr(node, "lineno", 1))

    def _targets(self, name: str, source: Source, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [found for alias in node.names for found in self._known(alias.name)]
        if not isinstance(node, ast.ImportFrom):
            return []
        base = node.module or ""
        if node.level:
            is_package = source.name.endswith("/__init__.py")
            parts = name.split(".")
            keep = len(parts) - node.level + is_package
            base = ".".join([*parts[:keep], *([base] if base else [])])
        found: list[str] = []
        for alias in node.names:
            found += self._known(f"{base}.{alias.name}") or self._known(base)
        return found

    def _known(self, name: str) -> list[str]:
        name = self.aliases.get(name, name)
        return [name] if name in self.sources else []

    def reached(self, roots: Iterable[str]) -> set[str]:
        """All modules that are loaded or mentioned from `roots`, with the packages they lie in."""
        seen: set[str] = set()
        waiting = [root for root in roots if root in self.sources]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            parent = name.rpartition(".")[0]
            waiting += [parent] if parent in self.sources else []
            waiting += self.mentions[name]
        return seen

    def circles(self) -> list[list[str]]:
        """One shortest circle through each group of modules that import one another."""
        found = []
        for group in _components(self.edges):
            if len(group) > 1:
                found.append(_shortest_circle(self.edges, group))
        return found


def _dynamic_prefixes(tree: ast.Module) -> list[str]:
    """`package.` of every import_module(f"package.{name}"): names in that file may be loaded."""
    prefixes = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func).endswith("import_module"):
            for argument in node.args:
                if isinstance(argument, ast.JoinedStr) and isinstance(
                    argument.values[0], ast.Constant
                ):
                    prefixes.append(str(argument.values[0].value))
    return prefixes


def _components(edges: Mapping[str, Mapping[str, int]]) -> list[set[str]]:
    """Strongly connected components: what reaches each other. Small graphs, so plainly."""

    def reach(start: str, arrows: Mapping[str, Iterable[str]]) -> set[str]:
        seen, waiting = {start}, [start]
        while waiting:
            for following in arrows[waiting.pop()]:
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return seen

    back: dict[str, list[str]] = {name: [] for name in edges}
    for name, targets in edges.items():
        for target in targets:
            back[target].append(name)
    left = set(edges)
    groups = []
    while left:
        start = min(left)
        group = reach(start, edges) & reach(start, back)
        groups.append(group)
        left -= group
    return groups


def _shortest_circle(edges: Mapping[str, Mapping[str, int]], group: set[str]) -> list[str]:
    best: list[str] = []
    for start in sorted(group):
        paths = [[start]]
        seen = {start}
        while paths and (not best or len(paths[0]) < len(best)):
            path = paths.pop(0)
            for target in sorted(set(edges[path[-1]]) & group):
                if target == start:
                    if not best or len(path) < len(best):
                        best = path
                    paths = []
                    break
                if target not in seen:
                    seen.add(target)
                    paths.append([*path, target])
    return best
