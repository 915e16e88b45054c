"""Circles and levels of made-up packages."""

from __future__ import annotations

from pathlib import Path

from tests.import_graph import circles, import_graph, levels


def _graph(folder: Path, **modules: str) -> dict[str, frozenset[str]]:
    (folder / "p").mkdir()
    for name, text in modules.items():
        (folder / "p" / f"{name}.py").write_text(text)
    return dict(import_graph(sorted(folder.rglob("*.py")), folder))


def test_a_circle_under_type_checking_is_one(tmp_path: Path) -> None:
    later = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import A\n"
    graph = _graph(
        tmp_path, a="from p.b import B\n", b="from p import c\n", c=later, d="import p.a\n"
    )
    assert circles(graph) == [["p.a", "p.b", "p.c"]]


def test_an_import_inside_a_function_waits(tmp_path: Path) -> None:
    graph = _graph(tmp_path, a="from p import b\n", b="def f():\n    from p import a\n")
    assert circles(graph) == []
    assert graph["p.b"] == frozenset()


def test_levels_count_the_modules_on_the_longest_way(tmp_path: Path) -> None:
    graph = _graph(tmp_path, __init__="", a="from p import b, c\n", b="from p.c import C\n", c="")
    assert levels(graph, graph) == 3
