"""Trained models: answers as in the evaluation, from the folder, from the registry, and in MLflow alone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from sweeps.cli import app
from sweeps.data.examples import digest
from sweeps.data.readers import read_rows
from sweeps.finetune.final import FinalModel, train_config
from sweeps.finetune.trained_model import CARD, TrainedModel
from tests.sweeps.finetune.test_trial import MakeSpec
from tracker.errors import InputError, StoreError
from tracker.export.config import Config
from tracker.store.store import Store
from tracker.task import ScoreFunction, SourceFile
from tracker.trial import EvaluationSpec, MixSpec

#: Of MLflow at its own types, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*inferred as AnyType:UserWarning")
SMALL = EvaluationSpec(rows=16, batch_size=8, max_new_tokens=6)


class Trained(NamedTuple):
    """A LoRA of the tiny model, trained into a store."""

    final: FinalModel
    workspace: Path
    data: Path
    base: Path

    @property
    def said(self) -> list[str]:
        """Its answers to the test rows, as its evaluation recorded them."""
        file = self.final.folder.with_name("model-records") / "intent.test.jsonl"
        return [json.loads(line)["answer"] for line in file.open()]

    def ask(self, *words: object) -> Result:
        return CliRunner().invoke(
            app, ["answer", *map(str, words), "--workspace", str(self.workspace)]
        )


@pytest.fixture(scope="module")
def trained(
    make_spec: MakeSpec,
    tiny_data: Path,
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    store = Store.open(root / "runs")
    config = Config(sweep="s", trial=make_spec("lora", evaluation=SMALL, seed=3))
    final = train_config(config, "c: 1\n", root / "model", store)
    return Trained(final, root / "runs", tiny_data, tiny_model)


@pytest.fixture
def test_rows(trained: Trained) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trained.data / "test.jsonl").open()]


def answers(file: Path) -> list[str]:
    return [json.loads(line)["answer"] for line in file.open()]


@pytest.mark.parametrize("place", ["folder", "models:/s-lora/1", "models:/s-lora@recommended"])
def test_answers_and_score_are_the_evaluations(
    place: str, trained: Trained, tmp_path: Path
) -> None:
    model = trained.final.folder if place == "folder" else place
    done = trained.ask(model, trained.data / "test.jsonl", "-o", tmp_path / "a.jsonl")
    assert done.exit_code == 0, done.output
    assert answers(tmp_path / "a.jsonl") == trained.said
    assert len(set(trained.said)) > 1
    done = trained.ask(model, trained.data / "test.jsonl", "-o", tmp_path / "a.jsonl", "--json")
    found = json.loads(done.stdout)
    (test,) = trained.final.scores("test")
    assert found["score"]["score"] == test.score
    assert found["score"]["n"] == test.n == 120
    assert found["score"]["loss_nats"] == pytest.approx(test.loss_nats)


def test_a_score_of_the_users_own_reads_the_rows(trained: Trained, tmp_path: Path) -> None:
    code = tmp_path / "scores.py"
    code.write_text("def right(answer, row):\n    return float(answer == row['label'])\n")
    function = ScoreFunction(
        file=SourceFile(path=str(code), sha256=digest(str(code))), function="right"
    )
    model = TrainedModel.load(trained.final.folder)
    task = model.task().model_copy(update={"score": "right", "function": function})
    path = trained.data / "test.jsonl"
    found = model.answer(task, str(path), read_rows(path))
    right = [record["answer"] == record["truth"] for record in found.records]
    assert found.score is not None
    assert found.score.score == pytest.approx(sum(right) / len(right))


def test_each_scored_reading_of_test_is_counted(trained: Trained, tmp_path: Path) -> None:
    words = (trained.final.folder, trained.data / "test.jsonl", "-o", tmp_path / "a.jsonl")
    before = json.loads(trained.ask(*words, "--json").stdout)["test_reads"]
    done = trained.ask(*words)
    assert f"test was read {before + 1} times for this sweep" in done.output
    assert "macro_f1 " in done.output
    assert " on 120 rows" in done.output
    validation = trained.ask(words[0], trained.data / "validation.jsonl", *words[2:])
    assert "test was read" not in validation.output
    shutil.copy(trained.data / "test.jsonl", tmp_path / "copy.jsonl")
    elsewhere = [*map(str, (words[0], tmp_path / "copy.jsonl", *words[2:]))]
    alone = CliRunner().invoke(app, ["answer", *elsewhere, "--workspace", str(tmp_path)])
    assert "this reading is not counted: no tracking store in" in alone.output


def test_rows_without_answers_get_the_same_ones(
    trained: Trained, test_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    with (tmp_path / "rows.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([row["text"]] for row in test_rows)
    done = trained.ask(trained.final.folder, tmp_path / "rows.csv", "-o", tmp_path / "a.jsonl")
    assert done.exit_code == 0, done.output
    assert "no row has a true answer, so there is no score" in done.output
    assert answers(tmp_path / "a.jsonl") == trained.said
    some = [row if n % 3 else {"text": row["text"]} for n, row in enumerate(test_rows)]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    done = trained.ask(trained.final.folder, tmp_path / "some.jsonl", "-o", tmp_path / "b.jsonl")
    assert " on 80 rows; 40 rows without a true answer" in done.output
    assert answers(tmp_path / "b.jsonl") == trained.said
    lines = [json.loads(line) for line in (tmp_path / "b.jsonl").open()]
    assert ["score" in line for line in lines] == [bool(n % 3) for n in range(120)]
    assert [line["row"] for line in lines] == list(range(1, 121))


def test_mlflow_alone_predicts_with_a_registered_model(
    trained: Trained, test_rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    uri = f"sqlite:///{trained.workspace / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    model = mlflow.pyfunc.load_model("models:/s-lora/1")
    frame = pd.DataFrame([{"text": row["text"]} for row in test_rows])
    assert list(model.predict(frame)) == trained.said
    assert list(model.predict(test_rows[:8], params={"task": "intent"})) == list(
        model.predict(frame[:8])
    )
    with pytest.raises(InputError, match="--task: found 'intents'; allowed: intent"):
        model.predict(frame[:1], params={"task": "intents"})
    with pytest.raises(InputError, match=r"missing.*is not the base model|found no folder"):
        mlflow.pyfunc.load_model("models:/s-lora/1", model_config={"base": "/missing"})


def test_a_models_page_holds_what_it_is_and_its_test_score(trained: Trained) -> None:
    client = Store.open(trained.workspace).client
    version = client.get_model_version("s-lora", "1")
    (test,) = trained.final.scores("test")
    assert "trial `" in version.description
    assert "- test intent: macro_f1 " in version.description
    assert " on 120 rows" in version.description
    assert version.tags["sft.test_reads.intent"] == "1"
    assert version.tags["sft.base"].startswith("tiny ")
    assert version.tags["sft.model"] == "tiny"
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["eval/intent/test/score"] == test.score
    assert metrics["eval/intent/test/n"] == 120


@pytest.mark.parametrize("method", ["full", "p_tuning_v1", "p_tuning_v2", "pissa"])
def test_every_method_answers_as_it_was_evaluated(
    method: str, make_spec: MakeSpec, trained: Trained, tmp_path: Path
) -> None:
    spec = make_spec(method, evaluation=SMALL, volume=16, examples={"intent": 16})
    store = Store.open(trained.workspace)
    final = train_config(Config(sweep=method, trial=spec), "c: 1\n", tmp_path / "model", store)
    file = tmp_path / "model-records" / "intent.test.jsonl"
    said = [json.loads(line)["answer"] for line in file.open()]
    done = trained.ask(
        f"models:/{final.name}/1", trained.data / "test.jsonl", "-o", tmp_path / "a.jsonl"
    )
    assert done.exit_code == 0, done.output
    assert answers(tmp_path / "a.jsonl") == said


def test_an_adapters_base_is_found_again_and_proven(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "far" / "model"
    shutil.copytree(trained.final.folder, moved)
    card = json.loads((moved / CARD).read_text())
    card["trial"]["model"]["path"] = "/gone/tiny"
    (moved / CARD).write_text(json.dumps(card))
    with pytest.raises(
        InputError, match=r"found no base model tiny at /gone/tiny, whose SHA-256 is"
    ) as no:
        TrainedModel.load(moved)
    assert "\n" not in str(no.value)
    assert TrainedModel.load(moved, str(trained.base)).task().name == "intent"
    other = tmp_path / "other"
    shutil.copytree(trained.base, other)
    (other / "generation_config.json").write_text('{"do_sample": false, "top_k": 7}')
    with pytest.raises(
        InputError, match=r"is not the base model that .* was trained on, whose SHA-256"
    ):
        TrainedModel.load(moved, str(other))
    shutil.copytree(trained.base, moved.parent / "tiny")  # beside the model
    assert TrainedModel.load(moved).task().name == "intent"


def test_what_cannot_be_answered_is_refused_in_a_line(trained: Trained, tmp_path: Path) -> None:
    rows, out = trained.data / "test.jsonl", tmp_path / "a.jsonl"
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a b"}\n{"texts": "c"}\n')
    for words, said in [
        (
            (tmp_path / "none", rows, "-o", out),
            "found no folder; allowed: one that `sft-select train`",
        ),
        ((trained.base, rows, "-o", out), "found no sft_select.json; allowed: a folder that"),
        (
            (trained.final.folder, bad, "-o", out),
            "bad.jsonl:2: no field 'text': found 'text'; allowed: texts",
        ),
        ((trained.final.folder, rows, "-o", tmp_path), "found a folder; allowed: a file"),
        ((trained.final.folder, rows, "-o", rows), "holds the rows; name another file"),
        (
            (trained.final.folder, rows, "-o", out, "--task", "intents"),
            "--task: found 'intents'; allowed: intent",
        ),
        (
            (trained.final.folder, rows, "-o", out, "--encoding", "x"),
            "--encoding: found 'x'; allow",
        ),
        (("models:/s-lora/9", rows, "-o", out), "found no such version; it has the versions 1"),
        (("models:/none/1", rows, "-o", out), "there is no such model in the registry"),
        (("models:/s-lora", rows, "-o", out), "allowed: models:/NAME/VERSION"),
    ]:
        with pytest.raises((InputError, StoreError)) as raised:
            CliRunner().invoke(
                app,
                ["answer", *map(str, words), "--workspace", str(trained.workspace)],
                catch_exceptions=False,
                standalone_mode=False,
            )
        assert said in str(raised.value), (words, raised.value)
        assert not out.exists()


def test_a_model_of_several_tasks_asks_which(
    trained: Trained, make_spec: MakeSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained.final.folder, folder)
    card = json.loads((folder / CARD).read_text())
    card["trial"]["tasks"].append(card["trial"]["tasks"][0] | {"name": "second"})
    card["trial"]["mix"] = MixSpec(name="both", weights={"intent": 1, "second": 1}).model_dump()
    (folder / CARD).write_text(json.dumps(card))
    loaded = TrainedModel.load(folder)
    with pytest.raises(
        InputError, match=r"the model has 2 tasks; allowed: intent.*second; name one"
    ):
        loaded.task()
    assert loaded.task("second").name == "second"
