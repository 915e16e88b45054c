"""A sweep file meets the models and data it names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.base_models import max_positions, vocabulary_size
from sweeps.data.examples import read_examples
from sweeps.resolve import ResolvedSweep, read_sweep, resolve
from sweeps.sweep_file import load_sweep
from tracker.errors import InputError

SWEEP = """\
name: tiny
models: [{{path: {model}}}]
methods: {{full: {{learning_rate: 1e-3}}}}
tasks:
  intent:
    train: train.jsonl
    prompt: {{input: "{{text}}"}}
    answer: "{{label}}"
    score: macro_f1
    negative: out_of_scope
general: {{english: {{text: general.jsonl}}}}
volumes: [100, 200]
mixes: {{even: {{intent: 1}}, replay: {{intent: 1, replay: 0.1}}}}
replay: {{text: replay.jsonl}}
train: {{max_length: 64}}
{more}
"""


class Sweep:
    """A folder with the tiny task's files and a sweep file over them, to be spoilt."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = model
        self.file = folder / "sweep.yaml"
        self.text = SWEEP.format(model=model, more="")

    def change(self, old: str, new: str) -> None:
        assert old in self.text
        self.text = self.text.replace(old, new)

    def append(self, name: str, *rows: dict[str, Any]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def read(self) -> ResolvedSweep:
        self.file.write_text(self.text, encoding="utf-8")
        return read_sweep(self.file)

    def problems(self) -> list[str]:
        with pytest.raises(InputError) as caught:
            self.read()
        return [problem.replace(f"{self.folder}/", "") for problem in caught.value.problems]


@pytest.fixture
def sweep(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Sweep:
    folder = tmp_path / "sweep"
    shutil.copytree(tiny_data, folder)
    return Sweep(folder, tiny_model)


@pytest.fixture
def copied_model(sweep: Sweep, tmp_path: Path) -> Path:
    folder = tmp_path / "copied_model"
    shutil.copytree(sweep.model, folder)
    sweep.change(str(sweep.model), str(folder))
    return folder


def edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def first_row(sweep: Sweep, name: str) -> dict[str, str]:
    row: dict[str, str] = json.loads((sweep.folder / name).read_text().splitlines()[0])
    return row


def test_everything_is_found_counted_and_digested(sweep: Sweep) -> None:
    from transformers import AutoModelForCausalLM

    found = sweep.read()
    model = found.models[sweep.model.name]
    weights = AutoModelForCausalLM.from_pretrained(sweep.model)
    assert model.parameters == weights.num_parameters()
    assert len(model.digest) == 64
    task = found.tasks["intent"]
    assert task.train is not None
    assert task.test is not None
    assert (task.train.rows, task.validation.rows, task.test.rows) == (600, 120, 120)
    assert Path(task.validation.path) == sweep.folder / "validation.jsonl"
    assert found.general["english"].text is not None
    assert found.replay is not None
    assert found.warnings == ()
    assert len(read_examples(task, task.train)) == 600


def test_a_file_too_small_to_set_validation_rows_aside(sweep: Sweep) -> None:
    rows = [first_row(sweep, "train.jsonl")] * 3
    (sweep.folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep.change("train: train.jsonl", "train: few.jsonl")
    sweep.change("volumes: [100, 200]", "volumes: [1]")
    problems = sweep.problems()
    assert any(
        "tasks.intent.train: found no rows left for train: every row has the prompt of "
        "a row that was set aside for validation; give more rows, or a validation file" in problem
        for problem in problems
    ), problems


def test_a_file_whose_every_answer_is_unique_leaves_no_validation(sweep: Sweep) -> None:
    rows = [{"text": f"word {i}", "label": f"label {i}"} for i in range(20)]
    (sweep.folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep.change("train: train.jsonl", "train: few.jsonl")
    sweep.change("negative: out_of_scope", "negative: label 1")
    sweep.change("volumes: [100, 200]", "volumes: [10]")
    (problem,) = sweep.problems()
    assert (
        "tasks.intent.train: found no rows left for validation: every answer occurs "
        "once, and training needs each; give more rows, or a validation file" in problem
    )


def test_resolving_twice_gives_the_same_and_elsewhere_the_same_content(
    sweep: Sweep, tmp_path: Path
) -> None:
    found = sweep.read()
    assert sweep.read() == found
    assert resolve(load_sweep(sweep.file), sweep.folder) == found
    copy = Sweep(Path(shutil.copytree(sweep.folder, tmp_path / "copy")), sweep.model).read()
    assert copy.tasks["intent"].validation.sha256 == found.tasks["intent"].validation.sha256
    assert copy.tasks["intent"].validation.path != found.tasks["intent"].validation.path


def test_without_validation_a_part_of_train_is_set_aside(sweep: Sweep) -> None:
    (sweep.folder / "validation.jsonl").unlink()
    (sweep.folder / "test.jsonl").unlink()
    task = sweep.read().tasks["intent"]
    assert task.train is not None
    assert (task.train.rows, task.validation.rows) == (540, 60)
    assert task.test is None
    train = {e.messages for e in read_examples(task, task.train)}
    validated = {e.messages for e in read_examples(task, task.validation)}
    assert len(train) == 540
    assert not train & validated
    assert task.train.sha256 != task.validation.sha256


def test_all_problems_at_once_with_their_lines(sweep: Sweep) -> None:
    sweep.change(str(sweep.model), "no/such/folder")
    sweep.change("volumes: [100, 200]", "volumes: [100, 2000]")
    sweep.change("negative: out_of_scope", "negative: out_of_scop")
    sweep.change("replay.jsonl", "repaly.jsonl")
    problems = sweep.problems()
    assert [problem.split(" ")[0] for problem in problems] == [
        "sweep.yaml:2:",
        "sweep.yaml:10:",
        "repaly.jsonl:",
        "sweep.yaml:12:",
        "sweep.yaml:12:",
    ]
    assert "models[0]: found no folder" in problems[0]
    assert "did you mean 'out_of_scope'" in problems[1]
    assert "did you mean 'replay.jsonl'" in problems[2]
    assert "found 2000 examples, 2000 of them of 'intent' in mix 'even'" in problems[3]
    assert "allowed: at most 600" in problems[3]


@pytest.mark.parametrize("spoil", [str, lambda text: f"  {text.upper()} "])
def test_leakage_is_refused_unless_allowed(sweep: Sweep, spoil: Callable[[str], str]) -> None:
    row = first_row(sweep, "train.jsonl")
    sweep.append("validation.jsonl", {**row, "text": spoil(row["text"])})
    (problem,) = sweep.problems()
    assert problem.startswith("validation.jsonl:121: found 1 prompts of train in validation")
    assert "validation.jsonl:121 = train.jsonl:1" in problem
    assert "allowed: none; take them out or set allow_leakage: true" in problem
    assert ("(1 exact" in problem) == (spoil is str)
    sweep.text += "allow_leakage: true\n"
    assert "found 1 prompts of train in validation" in sweep.read().warnings[0]


def test_a_near_leak_is_refused_of_a_new_sweep_alone(sweep: Sweep) -> None:
    row = first_row(sweep, "train.jsonl")
    sweep.append("validation.jsonl", {**row, "text": f"{row['text']}!"})
    (problem,) = sweep.problems()
    assert "1 but for punctuation and width): validation.jsonl:121 = train.jsonl:1" in problem
    begun = read_sweep(sweep.file, lambda _: True)
    assert "1 but for punctuation and width" in begun.warnings[0]


def test_an_answer_that_does_not_fit_is_known_at_every_volume(sweep: Sweep) -> None:
    sweep.append("train.jsonl", {"text": "book it", "label": "out_of_scope " * 80})
    sweep.change("score: macro_f1", "score: exact_match")
    sweep.change("volumes: [100, 200]", "volumes: [100, 601]")
    (problem,) = sweep.problems()
    assert problem.startswith("train.jsonl:601: found ")
    assert "allowed: 64; raise train.max_length or take the row out (tokenizer of" in problem
    assert problem.endswith("to leave such rows out: sft-select doctor FILE --fix-data FOLDER")
    begun = read_sweep(sweep.file, lambda _: True)
    assert any("train.jsonl:601: found " in warning for warning in begun.warnings)


def test_replay_of_a_suite_is_leakage_too(sweep: Sweep) -> None:
    sweep.append("replay.jsonl", first_row(sweep, "general.jsonl"))
    (problem,) = sweep.problems()
    assert "replay.jsonl:13 = general.jsonl:1" in problem


def test_a_label_never_seen_in_train(sweep: Sweep) -> None:
    sweep.append("validation.jsonl", {"text": "see the sun", "label": "wether"})
    (problem,) = sweep.problems()
    assert problem.startswith("validation.jsonl:121: found label 'wether', never seen in train")
    assert "allowed: book_table, out_of_scope, play_music" in problem
    assert problem.endswith("did you mean 'weather'?")


def test_a_class_with_one_example_gives_a_warning(sweep: Sweep) -> None:
    sweep.append("train.jsonl", {"text": "see the sun", "label": "wether"})
    (warning,) = sweep.read().warnings
    assert warning.endswith(
        "train.jsonl:601: label 'wether' has a single example; did you mean 'weather'?"
    )


def test_answers_outside_their_pattern_give_a_warning(sweep: Sweep) -> None:
    sweep.change("score: macro_f1", "score: macro_f1\n    pattern: '[a-z]+'")
    (warning,) = sweep.read().warnings
    assert "of 120 true answers do not match the pattern" in warning


def test_lengths_that_cannot_do(sweep: Sweep) -> None:
    sweep.change("{text}", "Route the request of this customer: {text}")
    sweep.change("train: {max_length: 64}", "train: {max_length: 8}")
    sweep.text += "evaluation: {max_new_tokens: 1}\n"
    problems = sweep.problems()
    assert any("train.max_length: found 8; all rows of 'intent' are longer" in p for p in problems)
    sweep.change("{max_length: 8}", "{max_length: 200}")
    warnings = sweep.read().warnings
    assert any("allows 128 tokens" in warning for warning in warnings)
    assert any(warning.startswith("evaluation.max_new_tokens: found 1; ") for warning in warnings)


def test_weights_that_are_pickles_only(sweep: Sweep, copied_model: Path) -> None:
    (copied_model / "model.safetensors").rename(copied_model / "pytorch_model.bin")
    (problem,) = sweep.problems()
    assert problem.startswith("sweep.yaml:2: models[0]: found only pytorch_model.bin (pickle")
    assert "allowed: *.safetensors" in problem


def test_weights_cut_short(sweep: Sweep, copied_model: Path) -> None:
    path = copied_model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    size = f"{path.stat().st_size:,} bytes"
    assert f"found no safetensors header in {path} that fits its {size}" in sweep.problems()[0]
    path.write_bytes(b"\xff" * 20)
    assert "found no safetensors header" in sweep.problems()[0]
    path.write_bytes(b"")
    assert "found no safetensors header" in sweep.problems()[0]


def test_code_in_the_model_folder_needs_trust(sweep: Sweep, copied_model: Path) -> None:
    edit_json(copied_model / "config.json", lambda c: c.update(auto_map={"AutoModel": "x.Y"}))
    (problem,) = sweep.problems()
    assert "auto_map in config.json" in problem
    assert "set trust_remote_code: true" in problem
    sweep.change(f"path: {copied_model}", f"path: {copied_model}, trust_remote_code: true")
    assert sweep.read().models["copied_model"].trust_remote_code


def test_a_tokenizer_larger_than_its_embeddings(sweep: Sweep, copied_model: Path) -> None:
    size = vocabulary_size(copied_model)
    assert size is not None
    edit_json(copied_model / "config.json", lambda c: c.update(vocab_size=size - 1))
    (problem,) = sweep.problems()
    assert f"found a tokenizer of {size} tokens; allowed: {size - 1}" in problem


@pytest.mark.parametrize(
    ("name", "wording"),
    [
        ("config.json", "found no config.json"),
        ("tokenizer.json", "found no tokenizer"),
        ("model.safetensors", "found none as weights"),
    ],
)
def test_incomplete_model_folders(
    sweep: Sweep, copied_model: Path, name: str, wording: str
) -> None:
    (copied_model / name).unlink()
    if name == "tokenizer.json":
        (copied_model / "tokenizer_config.json").unlink()
    problems = sweep.problems()
    assert any(wording in problem for problem in problems), problems


def test_tied_weights_count_once(sweep: Sweep, copied_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    before = sweep.read().models["copied_model"].parameters
    weights = load_file(copied_model / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, copied_model / "model.safetensors", metadata={"format": "pt"})
    assert sweep.read().models["copied_model"].parameters == before
    edit_json(copied_model / "config.json", lambda c: c.update(tie_word_embeddings=False))
    size = weights["lm_head.weight"].numel()
    assert sweep.read().models["copied_model"].parameters == before + size


def test_the_digest_follows_weights_and_tokenizer(sweep: Sweep, copied_model: Path) -> None:
    before = sweep.read().models["copied_model"].digest
    (copied_model / "README.md").write_text("not part of it")
    assert sweep.read().models["copied_model"].digest == before
    edit_json(copied_model / "tokenizer_config.json", lambda c: c.update(model_max_length=64))
    assert sweep.read().models["copied_model"].digest != before


def test_a_hub_id_that_is_not_in_the_cache(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SFT_SELECT_ONLINE", raising=False)
    sweep.change(str(sweep.model), "no-such-org/no-such-model")
    (problem,) = sweep.problems()
    assert "'no-such-org/no-such-model' in the local hub cache" in problem
    assert "set SFT_SELECT_ONLINE=1 to fetch it" in problem
    assert "\n" not in problem


def test_positions_are_read_from_the_configuration(tiny_model: Path) -> None:
    assert max_positions(tiny_model) == 128


def test_nothing_is_created(sweep: Sweep) -> None:
    sweep.change("volumes: [100, 200]", "volumes: [100, 2000]")
    sweep.file.write_text(sweep.text)
    before = sorted(path.name for path in sweep.folder.iterdir())
    sweep.problems()
    assert sorted(path.name for path in sweep.folder.iterdir()) == before
