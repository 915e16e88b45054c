"""The command line as a user meets it: exit codes, one-line errors, plain output."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from sweeps import cli as module
from sweeps.cli_options import keep_model
from sweeps.playground import write
from sweeps.search.run import SweepRun
from sweeps.search.workspace import SweepFolder
from tests.benchmarks.synthetic import synthetic_sweep
from tests.factories import recommend, sweep_text
from tracker.errors import InputError, StoreError
from tracker.store.store import LiveTrial, Store
from tracker.trial import Status

_PATIENCE = 300.0  # seconds, on a machine that does much else


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
    changes = {
        "budget": {"trials": 7},
        "mixes": {"plain": {"intent": 1}},
        "volumes": [160, 320, 480],
        "train": {"epochs": 6, "batch_size": 8, "max_length": 96},
        "methods": {
            "full": {"learning_rate": 0.01},
            "lora": {"rank": 8, "learning_rate": 0.02},
            "p_tuning": {"virtual_tokens": 4, "learning_rate": 0.01},
        },
    }
    search = {"strategy": "grid", "tuning": {"trials": 1, "volume": 160}}
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
    ended, *summary, last = again.stdout.splitlines()
    assert [line.partition(": ")[0] for line in summary] == ["Choice", "How sure", "Scores", "Next"]
    assert ended.startswith("7 trials ended: 7 complete; ")
    assert last == f"next: sft-select recommend {sweep} -o recommended.yaml --workspace {workspace}"
    assert "resuming: 7 of 7" in again.stderr


def test_from_recommendation_to_the_same_scores(swept: tuple[Path, Path], tmp_path: Path) -> None:
    sweep, workspace = swept
    config = tmp_path / "recommended.yaml"
    done = cli("recommend", sweep, "-o", config, "--workspace", workspace)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Choice: ")
    assert f"Next: sft-select train {config}" in done.stdout
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


def test_status_shows_the_end_and_the_next_command(swept: tuple[Path, Path]) -> None:
    done = cli("status", "--workspace", swept[1])
    assert "tiny: finished, 7 trials ended (7 complete)" in done.stdout
    assert f"next: sft-select recommend tiny --workspace {swept[1]}" in done.stdout


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


def test_a_second_driver_is_refused_with_the_first_ones_process(swept: tuple[Path, Path]) -> None:
    sweep, workspace = swept
    with SweepFolder(workspace, "tiny").locked():
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


def test_plan_prices_every_design_point_and_runs_nothing(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(sweep_text(tiny_model, tiny_data))
    done = cli("plan", sweep, "--workspace", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert len(plan["design_points"]) == 24
    assert plan["trials"] == 54
    assert all(point["seconds"] > 0 and point["peak_bytes"] > 0 for point in plan["design_points"])
    assert plan["schedule"] is None, "a grid is a list, not a schedule"
    assert not (tmp_path / "runs").exists()


def test_plan_shows_the_schedule_that_law_expects(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    search = {"strategy": "law", "tuning": {"trials": 2}}
    sweep.write_text(sweep_text(tiny_model, tiny_data, search=search))
    done = cli("plan", sweep, "--workspace", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    schedule = json.loads(done.stdout)["schedule"]
    assert {"number", "round", "stage", "values", "seconds", "done"} == set(schedule["trials"][0])
    assert schedule["extent"]["trials"] == len(schedule["trials"]) < schedule["grid"]["trials"]
    shown = cli("plan", sweep, "--workspace", tmp_path / "runs")
    assert "it will change with results" in shown.stdout
    rows = shown.stdout.partition("Expected schedule")[2].partition("expected:")[0]
    assert max(map(len, rows.splitlines())) <= 80
    assert f"{len(schedule['trials'])} trials" in shown.stdout
    assert not (tmp_path / "runs").exists()


def test_doctor_looks_at_the_sweep(swept: tuple[Path, Path]) -> None:
    done = cli("doctor", swept[0], "--workspace", swept[1])
    assert done.returncode == 0, done.stdout
    assert "has no problem" in done.stdout


def test_export_refuses_what_the_trainer_lacks(swept: tuple[Path, Path], tmp_path: Path) -> None:
    config = tmp_path / "recommended.yaml"
    cli("recommend", swept[0], "-o", config, "--workspace", swept[1])
    refused = cli("export", config, "--to", "trll")
    assert refused.returncode == 2
    assert "trl" in refused.stderr


def test_the_version_is_the_installed_ones() -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"sft-select {version('sft-select')}\n")
    assert cli().returncode == 2, "a verb is missing"


def test_the_help_lists_the_verbs_in_the_order_of_work() -> None:
    text = cli("--help").stdout
    verbs = [
        line.split()[1] for line in text.partition("Commands")[2].splitlines()[1:] if "│ " in line
    ]
    listed = [verb for verb in verbs if verb in module._VERBS]
    assert listed[:7] == ["demo", "init", "doctor", "plan", "run", "status", "recommend"]
    assert "replay" not in text
    assert cli("replay", "--help").returncode == 0, "hidden, not gone"


def test_a_draft_goes_into_a_new_folder_or_one_line_says_why_not(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    data, models = [tiny_data / "train.jsonl"], [str(tiny_model)]
    module.init(data, models, tmp_path / "new" / "sweep.yaml")
    assert (tmp_path / "new" / "sweep.yaml").read_text().strip()
    with pytest.raises(InputError, match="name a file in a folder that can be") as raised:
        module.init(data, models, Path("/dev/null/sweep.yaml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("folder", "expected"), [("demo", "recommended.yaml"), ("other", "other/recommended.yaml")]
)
def test_a_demo_elsewhere_leaves_nothing_here(
    folder: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[Path] = []
    monkeypatch.setattr(write, "prepare_demo", lambda folder: folder / "sweep.yaml")
    monkeypatch.setattr(module, "_run", lambda *_, **__: SweepRun([]))
    monkeypatch.setattr(module, "recommend", lambda *_, output, **__: written.append(output))
    module.demo(Path(folder), serve=False)
    assert written == [Path(expected)]


def test_a_demo_that_cannot_be_written() -> None:
    with pytest.raises(InputError, match="name another --folder"):
        write.prepare_demo(Path("/dev/null/demo"))


def test_it_is_said_whether_the_recommended_model_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = synthetic_sweep(0)
    answer = recommend(sampled.records, sampled.objective)
    store, sent = Store.open(tmp_path), []
    monkeypatch.setattr(Store, "keep_model", lambda _, *given: sent.append(given))
    said = keep_model(store, tmp_path, "s", answer)
    assert (said, sent) == (f"no tuned model of its trial was kept in {tmp_path / 's'}", [])
    model = SweepFolder(tmp_path, "s").model(answer.trial.key)
    model.mkdir(parents=True)
    said = keep_model(store, tmp_path, "s", answer)
    assert said == f"its trial's tuned model is in the tracking store and in {model}"
    assert sent == [("s", answer.trial.key, model)]


def learning(driver: subprocess.Popen[str], workspace: Path) -> LiveTrial:
    """The first trial that was seen to take steps."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and driver.poll() is None:
        time.sleep(1.0)
        try:
            running = Store.open(workspace, create=False).running("tiny")
        except StoreError:
            continue
        if running and running[0].step:
            return running[0]
    raise AssertionError(f"no trial took a step; exit {driver.poll()}")


@pytest.mark.slow
def test_a_running_trial_is_stopped_and_the_sweep_ends_well(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    sweep, workspace = tmp_path / "sweep.yaml", tmp_path / "runs"
    text = sweep_text(
        tiny_model,
        tiny_data,
        models=[{"path": str(tiny_model), "name": "a"}],
        methods={"full": {"learning_rate": 1e-3}},
        mixes={"plain": {"intent": 1}},
        volumes=[160],
        train={"epochs": 1000, "batch_size": 8, "max_length": 96},
        seeds=1,
        engine={"kind": "local", "workers": 1},
    )
    sweep.write_text(text)
    command = [sys.executable, "-m", "sweeps.cli", "run", str(sweep), "--workspace", str(workspace)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        try:
            trial = learning(driver, workspace)
            assert trial.curve[-1] == (trial.step, trial.loss)
            stopped = cli("control", "tiny", "stop-trial", trial.number, "--workspace", workspace)
            assert (stopped.returncode, stopped.stderr) == (0, "")
            assert f"stop trial {trial.number}: trial {trial.number} is stopped" in stopped.stdout
            _, errors = driver.communicate(timeout=_PATIENCE)
        finally:
            driver.kill()
    assert driver.returncode == 0, errors
    store = Store.open(workspace)
    result = store.records("tiny")[trial.number].result
    assert (result.status, result.reason) == (Status.PRUNED, "stopped by hand")
    assert (result.cost.device_seconds or 0) > 0
    assert store.history("tiny", trial.key), "what it learned until then is kept"
    assert not list((workspace / "tiny" / "checkpoints").glob("*"))

    late = cli("control", "tiny", "pause", "--workspace", workspace)
    assert late.returncode == 2
    assert "found sweep 'tiny' finished; allowed while it is running or paused" in late.stderr
    log = json.loads(cli("control", "tiny", "log", "--workspace", workspace, "--json").stdout)
    assert [each["request"]["action"] for each in log] == ["stop_trial"]
    assert log[0]["answer"]["accepted"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tiny", "halt"], "ACTION: found 'halt'; allowed: pause, resume, stop, stop-trial"),
        (["tiny", "clone", 3, "--set", "volume"], "--set volume: allowed is NAME=VALUE"),
        (["tiny", "clone", 3], "clone: found no changed value; allowed: one"),
        (["tiny", "stop-trial"], "stop_trial: found no trial number; allowed: one"),
        (["tiny", "raise-budget"], "found both or neither; allowed: one of trials, gpu_hours"),
        (["tiny", "pause", "--trials", 3], "--trials: found with pause; allowed with raise-budget"),
        (["tiny", "raise-budget", "--trials", -1], "budget.trials: found -1"),
    ],
)
def test_a_request_that_is_not_allowed_is_one_line(
    words: list[object], said: str, tmp_path: Path
) -> None:
    refused = cli("control", *words, "--workspace", tmp_path)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing is created"


def test_a_demo_that_was_begun_keeps_its_sweep_file(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("name: begun\n")
    assert write.prepare_demo(tmp_path).read_text() == "name: begun\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]
