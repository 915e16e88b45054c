"""The command line as a user meets it: exit codes, one-line errors, plain output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.search.workspace import SweepFolder
from tests.factories import sweep_text


def cli(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeps.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def swept(
    tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A finished sweep of seven real trials: its file and its workspace."""
    folder = tmp_path_factory.mktemp("cli")
    sweep = folder / "sweep.yaml"
    changes = {"budget": {"trials": 7}, "mixes": {"plain": {"intent": 1}}}
    search = {"strategy": "grid", "tuning": {"trials": 1, "volume": 40}}
    sweep.write_text(sweep_text(tiny_model, tiny_data, search=search, **changes))
    done = cli("run", sweep, "--workspace", folder / "runs", "--json")
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)
    assert [trial["status"] for trial in trials] == ["complete"] * 7
    return sweep, folder / "runs"


def test_rerun_has_nothing_to_do(swept: tuple[Path, Path]) -> None:
    sweep, workspace = swept
    again = cli("run", sweep, "--workspace", workspace)
    assert again.returncode == 0
    assert "7 trials ended: 7 complete" in again.stdout
    assert "resuming: 7 of 7" in again.stderr


def test_from_recommendation_to_the_same_scores(swept: tuple[Path, Path], tmp_path: Path) -> None:
    sweep, workspace = swept
    config = tmp_path / "recommended.yaml"
    told = cli("recommend", sweep, "-o", config, "--workspace", workspace)
    assert told.returncode == 0, told.stderr
    assert "Choice: " in told.stdout
    assert "Runner-up: " in told.stdout
    final = cli("train", config, "--workspace", workspace, "--json")
    assert final.returncode == 0, final.stderr
    trained = json.loads(final.stdout)
    answer = json.loads(cli("recommend", sweep, "--workspace", workspace, "--json").stdout)
    scores = {
        task["task"]: task["score"]
        for task in trained["result"]["tasks"]
        if task["split"] == "validation"
    }
    assert scores == answer["choice"]["scores"], "bit for bit what the sweep measured"
    assert trained["version"] == "1"
    assert list(Path(trained["folder"]).glob("*.safetensors"))


def test_status_tells_the_end(swept: tuple[Path, Path]) -> None:
    told = cli("status", "--workspace", swept[1])
    assert "tiny: finished, 7 of 7 trials ended" in told.stdout


def test_changed_file_is_refused_with_the_difference(
    swept: tuple[Path, Path], tmp_path: Path
) -> None:
    sweep, workspace = swept
    changed = tmp_path / "sweep.yaml"
    changed.write_text(sweep.read_text().replace("batch_size: 8", "batch_size: 4"))
    refused = cli("run", changed, "--workspace", workspace)
    assert refused.returncode == 2
    assert "file.train.batch_size: was 8, is 4" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_second_driver_is_told_who_owns_the_sweep(swept: tuple[Path, Path]) -> None:
    sweep, workspace = swept
    with SweepFolder(workspace, "tiny").owned():
        refused = cli("run", sweep, "--workspace", workspace)
    assert refused.returncode == 3
    assert "another driver runs this sweep: process" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recommend", "tini"], "no tracking store here"),
        (["train", "missing.yaml"], "missing.yaml"),
        (["run", "missing.yaml"], "missing.yaml"),
        (["status"], "no tracking store here"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    refused = cli(*words, "--workspace", tmp_path / "nowhere")
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "nowhere").exists(), "nothing was created"


def test_unknown_sweep_names_the_known(swept: tuple[Path, Path]) -> None:
    refused = cli("recommend", "tinny", "--workspace", swept[1])
    assert refused.returncode == 2
    assert "tiny" in refused.stderr


def test_plan_prices_every_cell_and_runs_nothing(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(sweep_text(tiny_model, tiny_data))
    told = cli("plan", sweep, "--workspace", tmp_path / "runs", "--json")
    assert told.returncode == 0, told.stderr
    plan = json.loads(told.stdout)
    assert len(plan["cells"]) == 24
    assert plan["trials"] == 54
    assert all(cell["seconds"] > 0 and cell["peak_bytes"] > 0 for cell in plan["cells"])
    assert plan["schedule"] is None, "a grid is a list, not a schedule"
    assert not (tmp_path / "runs").exists()


def test_plan_shows_the_schedule_that_law_expects(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    search = {"strategy": "law", "tuning": {"trials": 2}}
    sweep.write_text(sweep_text(tiny_model, tiny_data, search=search))
    told = cli("plan", sweep, "--workspace", tmp_path / "runs", "--json")
    assert told.returncode == 0, told.stderr
    schedule = json.loads(told.stdout)["schedule"]
    assert {"number", "round", "stage", "values", "seconds", "done"} == set(schedule["trials"][0])
    assert schedule["extent"]["trials"] == len(schedule["trials"]) < schedule["grid"]["trials"]
    shown = cli("plan", sweep, "--workspace", tmp_path / "runs")
    assert "it will change with results" in shown.stdout
    rows = shown.stdout.partition("Expected schedule")[2].partition("expected:")[0]
    assert max(map(len, rows.splitlines())) <= 80
    assert f"{len(schedule['trials'])} trials" in shown.stdout
    assert not (tmp_path / "runs").exists()


def test_doctor_looks_at_the_sweep(swept: tuple[Path, Path]) -> None:
    told = cli("doctor", swept[0], "--workspace", swept[1])
    assert told.returncode == 0, told.stdout
    assert "is sound" in told.stdout


def test_export_refuses_what_the_trainer_lacks(swept: tuple[Path, Path], tmp_path: Path) -> None:
    config = tmp_path / "recommended.yaml"
    cli("recommend", swept[0], "-o", config, "--workspace", swept[1])
    refused = cli("export", config, "--to", "trll")
    assert refused.returncode == 2
    assert "trl" in refused.stderr
