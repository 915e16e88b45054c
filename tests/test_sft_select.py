"""The public Python API as a notebook uses it, and the guard against foreign packages of our names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest

import sft_select
from dashboards.charts.theme import palette
from tests.architecture_tree import ROOMS, ROOT
from tests.dashboards.conftest import NAME, OBJECTIVE, make_records, make_workspace
from tracker.errors import ArgumentError, InputError, NotEnoughDataError, StoreError
from tracker.export.config import read_config
from tracker.store.store import Store

#: As a reader of the README would write it.
SCRIPT = """
import sys

import sft_select

sweep = sft_select.open(sys.argv[1])["support"]
scores = sweep.table.groupby("method")["score"].max()
choice = sweep.recommend(constraints={"forgetting.english": 0.05})
print(scores.idxmax(), choice.choice.label, sep="\\n")
sweep.export(choice, sys.argv[2])
sweep.figure("scaling", task="intent").write_html(sys.argv[3], include_plotlyjs=False)
"""


def _command(*path: Path, site: bool = True) -> subprocess.CompletedProcess[str]:
    """``sft-select --help`` with the folders of *path* first on the path; *site*: and what is installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    code = "import sys, sft_select; sys.argv = ['sft-select', '--help']; sft_select.main()"
    return subprocess.run(
        [sys.executable, *([] if site else ["-S"]), "-P", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
    )


def _foreign(folder: Path, package: str) -> Path:
    """A package of our name as another distribution has it; its code leaves a mark where it is run."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(
        f'"""Hyperparameter sweeps."""\nopen({str(folder / "ran")!r}, "w").close()\n'
    )
    return folder


def test_our_packages_are_recognised() -> None:
    assert sft_select.foreign_package() is None
    done = _command(ROOT)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("package", ROOMS)
def test_a_foreign_package_first_on_the_path_is_named_in_one_line(
    package: str, tmp_path: Path
) -> None:
    done = _command(_foreign(tmp_path / "foreign", package), ROOT)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"another Python package {package!r}" in line
    assert line.endswith(
        f"take {tmp_path / 'foreign'} off Python's path: PYTHONPATH, or the folder you are in"
    )
    assert not (tmp_path / "foreign" / "ran").exists()


@pytest.mark.parametrize("first", ['"""Sweeps."""\n', None])
def test_a_foreign_wheel_over_ours_is_known_by_its_content(
    first: str | None, tmp_path: Path
) -> None:
    """Installed over ours it replaces our first file; uninstalled again, it takes that along."""
    shutil.copy(ROOT / "sft_select.py", tmp_path)
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "models")
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignored)
    file = tmp_path / "sweeps" / "__init__.py"
    file.unlink() if first is None else file.write_text(first)
    done = _command(tmp_path, site=False)  # where ours may be installed once more
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "package 'sweeps'" in line
    assert line.endswith("run `pip install --force-reinstall --no-deps sft-select`")


def test_importing_defines_names_and_loads_nothing() -> None:
    code = "import sys, sft_select; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert not set(done.stdout.split()) & {
        "pandas",
        "mlflow",
        "plotly",
        "torch",
        "tracker",
        "numpy",
    }


# -- a notebook's use of a real store --------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def sweep(folder: Path) -> sft_select.Sweep:
    return sft_select.open(folder)[NAME]


def test_a_workspace_maps_names_to_sweeps(folder: Path, tmp_path: Path) -> None:
    workspace = sft_select.open(str(folder))
    assert list(workspace) == [NAME]
    assert (len(workspace), NAME in workspace, "other" in workspace) == (1, True, False)
    assert repr(workspace).endswith(f"{folder}: {NAME}>")
    with pytest.raises(KeyError, match="found 'suport'; allowed: support; did you mean 'support'"):
        workspace["suport"]
    with pytest.raises(StoreError, match="no tracking store here") as error:
        sft_select.open(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_table_is_a_copy(sweep: sft_select.Sweep) -> None:
    table = sweep.table
    assert isinstance(table, pd.DataFrame)
    complete = [r for r in make_records() if r.result.tasks]
    assert table["score"].notna().sum() == sum(len(r.result.tasks) for r in complete)
    table["score"] = 0.0
    assert sweep.table["score"].max() > 0.5


def test_laws_are_of_every_weighted_task(sweep: sft_select.Sweep) -> None:
    laws = sweep.laws()
    assert laws.metrics == {"intent": "score", "slots": "score"}
    assert {key.task for key in laws.curves.laws} == set(laws.metrics)
    assert sweep.laws("bits_per_byte").metrics["intent"] == "bits_per_byte"
    assert sweep.laws() is laws


def test_recommendations_follow_weights_constraints_and_target_quality(
    sweep: sft_select.Sweep,
) -> None:
    choice = sweep.recommend()
    assert choice.objective == OBJECTIVE
    assert choice.choice.method.name == "full"
    strict = sweep.recommend(constraints={"forgetting.english": 0.05})
    assert strict.choice.method.name == "lora"
    free = sweep.recommend(constraints={"forgetting.english": None}, weights={"slots": 1})
    assert (free.objective.constraints, free.objective.weights) == ({}, {"slots": 1})
    small = sweep.recommend(target_quality=0.5)
    assert small.target_quality is not None
    assert small.choice.volume < choice.choice.volume


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": {"intnt": 1}}, "^weights: found 'intnt'; .*did you mean 'intent'"),
        ({"weights": {"a=b": 1}}, "^weights: found 'a=b'"),
        ({"weights": {"intent": -1}}, r"^weights\['intent'\]: found -1; allowed: 0 or more"),
        ({"constraints": {"forgetting": 0.1}}, "^constraints: found 'forgetting'"),
        ({"constraints": {"forgetting.english": float("nan")}}, "found 'nan'"),
        ({"constraints": {"flops": 0}}, r"^constraints\['flops'\]: found 0; allowed: above 0"),
        ({"target_quality": 2.0}, "^target_quality: found 2; allowed: above 0 and at most 1"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(
    arguments: dict[str, Any], message: str, sweep: sft_select.Sweep
) -> None:
    with pytest.raises(ArgumentError, match=message) as error:
        sweep.recommend(**arguments)
    assert len(str(error.value).splitlines()) == 1


def test_a_wrong_task_or_metric_is_named_as_the_parameter(sweep: sft_select.Sweep) -> None:
    with pytest.raises(ArgumentError, match=r"^task: found 'intnt'; .*did you mean 'intent'"):
        sweep.predict("intnt", 100)
    with pytest.raises(ArgumentError, match=r"^model_params: found 0; allowed: at least 1"):
        sweep.predict("intent", 100, model_params=0)
    with pytest.raises(ArgumentError, match=r"^metric: found 'accuracy'; allowed: score"):
        sweep.laws("accuracy")  # type: ignore[arg-type]


def test_predictions_lie_ahead_of_what_was_measured(sweep: sft_select.Sweep) -> None:
    forecast = sweep.predict("intent", 4000)
    best = forecast.predictions[0]
    assert best.value > sweep.table.query("task == 'intent'")["score"].max() - 0.05
    assert best.extrapolation == 2
    interval = best.intervals["80"]
    assert interval.low < best.value < interval.high


def test_an_exported_choice_can_be_read(sweep: sft_select.Sweep, tmp_path: Path) -> None:
    choice = sweep.recommend()
    path = sweep.export(choice, tmp_path / "recommended.yaml")
    assert read_config(path).trial.key == choice.trial.key


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", sft_select.FIGURES)
def test_every_figure_has_traces_in_its_themes_colours(
    kind: sft_select.Figure, theme: Literal["light", "dark"], sweep: sft_select.Sweep
) -> None:
    figure = sweep.figure(kind, theme=theme)
    traces = [trace for trace in figure.data if not trace.showlegend]
    assert any(len(trace.x) > 1 for trace in traces)
    assert {trace.name for trace in figure.data if trace.showlegend} & {"LoRA", "Full tuning"}
    assert figure.layout.paper_bgcolor == palette(theme).surface
    assert figure.layout.template.layout.font.color == palette(theme).text
    assert figure.layout.title.text


def test_a_figure_shows_what_is_named(sweep: sft_select.Sweep) -> None:
    assert "slots" in sweep.figure("scaling", task="slots").layout.title.text
    assert sweep.figure("scaling", model="en-1m").layout.title.text.endswith(": en-1m")
    assert "500 examples" in sweep.figure("size", volume=500).layout.title.text
    named = sweep.figure("crossover", pair="full~p_tuning").layout.title.text
    assert named.startswith("Probability that full tuning is better than P-tuning")
    assert sweep.figure("scaling", axis="linear").layout.xaxis.type == "linear"


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        ("sclaing", {}, "figure: found 'sclaing'; allowed: scaling, .*did you mean 'scaling'"),
        ("scaling", {"taks": "intent"}, "found 'taks'; allowed: .*did you mean 'task'"),
        ("scaling", {"task": "intnet"}, "task: found 'intnet'; allowed: intent, slots; did you"),
        ("size", {"volume": 7}, "volume: found '7'; allowed: 2000, 250"),
        ("crossover", {"mix": "intent", "pair": "x"}, "pair: found 'x'; allowed: full~lora"),
        ("generalisation", {"model": "all"}, "allowed: en-1m, en-0.3m, en-0.1m, together"),
        ("forgetting", {"suite": "x"}, "suite: found 'x'; allowed: english"),
        ("tradeoff", {"suite": "x"}, "suite: found 'x'; allowed: english"),
        ("gaps", {"task": "intent"}, "found 'task'; allowed: none"),
        ("scaling", {"theme": "drak"}, "theme: found 'drak'; allowed: light, dark"),
    ],
)
def test_what_no_figure_shows_is_named_in_one_line(
    kind: Any, state: dict[str, Any], message: str, sweep: sft_select.Sweep
) -> None:
    with pytest.raises(InputError, match=message) as error:
        sweep.figure(kind, **state)
    assert len(str(error.value).splitlines()) == 1


def test_a_sweep_without_results_has_nothing_to_draw(tmp_path: Path) -> None:
    Store.open(tmp_path).begin_sweep(
        "new", spec_text="", spec_digest="d" * 64, planned=1, datasets=[], objective=OBJECTIVE
    )
    new = sft_select.open(tmp_path)["new"]
    for kind in sft_select.FIGURES:
        with pytest.raises(NotEnoughDataError):
            new.figure(kind)


def test_a_script_of_a_few_lines(folder: Path, tmp_path: Path) -> None:
    chosen, chart = tmp_path / "recommended.yaml", tmp_path / "scaling.html"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(chosen), str(chart)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    best, label = done.stdout.splitlines()
    assert best == "full"
    assert "lora" in label
    assert read_config(chosen).trial.method.name == "lora"
    assert "intent, score against examples" in chart.read_text()
