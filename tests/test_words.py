"""The project's words: no coined word stands in a name or in a sentence that a user sees.

``python -m tests.test_words [PATH…]`` lists what is found, with the word to use in its place.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SOURCES = ("tracker", "sweeps", "dashboards", "sft_select.py")

#: In names of modules, classes, functions, parameters, fields and variables: the word, and what to say.
NAMES = {
    "belief": "posterior",
    "believe": "posterior",
    "blur": "measurement noise",
    "worth": "acquisition value, or transfer rate of a mix law",
    "outlook": "surrogate forecast",
    "experience": "learned prior, calibration",
    "misses": "backtest errors, held-out errors",
    "suspect": "outlier",
    "faint": "down-weight",
    "exchange": "label swap",
    "told": "observed",
    "untold": "not measured",
    "asked": "proposed, requested",
    "own": "the sweep's, the task's",
    "further": "auxiliary laws, next experiments",
    "separable": "distinguishable",
    "reach": "target quality",
    "unrepeated": "noise without replicates",
    "held": "satisfied (held_out is the field's word)",
    "desk": "page context",
    "drawn": "sampled (of numbers), rendered (of figures)",
    "later": "background",
    "heap": "gc",
    "ledger": "study",
    "delivery": "outbox",
    "delivered": "sent",
    "parcel": "item of the outbox",
    "leader": "best, kept checkpoint",
    "pricing": "cost model",
    "setback": "failure",
    "dearer": "more expensive",
    "kin": "similar curves",
    "foretell": "predict",
    "foretells": "predicts",
    "whoever": "anyone who",
    "findings": "analysis",
}
#: ``cell`` is a cell of a table or of a heat map; elsewhere it is a configuration or a design point.
CELL = "configuration (of results), design point (of a plan)"
TABLES = ("tracker/importing/", "dashboards/tables.py", "dashboards/charts/mix.py")

#: Terms of the field that hold one of these words, and the practitioners' own for false positives.
KEPT = ("held_out", "HeldOut", "HELD_OUT", "over_reach", "OVER_REACH")

#: In sentences: strings outside docstrings, and the first line of every docstring.
SENTENCES = {
    r"belie(f|ve)\w*": "posterior",
    r"blur\w*": "measurement noise",
    r"worth": "value",
    r"outlook": "forecast",
    r"suspects?": "outlier",
    r"faint\w*": "down-weighted, pale",
    r"(un)?told": "observed, distinguished from",
    r"asked": "proposed, requested, given",
    r"foret(ell|old)\w*": "predict",
    r"dearer": "more expensive",
    r"whoever": "anyone who",
    r"ledger": "study",
    r"parcels?": "item",
    r"leaders?": "best",
    r"setbacks?": "failure",
    r"kin": "similar curves",
    r"further (trials|laws|runs)": "next experiments, auxiliary laws",
    r"(cannot be|not) separated": "statistically tied",
    r"separable": "distinguishable",
    r"held (?!out)": "kept, satisfied",
}
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SENTENCE = {re.compile(rf"\b{word}\b", re.I): instead for word, instead in SENTENCES.items()}


class Found(NamedTuple):
    """A word in a file at a line, and what to write in its place."""

    file: str
    line: int
    where: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.where}: {self.instead}"


def words_in(path: Path) -> Iterator[Found]:
    """Every word of the lists in the names and the sentences of the module at *path*."""
    file = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text())
    for name, line in [(path.stem, 1), *_names(tree)]:
        if word := coined(name):
            if word != "cell":
                yield Found(file, line, name, NAMES[word])
            elif not file.startswith(TABLES):
                yield Found(file, line, name, CELL)
    for text, line in _sentences(tree):
        for pattern, instead in _SENTENCE.items():
            for match in pattern.finditer(text):
                near = text[max(match.start() - 30, 0) : match.end() + 30].replace("\n", " ")
                yield Found(file, line, f"…{near}…", instead)


def coined(name: str) -> str | None:
    """The coined word that *name* holds as one of its parts, if it holds one."""
    for kept in KEPT:
        name = name.replace(kept, "")
    for part in _PART.findall(name):
        word = part.lower()
        for each in (word, word.removesuffix("s")):
            if each in NAMES or each == "cell":
                return each
    return None


def _names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node.lineno


def _sentences(tree: ast.AST) -> Iterator[tuple[str, int]]:
    docstrings = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings[id(first.value)] = first.value
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        if id(node) in docstrings:
            yield node.value.strip().partition("\n")[0], node.lineno
        elif " " in node.value:
            yield node.value, node.lineno


def files(*wanted: str) -> list[Path]:
    """The Python files of *wanted*: files or folders below the root."""
    places = [ROOT / place for place in wanted]
    return [f for p in places for f in ([p] if p.is_file() else sorted(p.rglob("*.py")))]


def test_names_and_sentences_use_the_words_of_the_field() -> None:
    found = [str(one) for path in files(*SOURCES) for one in words_in(path)]
    assert not found, "\n".join(found)


def test_names_of_tests_use_them_too() -> None:
    """``own`` and ``drawn`` are plain English in a sentence, which the name of a test is."""
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files("tests")
        for name, _ in _names(ast.parse(path.read_text()))
        if name.startswith("test_") and coined(name) not in (None, "own", "drawn")
    ]
    assert not found, "\n".join(found)


def test_a_coined_word_is_found() -> None:
    """The rule itself: a name, a message and a docstring with such a word are each found."""
    tree = ast.parse(
        '"""What blurs it.\n\nFree."""\ndef ask(told, held_out):\n    return "it was asked for"\n'
    )
    assert [n for n, _ in _names(tree) if coined(n)] == ["told"]
    texts = [t for t, _ in _sentences(tree)]
    assert texts == ["What blurs it.", "it was asked for"]


if __name__ == "__main__":
    for path in files(*(sys.argv[1:] or SOURCES)):
        for one in words_in(path):
            print(one)
