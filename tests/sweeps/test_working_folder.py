"""Python files in the folder where a command is started are the user's: none of them is run."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from sweeps import cli_options
from tracker.store.store import Store
from tracker.trial import Objective

#: Modules of ours, of libraries, and of Python itself that a child imports when it starts.
NAMES = [
    *("tracker", "sweeps", "dashboards", "dash", "yaml", "flask", "plotly"),
    *("json", "socket", "pickle", "random", "selectors", "tempfile"),
]

CONSOLE_SCRIPT = """
from sweeps.cli import main
if __name__ == "__main__":
    main()
"""
#: The local engine until its worker is ready.
ENGINE = """
from sweeps.search.engines.local import LocalEngine
if __name__ == "__main__":
    engine = LocalEngine(devices=[None], threads=1, hang_seconds=60)
    try:
        while not engine._slots[0].ready:
            list(engine.events(1))
    finally:
        engine.close()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder in which every import of the user's files leaves a mark and fails."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(
            f"open({str(folder / name)!r} + '.ran', 'w').close()\nraise SystemExit(3)\n"
        )
    return folder


def start(folder: Path, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Run *script* in *folder* from a file elsewhere, as a console script is."""
    file = folder.parent / "script.py"
    file.write_text(script)
    command = [sys.executable, str(file), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def marks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ran"))


@pytest.mark.slow
def test_the_dashboard_runs_none(folder: Path) -> None:
    Store.open(folder / "runs").begin_sweep(
        "s",
        spec_text="",
        spec_digest="0",
        planned=1,
        datasets=[],
        objective=Objective(weights={"a": 1}),
    )
    process = start(folder, CONSOLE_SCRIPT, "dashboard", "--port", "0")
    assert process.stdout
    try:
        said = process.stdout.readline()
        address = next((word for word in said.split() if word.startswith("http://")), None)
        served = urllib.request.urlopen(address).status if address else None
    finally:
        process.send_signal(signal.SIGTERM)
        error = process.communicate()[1]
    assert (served, marks(folder)) == (200, []), said + error


def test_the_report_runs_none(folder: Path) -> None:
    process = start(folder, CONSOLE_SCRIPT, "report", "s")
    error = process.communicate()[1]
    assert (process.returncode, marks(folder)) == (2, []), error
    assert "no tracking store" in error


def test_every_child_is_started_by_the_one_rule() -> None:
    room = Path(cli_options.__file__).parent
    texts = {path.name: path.read_text() for path in room.rglob("*.py")}
    starting = {name: text for name, text in texts.items() if "sys.executable" in text}
    assert sorted(starting) == ["cli_options.py", "fetch_smollm.py", "score_function.py"]
    assert all('[sys.executable, "-P", ' in text for text in starting.values())


@pytest.mark.slow
def test_a_worker_runs_none(folder: Path) -> None:
    process = start(folder, ENGINE)
    error = process.communicate()[1]
    assert (process.returncode, marks(folder)) == (0, []), error
