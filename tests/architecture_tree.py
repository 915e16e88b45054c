"""The tree in ARCHITECTURE.md, made of first lines of modules: ``python -m tests.architecture_tree``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENTRY = "sft_select.py"
ROOMS = ("tracker", "sweeps", "dashboards")
FILE = ROOT / "ARCHITECTURE.md"
_BLOCK = re.compile(r"(<!-- tree -->\n```\n)(.*?)(```)", flags=re.DOTALL)
_WIDTH = 24


def tree() -> str:
    """A line per module with what it is for: the entry point, then the packages with their rooms indented."""
    lines = [f"{ENTRY:{_WIDTH}} {_first_line(ROOT / ENTRY)}"]
    for room in ROOMS:
        lines += _lines(ROOT / room, 0)
    return "".join(line + "\n" for line in lines)


def written() -> str:
    """The tree as :data:`FILE` holds it."""
    match = _BLOCK.search(FILE.read_text())
    return match[2] if match else ""


def rewrite() -> None:
    """Write the tree into :data:`FILE`."""
    FILE.write_text(_BLOCK.sub(lambda match: match[1] + tree() + match[3], FILE.read_text()))


def _lines(folder: Path, depth: int) -> list[str]:
    lines = [f"{'  ' * depth}{folder.name}/"]
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            name = "  " * (depth + 1) + path.name
            lines.append(f"{name:{_WIDTH}} {_first_line(path)}")
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").exists()):
        lines += _lines(inner, depth + 1)
    return lines


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.splitlines()[0].replace("``", "").rstrip(".") if text else ""


if __name__ == "__main__":
    rewrite()
