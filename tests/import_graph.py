"""Which module imports which: at its top, under TYPE_CHECKING too, but not inside its functions.

An import inside a function waits until it is asked for (heavy libraries of a verb), so it makes no circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, frozenset[str]]


def import_graph(files: Iterable[Path], root: Path) -> Graph:
    """The modules among *files* that each of them imports, by dotted name below *root*."""
    known = {module_name(path, root): path for path in files}
    return {
        module: frozenset(_imported(path.read_text(), known) - {module})
        for module, path in known.items()
    }


def module_name(path: Path, root: Path) -> str:
    """The dotted name; a package goes by its folder's."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(graph: Graph) -> list[list[str]]:
    """Every set of modules that import one another, directly or not."""
    reach = {module: _reached(graph, module) for module in graph}
    found = {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in graph
        if module in reach[module]
    }
    return sorted(sorted(circle) for circle in found)


def levels(graph: Graph, among: Iterable[str]) -> int:
    """The modules on the longest way of imports within *among*, of which no two are in a circle."""
    inside = set(among)
    depth: dict[str, int] = {}

    def level(module: str) -> int:
        if module not in depth:
            depth[module] = 0  # a circle ends here instead of going round
            depth[module] = 1 + max(map(level, sorted(graph[module] & inside)), default=0)
        return depth[module]

    return max(map(level, sorted(inside)), default=0)


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            ahead += graph[module]
    return found


def _imported(source: str, known: Mapping[str, object]) -> set[str]:
    names: set[str] = set()
    for node in _at_the_top(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            names |= inner | ({module} if inner - known.keys() else set())
    return names & known.keys()


def _at_the_top(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _at_the_top(child)
