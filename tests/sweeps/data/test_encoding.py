"""The rows that a trial trains and is evaluated on, from real files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.data import encoding as encoded
from sweeps.data.encoding import (
    evaluation_rows,
    label_set,
    suite_text,
    training_order,
    training_stream,
)
from sweeps.data.examples import Example, file_ref, read_examples, read_texts
from sweeps.data.prompts import encode_examples, encode_texts, load_tokenizer
from tests.conftest import REQUESTS
from tracker.errors import InputError
from tracker.trial import EvaluationSpec, MixSpec, TrialSpec

MakeSpec = Callable[..., TrialSpec]


def test_the_stream_is_the_order_encoded_row_by_row(make_spec: MakeSpec, tiny_data: Path) -> None:
    mix = MixSpec(name="replay", weights={"intent": 1}, replay=0.1)
    spec = make_spec("lora", mix=mix, replay=file_ref(tiny_data / "replay.jsonl"))
    task, tokenizer = spec.tasks[0], load_tokenizer(spec.model)
    assert task.train is not None
    assert spec.replay is not None
    examples, texts = read_examples(task, task.train), read_texts(spec.replay)
    expected = [
        encode_texts(tokenizer, [texts[at.row]], 96)[0]
        if at.task is None
        else encode_examples(tokenizer, [examples[at.row]], 96)[0]
        for at in training_order(spec)
    ]
    assert training_stream(spec) == expected
    assert len(expected) == 2 * (40 + 4)


def test_volumes_are_nested_and_stratified(make_spec: MakeSpec) -> None:
    small = make_spec("full", volume=20, examples={"intent": 20})
    large = make_spec("full", volume=40, examples={"intent": 40})
    assert set(training_stream(small)) < set(training_stream(large))
    task = small.tasks[0]
    assert task.train is not None
    examples = read_examples(task, task.train)
    answers = Counter(examples[at.row].answer for at in training_order(small)[:20])
    assert answers.keys() == REQUESTS.keys()
    assert max(answers.values()) <= 6, "20 rows of five equally frequent labels"


def test_every_method_sees_the_same_rows(make_spec: MakeSpec) -> None:
    assert training_stream(make_spec("full")) == training_stream(make_spec("p_tuning_v2"))
    assert training_stream(make_spec("full")) != training_stream(make_spec("full", seed=2))
    assert training_stream(make_spec("none")) == []


def test_every_seed_is_evaluated_on_the_same_rows(make_spec: MakeSpec) -> None:
    chosen = {
        evaluation_rows(spec.tasks[0], spec.tasks[0].validation, spec)
        for spec in (make_spec("full", seed=1), make_spec("lora", seed=2), make_spec("none"))
    }
    (rows,) = chosen
    assert len(rows.encoded) == len(rows.truth) == 24
    assert set(rows.truth) == set(REQUESTS), "the choice is stratified"
    texts = suite_text(file_ref(make_spec("full").general[0].text.path), make_spec("full"))  # type: ignore[union-attr]
    assert len(texts.truth) == 12, "fewer than the limit: all of them"
    few = make_spec("full", evaluation=EvaluationSpec(rows=5))
    chosen_texts = [suite_text(file_ref(few.general[0].text.path), few).numbers for _ in range(2)]  # type: ignore[union-attr]
    assert chosen_texts[0] == chosen_texts[1]
    assert chosen_texts[0] != (0, 1, 2, 3, 4)


def test_no_limit_takes_every_row_in_the_files_order(make_spec: MakeSpec) -> None:
    spec = make_spec("full", evaluation=EvaluationSpec(rows=None))
    task = spec.tasks[0]
    rows = evaluation_rows(task, task.validation, spec)
    assert list(rows.truth) == [e.answer for e in read_examples(task, task.validation)]


def test_labels_are_those_of_training_and_the_negative(make_spec: MakeSpec) -> None:
    task = make_spec("full").tasks[0]
    assert label_set(task) == set(REQUESTS)
    unseen = task.model_copy(update={"negative": "no_idea"})
    assert label_set(unseen) == {*REQUESTS, "no_idea"}
    assert label_set(task.model_copy(update={"score": "exact_match"})) is None


def test_labels_are_compared_without_white_space(
    make_spec: MakeSpec, tmp_path: Path, tiny_data: Path
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text((tiny_data / "train.jsonl").read_text().replace('"weather"', '" weather "'))
    task = make_spec("full").tasks[0]
    update = {"train": file_ref(file), "negative": "out_of_scope\n"}
    assert label_set(task.model_copy(update=update)) == set(REQUESTS)


def test_a_row_is_tokenised_once_and_only_if_used(
    make_spec: MakeSpec, tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text((tiny_data / "train.jsonl").read_text())
    task = make_spec("full").tasks[0].model_copy(update={"train": file_ref(file)})
    taken: list[int] = []
    real = encoded.encode_examples

    def counting(tokenizer: Any, examples: list[Example], *limits: Any) -> Any:
        taken.extend(example.row for example in examples)
        return real(tokenizer, examples, *limits)

    monkeypatch.setattr(encoded, "encode_examples", counting)
    for method, volume in (("full", 10), ("lora", 30), ("full", 10)):
        training_stream(
            make_spec(method, tasks=(task,), volume=volume, examples={"intent": volume})
        )
    assert len(taken) == len(set(taken)) == 30


def test_a_changed_file_is_refused_by_name(
    make_spec: MakeSpec, tmp_path: Path, tiny_data: Path
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text((tiny_data / "train.jsonl").read_text())
    task = make_spec("full").tasks[0].model_copy(update={"train": file_ref(file)})
    file.write_text((tiny_data / "validation.jsonl").read_text())
    with pytest.raises(InputError, match=r"train\.jsonl: changed during the sweep: its SHA-256"):
        training_stream(make_spec("full", tasks=(task,)))


def test_a_task_without_training_file_cannot_be_mixed(make_spec: MakeSpec) -> None:
    task = make_spec("full").tasks[0].model_copy(update={"train": None})
    with pytest.raises(InputError, match="task intent: has no training file"):
        training_stream(make_spec("full", tasks=(task,)))
