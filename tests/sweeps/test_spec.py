"""The sweep file's types: defaults, shorthands, and the published schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sweeps.spec
from sweeps.method_entry import Range
from sweeps.reference import reference
from sweeps.spec import Budget, SweepSpec, json_schema
from sweeps.sweep_file import load_sweep
from tracker.constraints import COUNTED, MEASURED
from tracker.errors import InputError
from tracker.strict_yaml import load as load_yaml
from tracker.trial import TrainSpec

ROOT = Path(sweeps.spec.__file__).parents[1]

FULL = """\
name: support
models: [{path: models/en-0.3m}, {path: org/en-1m, revision: main, name: big}]
methods:
  full:     {learning_rate: {low: 1e-4, high: 5e-3, log: true}}
  lora:     {rank: [8, 32], variant: [plain, rslora, dora, pissa, lora_plus], learning_rate: 1e-3}
  p_tuning: {variant: v2, virtual_tokens: [16], learning_rate: {low: 1e-3, high: 1e-1, log: true}}
tasks:
  intent:
    train: data/clinc150/train.jsonl
    prompt: {system: "You route requests.", instruction: "Name the intent.", input: "{text}"}
    answer: "{label}"
    score: macro_f1
    negative: out_of_scope
  banking: {train: banking.csv, validation: bv.csv}
general:
  english: {text: general/english.jsonl, measure: bits_per_byte}
  slots: {validation: v.jsonl, prompt: {input: "{text}"}, answer: "{slots}", score: token_f1,
          measure: score}
  nested: {task: {validation: v.jsonl}, measure: score}
volumes: [250, 500, 1000, 2000]
mixes:
  even:   {intent: 1, banking: 1}
  boost:  {intent: 1, banking: 0.5, extra_epochs: {intent: 1}, volumes: [500]}
  replay: {intent: 1, replay: 0.02}
replay: {text: general/replay.jsonl}
train: {epochs: 4, max_length: 128}
evaluation: {rows: null, max_new_tokens: 8}
objective: {weights: {intent: 2, banking: 1},
            constraints: {forgetting.english: 0.1, over_reach.intent: 0.2, min.banking: 0.5}}
seeds: 2
budget: {gpu_hours: 1.5}
search: {strategy: random, tuning: {trials: 3, volume: 500, mix: even}}
engine: {kind: local, workers: 2}
"""
SMALL = """\
name: small
models: [{path: m}]
methods: {full: {learning_rate: 1e-3}}
tasks: {a: {train: a.jsonl}, b: {validation: b.jsonl}}
volumes: [10]
"""


def load(tmp_path: Path, text: str) -> SweepSpec:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return load_sweep(path)


def test_the_whole_shape(tmp_path: Path) -> None:
    spec = load(tmp_path, FULL)
    assert [model.label for model in spec.models] == ["en-0.3m", "big"]
    assert spec.methods.full is not None
    assert spec.methods.full.learning_rate == Range(low=1e-4, high=5e-3, log=True)
    assert spec.methods.lora is not None
    assert spec.methods.lora.learning_rate == 1e-3
    assert spec.methods.p_tuning is not None
    assert spec.methods.p_tuning.variant == ("v2",)
    assert spec.mixes["boost"].named("boost").weights == {"intent": 1, "banking": 0.5}
    assert spec.mixes["boost"].named("boost").extra_epochs == {"intent": 1}
    assert spec.mixes["replay"].named("replay").replay == 0.02
    assert spec.general["slots"].held_out is spec.general["slots"]
    assert spec.general["nested"].held_out is spec.general["nested"].task
    assert spec.general["english"].held_out is None
    assert spec.evaluation.rows is None
    assert spec.budget is not None
    assert spec.budget.gpu_hours == 1.5


def test_a_trial_may_hold_what_an_outside_table_says_but_a_file_may_not(tmp_path: Path) -> None:
    """Stored trials of an earlier release hold 0 epochs where their table did."""
    assert TrainSpec(epochs=0).epochs == 0
    for epochs, allowed in ((0, "at least 1"), (1001, "at most 1000")):
        with pytest.raises(InputError, match=f"train.epochs: found {epochs}; allowed: {allowed}"):
            load(tmp_path, f"{SMALL}train: {{epochs: {epochs}}}\n")


def test_defaults_train_every_task_alike(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL)
    assert spec.mixes["all"].weights == {"a": 1}
    assert spec.objective.weights == {"a": 1}
    assert spec.train.of_trials == TrainSpec()
    assert spec.budget is None
    assert spec.allow_leakage is False


@pytest.mark.parametrize("text", [FULL, SMALL])
def test_round_trip(tmp_path: Path, text: str) -> None:
    spec = load(tmp_path, text)
    assert SweepSpec.model_validate_json(spec.model_dump_json()) == spec
    assert SweepSpec.model_validate(spec.model_dump()) == spec


def test_it_cannot_be_changed(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL)
    with pytest.raises(ValueError, match="frozen"):
        spec.seeds = 3  # type: ignore[misc]


def test_published_schema_is_current() -> None:
    published = Path(sweeps.spec.__file__).with_name("schema.json").read_text(encoding="utf-8")
    assert published == json_schema(), "run: python -m sweeps.spec > sweeps/schema.json"


def test_every_bound_and_budget_is_named_where_a_user_looks() -> None:
    schema = json.loads(json_schema())
    bounds = schema["$defs"]["Objective"]["properties"]["constraints"]["description"]
    assert all(name in bounds for name in (*COUNTED, *MEASURED))
    budget = schema["properties"]["budget"]["description"]
    assert all(name in budget for name in Budget.model_fields)
    assert "hours on a device" in budget


def test_every_key_is_described() -> None:
    schema = json.loads(json_schema())
    nodes = {"SweepSpec": schema, **schema["$defs"]}
    # what a key says in the words of its class is said there alone
    for node in nodes.values():
        for value in node.get("properties", {}).values():
            if value.keys() <= {"$ref", "default"}:
                value |= {"description": nodes[value["$ref"].rsplit("/", 1)[1]]["description"]}
    bare = [
        f"{name}.{key}"
        for name, node in nodes.items()
        for key, value in node.get("properties", {}).items()
        if "description" not in value
    ]
    assert bare == []


def test_schema_accepts_the_example_and_refuses_a_misspelt_key(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads(json_schema())
    data = load_yaml(FULL, "f").data
    jsonschema.validate(data, schema)
    data["methods"]["lora"]["rnk"] = 8
    with pytest.raises(jsonschema.ValidationError, match="rnk"):
        jsonschema.validate(data, schema)


def test_learning_rates_may_be_listed(tmp_path: Path) -> None:
    listed = SMALL.replace("learning_rate: 1e-3", "learning_rate: [3e-3, 1e-4, 1e-3]")
    spec = load(tmp_path, listed)
    assert spec.methods.full is not None
    assert spec.methods.full.learning_rate == (1e-4, 1e-3, 3e-3)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("[1e-3, 1e-3]", "each choice once"),
        ("[]", "one value or a list"),
        ("[1e-3, -1]", "learning_rate"),
    ],
)
def test_bad_lists_of_learning_rates_are_named(tmp_path: Path, written: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        load(tmp_path, SMALL.replace("learning_rate: 1e-3", f"learning_rate: {written}"))


# -- the reference of the keys -----------------------------------------------------------------------------


def test_the_reference_is_current() -> None:
    published = (ROOT / "SWEEP_FILE.md").read_text(encoding="utf-8")
    assert published == reference(), "run: python -m sweeps.reference > SWEEP_FILE.md"


#: Mappings whose keys a user makes up.
FREE = ("tasks", "general", "mixes", "weights", "constraints", "extra_epochs")


def keys(data: Any, free: bool = False) -> Iterator[str]:
    """Every key of a sweep file but the names that a user makes up."""
    for name, value in data.items() if isinstance(data, dict) else ():
        yield from () if free else (name,)
        yield from keys(value, free=not free and name in FREE)
    for entry in data if isinstance(data, list) else ():
        yield from keys(entry)


def test_every_key_of_the_examples_is_in_the_reference() -> None:
    listed = set(re.findall(r"^\| `([^`]*)`", reference(), flags=re.MULTILINE))
    parts = {part for key in listed for part in key.split(".")} | {"<task>"}
    examples = [path.read_text() for path in (ROOT / "sweeps/examples").glob("*.yaml")]
    for text in (FULL, SMALL, *examples):
        data = load_yaml(text, "f").data
        tasks = set(data["tasks"])
        assert set(keys(data)) - tasks <= parts
    assert "`ats`" not in reference(), "a strategy for comparisons alone"
