"""Mutation of a hundred lines that keep a promise: each is broken in a copy, and the tests of its room run.

``python -m tests.faults.mutants --folder F [--only 3,17] [--minutes 30]``

The tree is copied. Every test file that the list names is run unbroken first; then each line of
:mod:`tests.faults.promises` is replaced, its tests run until one fails, and the line is put back. Tests run
in forks of a process that has imported every library but none of our packages. At the end it says how many
were caught, and which survived.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults import fork_server
from tests.faults.promises import PROMISES, Promise

_TREE = Path(__file__).resolve().parents[2]
_OURS = ("tracker", "sweeps", "dashboards", "tests", "sft_select")
PATIENCE = 240.0  # seconds of one mutant: one that hangs is caught


def lines_of(promise: Promise, tree: Path = _TREE) -> list[int]:
    """Numbers, from 0, of the lines that hold the promise; it should be one."""
    lines = (tree / promise.file).read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines) if line.strip() == promise.line]


def broken_text(promise: Promise, tree: Path) -> str:
    """The file's text with the line broken."""
    lines = (tree / promise.file).read_text(encoding="utf-8").splitlines()
    (number,) = lines_of(promise, tree)
    indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    lines[number] = indent + promise.broken if promise.broken else ""
    return "\n".join(lines) + "\n"


def run_tests(tree: Path, tests: Sequence[str], output: Path) -> str | None:
    """The first of the tests in *tree* that fails, or None."""

    def run() -> None:
        import pytest

        os.chdir(tree)
        sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".") != _TREE)]
        quiet = (
            "ignore::pytest.PytestAssertRewriteWarning"  # a plugin's library is imported already
        )
        options = ["-q", "-x", "-p", "no:cacheprovider", "-W", quiet]
        sys.exit(int(pytest.main([*options, *tests])))

    process = fork_server.fork(run, output)
    try:
        ended = process.wait(PATIENCE)
    except AssertionError:
        return "no end"
    process.signal_session(signal.SIGKILL)
    if ended.code == 0:
        return None
    failed = [line for line in ended.output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "; ".join(failed)[:300] or f"exit {ended.code}: {ended.output[-200:]}"


def forget_ours() -> None:
    """Unload our own packages: their libraries stay, and the copy's are imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _OURS and not name.startswith("tests.faults"):
            del sys.modules[name]


def main(arguments: Sequence[str] | None = None) -> int:
    """Break every line; 1 where fewer than 95 in a hundred are caught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", default="", help="numbers in the list, such as 3,17")
    parser.add_argument("--minutes", type=float, default=600.0)
    options = parser.parse_args(arguments)
    until = time.monotonic() + options.minutes * 60
    numbers = [int(text) for text in options.only.split(",") if text] or range(len(PROMISES))
    folder = options.folder.resolve()
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".venv", "*_cache", "runs")
    shutil.copytree(_TREE, tree, ignore=ignored)
    sys.dont_write_bytecode = True  # a broken line's must not outlive it
    fork_server.preload()
    forget_ours()
    caught, survived = 0, []
    sound: dict[str, str | None] = {}
    for number in numbers:
        if time.monotonic() > until:
            break
        promise = PROMISES[number]
        for test in promise.tests:
            if test not in sound:
                sound[test] = run_tests(tree, [test], folder / "unbroken.log")
                if sound[test]:
                    print(f"unbroken, {test} fails: {sound[test]}", flush=True)
        whole = (tree / promise.file).read_text(encoding="utf-8")
        begun = time.monotonic()
        (tree / promise.file).write_text(broken_text(promise, tree), encoding="utf-8")
        tests = [test for test in promise.tests if not sound[test]]
        why = run_tests(tree, tests, folder / f"mutant-{number}.log") if tests else None
        (tree / promise.file).write_text(whole, encoding="utf-8")
        caught += why is not None
        survived += [] if why else [number]
        word = "caught" if why else "SURVIVED"
        seconds = time.monotonic() - begun
        print(f"{number} {word} {seconds:.0f} s {promise.file}: {promise.line}: {why}", flush=True)
        with (folder / "mutants.jsonl").open("a") as file:
            file.write(json.dumps({"number": number, "caught": why}) + "\n")
    print(f"{caught} of {caught + len(survived)} caught; survived: {survived}")
    return int(len(survived) > 0.05 * (caught + len(survived)))


if __name__ == "__main__":
    sys.exit(main())
