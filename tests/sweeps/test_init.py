"""A drafted sweep file loads, resolves, and guesses what a person would."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from sweeps import cli
from sweeps.init import draft_sweep
from sweeps.method_entry import Range
from sweeps.reference import _UNADVERTISED
from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.plan import make_plan
from sweeps.search.schedule import expected_schedule
from sweeps.search.space import configurations
from sweeps.spec import Search
from sweeps.sweep_file import load_sweep
from tracker.constraints import COUNTED, MEASURED
from tracker.errors import InputError


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def drafted(folder: Path, data: list[Path], model: Path) -> tuple[str, ResolvedSweep]:
    folder.mkdir(exist_ok=True)
    text = draft_sweep(data, [str(model)], folder).text
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    return text, read_sweep(folder / "sweep.yaml")


def test_a_classification_folder(tmp_path: Path, tiny_data: Path, tiny_model: Path) -> None:
    data = tmp_path / "my intents"
    shutil.copytree(tiny_data, data)
    text, sweep = drafted(tmp_path, [data], tiny_model)
    task = sweep.tasks["my_intents"]
    assert task.prompt is not None
    assert task.prompt.input == "{text}"
    assert task.answer == "{label}"
    assert task.score == "macro_f1"
    assert task.negative == "out_of_scope"
    assert task.validation.rows == 120
    assert sweep.spec.volumes == (70, 140, 280, 560)
    assert sweep.spec.train.max_length <= 128
    assert "leakage" not in text
    assert "# Learning" not in text
    assert text.count("#") > 8
    assert all(name in text for name in (*COUNTED, *MEASURED))
    assert "{gpu_hours: 8}: hours on a device" in text
    assert sweep.warnings == ()


@pytest.mark.parametrize(("model", "highest"), [("", 0.5), ("org/large", 0.1)])
def test_p_tuning_is_a_prefix_with_a_prefix_s_learning_rates(
    tmp_path: Path, tiny_data: Path, tiny_model: Path, model: str, highest: float
) -> None:
    text = draft_sweep([tiny_data], [model or str(tiny_model)], tmp_path).text
    (tmp_path / "sweep.yaml").write_text(text)
    spec = load_sweep(tmp_path / "sweep.yaml")
    p_tuning = spec.methods.p_tuning
    assert p_tuning is not None
    assert p_tuning.variant == ("v2",)
    assert isinstance(p_tuning.learning_rate, Range)
    assert p_tuning.learning_rate.high == highest
    assert not spec.train.gradient_checkpointing, "peft refuses it with a prefix"
    assert "v1 is virtual tokens at the input" in text


def test_free_answers_from_csv_without_validation(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "notes.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer"])
        for i in range(100):
            writer.writerow([i, f"what is thing {i}", f"it is the thing called number {i}"])
    _, sweep = drafted(tmp_path, [path], tiny_model)
    task = sweep.tasks["notes"]
    assert task.score == "token_f1"
    assert task.negative is None
    assert task.train is not None
    assert (task.train.rows, task.validation.rows) == (90, 10)
    assert sweep.spec.volumes == (10, 20, 40, 80)


def test_mappings_are_scored_as_json(tmp_path: Path, tiny_model: Path) -> None:
    slots = [{}, {"time": "noon"}, {"people": "two"}]
    rows = [{"text": f"row {i}", "slots": slots[i % 3]} for i in range(60)]
    _, sweep = drafted(tmp_path, [write(tmp_path / "book" / "train.jsonl", rows)], tiny_model)
    assert sweep.tasks["book"].score == "json"
    assert sweep.tasks["book"].negative == "{}"


def test_unfamiliar_names_are_distinguished_by_their_values(
    tmp_path: Path, tiny_model: Path
) -> None:
    rows = [{"k": "ab"[i % 2], "uuid": str(i), "words": f"some words {i}"} for i in range(60)]
    _, sweep = drafted(tmp_path, [write(tmp_path / "odd.jsonl", rows)], tiny_model)
    prompt = sweep.tasks["odd"].prompt
    assert prompt is not None
    assert (prompt.input, sweep.tasks["odd"].answer) == ("{words}", "{k}")


def test_rows_with_a_layout_need_no_template(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"prompt": f"say {i}", "completion": str(i)} for i in range(40)]
    text, sweep = drafted(tmp_path, [write(tmp_path / "chat.jsonl", rows)], tiny_model)
    assert sweep.tasks["chat"].prompt is None
    assert sweep.tasks["chat"].score == "number"
    assert "carry their own layout" in text


def test_several_tasks_get_a_joint_mix_and_one_each(tmp_path: Path, tiny_model: Path) -> None:
    for name in ("one", "two"):
        rows = [{"text": f"{name} {i}", "label": "xyz"[i % 3]} for i in range(60)]
        write(tmp_path / name / "train.jsonl", rows)
    _, sweep = drafted(tmp_path, [tmp_path / "one", tmp_path / "two"], tiny_model)
    weights = {name: mix.weights for name, mix in sweep.spec.mixes.items()}
    assert weights == {
        "all": {"one": 1, "two": 1},
        "only_one": {"one": 1},
        "only_two": {"two": 1},
    }


def test_leakage_is_said_rather_than_hidden(
    tmp_path: Path, tiny_data: Path, tiny_model: Path
) -> None:
    data = tmp_path / "leaky"
    shutil.copytree(tiny_data, data)
    with (data / "test.jsonl").open("a") as file:
        file.write((data / "train.jsonl").read_text().splitlines()[0] + "\n")
    text, sweep = drafted(tmp_path, [data], tiny_model)
    assert sweep.spec.allow_leakage
    assert "# leaky: found 1 prompts of train in test" in text


def test_few_rows_still_load(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(12)]
    _, sweep = drafted(tmp_path, [write(tmp_path / "few.jsonl", rows)], tiny_model)
    assert sweep.spec.volumes == (11,)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(
    "output",
    ["sweep.yaml", "other/sweep.yaml", "other/deep/s.yaml", "../sibling/sweep.yaml", "link/s.yaml"],
)
def test_a_draft_in_any_folder_names_the_files_it_was_made_from(
    tmp_path: Path,
    tiny_data: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    absolute: bool,
) -> None:
    here = tmp_path / "work"
    shutil.copytree(tiny_data, here / "data")
    shutil.copytree(tiny_model, here / "base")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (here / "link").symlink_to(tmp_path / "far" / "away")
    monkeypatch.chdir(here)
    data, model = Path("data/train.jsonl"), "./base"
    if absolute:
        data, model = data.absolute(), str(here / "base")
    cli.init([data], [model], Path(output))
    assert str(tmp_path) not in Path(output).read_text(), "a path from the root does not travel"
    monkeypatch.chdir(tmp_path)
    sweep = read_sweep(here / output)
    task = sweep.tasks["data"]
    assert task.train is not None
    assert task.test is not None
    found = [task.train, task.validation, task.test]
    assert [Path(file.path) for file in found] == [
        here / "data" / f"{split}.jsonl" for split in ("train", "validation", "test")
    ]
    assert Path(sweep.models["base"].path) == here / "base"


def test_links_keep_the_names_that_they_were_given(
    tmp_path: Path, tiny_data: Path, tiny_model: Path
) -> None:
    """As a cache of data or models lays them out: files named by content, and links to them."""
    (tmp_path / "intents").mkdir()
    for split in ("train", "validation", "test"):
        blob = tmp_path / f"blob-of-{split}.jsonl"
        shutil.copy(tiny_data / f"{split}.jsonl", blob)
        (tmp_path / "intents" / f"{split}.jsonl").symlink_to(blob)
    (tmp_path / "my-base").symlink_to(tiny_model)
    _, sweep = drafted(tmp_path, [tmp_path / "intents"], tmp_path / "my-base")
    assert list(sweep.models) == ["my-base"]
    task = sweep.tasks["intents"]
    assert task.test is not None
    assert Path(task.validation.path).name == "blob-of-validation.jsonl"
    assert Path(task.test.path).name == "blob-of-test.jsonl"


def test_a_model_folder_that_is_yet_to_come(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = draft_sweep([tiny_data], ["./later", "org/name"], tmp_path / "other").text
    assert "- path: ../later\n" in text
    assert "- path: org/name\n" in text


def test_the_drafted_strategy_fits_its_budget(
    tmp_path: Path, tiny_data: Path, tiny_model: Path
) -> None:
    """`law` tries every setting of every method, several learning rates each, and stops on its own."""
    text, sweep = drafted(tmp_path, [tiny_data], tiny_model)
    assert sweep.spec.search.strategy == "law"
    every = get_args(Search.model_fields["strategy"].annotation)
    comment = re.search(r"strategy: .*# (.*)", text)
    assert comment is not None
    assert {"law", *comment[1].split(" | ")} == set(every) - _UNADVERTISED
    settings = configurations(sweep.spec)
    rates = {(c.method.name, c.method.learning_rate) for c in settings}
    assert len(settings) == len(rates) == 12
    schedule = expected_schedule(sweep, [], make_plan(sweep, [], 1))
    assert schedule is not None
    tried = {t.configuration.method.name for t in schedule.trials}
    assert tried == {"none", "full", "lora", "p_tuning"}
    assert sweep.spec.budget.trials is not None
    assert len(schedule.trials) < min(sweep.spec.budget.trials, schedule.grid.trials)
    assert any(t.stage == "repeat" for t in schedule.trials), "two seeds give the noise floor"


def test_two_models_of_one_name(tmp_path: Path, tiny_data: Path, tiny_model: Path) -> None:
    copy = tmp_path / "copy" / tiny_model.name
    shutil.copytree(tiny_model, copy)
    text = draft_sweep([tiny_data], [str(tiny_model), str(copy)], tmp_path).text
    (tmp_path / "sweep.yaml").write_text(text)
    names = list(read_sweep(tmp_path / "sweep.yaml").models)
    assert names == [f"{tiny_model.name}-1", f"{tiny_model.name}-2"]


@pytest.mark.parametrize(
    ("rows", "wording"),
    [([{"text": "a"}], r"found fields text; allowed: one to read from"), ([], "found no rows")],
)
def test_data_without_two_fields(tmp_path: Path, rows: list[dict[str, Any]], wording: str) -> None:
    path = write(tmp_path / "data.jsonl", rows)
    with pytest.raises(InputError, match=rf"data\.jsonl:1: {wording}"):
        draft_sweep([path], ["model"])


def test_nothing_to_draft_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no model"):
        draft_sweep([tmp_path], [])
    with pytest.raises(InputError, match="a folder without a train file; allowed: train"):
        draft_sweep([tmp_path], ["model"])
    with pytest.raises(InputError, match="found no data"):
        draft_sweep([], ["model"])
