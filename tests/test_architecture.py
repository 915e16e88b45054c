"""The house's rules, enforced."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tests import architecture_tree
from tests.architecture_tree import ENTRY, ROOMS, ROOT
from tests.import_graph import circles, import_graph, levels, module_name

MODULES = [
    ROOT / ENTRY,
    *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))),
]
#: How many imports may lie between a room's outermost module and its innermost.
DEEPEST = 8


def test_imports_run_one_way() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not circles(import_graph(MODULES, ROOT))


def test_no_room_is_deep() -> None:
    graph = import_graph(MODULES, ROOT)
    rooms = {_room(path): set[str]() for path in MODULES}
    for path in MODULES:
        rooms[_room(path)].add(module_name(path, ROOT))
    deep = {
        room: found for room, names in rooms.items() if (found := levels(graph, names)) > DEEPEST
    }
    assert not deep


def test_help_is_light() -> None:
    """Counted in modules, not in seconds, which a busy machine would decide."""
    code = "import sys; sys.argv = ['sft-select', '--help']; import sweeps.cli, contextlib\n"
    code += "with contextlib.suppress(SystemExit): sweeps.cli.main()\nprint(len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 700


def test_command_line_imports_nothing_heavy() -> None:
    code = "import sys, sweeps.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    heavy = {
        "torch",
        "transformers",
        "peft",
        "optuna",
        "mlflow",
        "pandas",
        "scipy",
        "dash",
        "pydantic",
    }
    assert not loaded & heavy


def test_no_file_is_two_rooms() -> None:
    long = {str(path.relative_to(ROOT)): count for path in MODULES if (count := _lines(path)) > 600}
    assert not long


def test_no_function_is_a_chapter() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_nothing_unsafe_is_called() -> None:
    forbidden = re.compile(
        r"\b(pickle\.|eval\(|exec\(|shell=True|yaml\.load\(|dangerously_allow_html)"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if forbidden.search(line.replace("model.eval()", ""))
    ]
    assert not found


def test_printed_tree_is_the_real_tree() -> None:
    assert architecture_tree.written() == architecture_tree.tree(), (
        "run: python -m tests.architecture_tree"
    )


@pytest.mark.parametrize(
    "name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "BENCHMARKS.md"]
)
def test_files_and_names_in_the_documents_exist(name: str) -> None:
    """Files stand in backticks, and behind one, in backticks too, what is defined in it."""
    text = (ROOT / name).read_text()
    files = set(re.findall(r"`([\w/]+(?:/|\.py|/[\w.]+\.\w+))`", text))
    assert files
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []
    named = [
        (file, noun)
        for file, nouns in re.findall(r"`([\w/]+\.py)`\s+\(?((?:`\w+`(?:, )?)+)", text)
        for noun in re.findall(r"\w+", nouns)
    ]
    assert [
        f"{file}: {noun}"
        for file, noun in named
        if not re.search(
            rf"^ *(?:def|class) {noun}\b|^{noun}\b.* = ", (ROOT / file).read_text(), re.MULTILINE
        )
    ] == []
    modules = re.findall(r"python -m (tests\.[\w.]+|sweeps\.[\w.]+)", text)
    places = [ROOT / module.replace(".", "/") for module in modules]
    assert [
        place.name
        for place in places
        if not place.with_suffix(".py").exists() and not (place / "__main__.py").exists()
    ] == []


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _room(path: Path) -> str:
    """The folder directly below a package that *path* lies in, else its package."""
    folders = path.relative_to(ROOT).parts[:-1]
    return "/".join(folders[:2])


@pytest.mark.parametrize(
    "name", ["LICENSE", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt"]
)
def test_what_a_reader_expects_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0
