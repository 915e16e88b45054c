"""``sft-select replay`` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COLUMNS = "model,model_params,method,learning_rate,task,metric,direction,examples,value"


def replayed(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeps.cli", "replay", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six models whose losses are power laws; the best at the largest volume is `m3`."""
    path = tmp_path_factory.mktemp("replay") / "table.csv"
    rows = [
        f"m{i},{10**6 * (i + 1)},full,,t,loss,minimize,{100 * 2**step},"
        f"{3.0 + abs(i - 3) * 0.1 + 2 * (100 * 2**step) ** -0.3:.5f}"
        for i in range(6)
        for step in range(6)
    ]
    path.write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")
    return path


def test_prints_regret_by_strategy_and_writes_the_plot(recorded: Path, tmp_path: Path) -> None:
    fractions = ["--budget-fraction", 0.3, "--budget-fraction", 0.6]
    strategies = ["--strategy", "halving", "--strategy", "random"]
    done = replayed(recorded, *strategies, *fractions, "--seeds", 2, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    table = [row for row in rows if row and row[0] in ("halving", "random")]
    assert [row[:2] for row in table] == [
        ["halving", "0.3"],
        ["halving", "0.6"],
        ["random", "0.3"],
        ["random", "0.6"],
    ]
    assert table[1][4:6] == ["0.00", "0.00"], "halving with money for its whole bracket is right"
    data = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert data["best"] == "m3 full"
    page = (tmp_path / "out" / "replay.html").read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page


def test_json_holds_every_run_and_its_curve(recorded: Path) -> None:
    done = replayed(recorded, "--strategy", "ats", "--seeds", 2, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unit"] == "%"
    assert found["cost_unit"] == "parameters × examples"
    assert found["full_cost"] == pytest.approx(3200e6 * 21)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert found["runs"][0]["curve"][-1]["share"] == 0.25


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--strategy", "halvings"], "halving"),
        (["--budget-fraction", "0"], "above 0"),
        (["--start", "150"], "100, 200, 400"),
        (["--cost", "hours"], "seconds, flops, examples"),
        (["--cost", "flops"], "not recorded of every fine-tune; allowed: examples"),
    ],
)
def test_bad_options_are_one_line_each(recorded: Path, words: list[str], problem: str) -> None:
    done = replayed(recorded, *words)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert problem in line
