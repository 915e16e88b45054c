"""What all three exports share, and each one's keys."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.data.mixes import replay_rows
from tests.factories import model_spec
from tracker.errors import InputError
from tracker.export import TRAINERS, axolotl, export_config, llamafactory, recipe_for, trl
from tracker.export.config import Config
from tracker.export.recipe import Row
from tracker.strict_yaml import load
from tracker.trial import MethodSpec, MixSpec, TrainSpec

Configs = Callable[..., Config]
MODULES = {"trl": trl, "llamafactory": llamafactory, "axolotl": axolotl}

#: transformers' own training arguments, which TRL and LLaMA-Factory both extend.
TRAINING = {
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "bf16",
    "seed",
    "report_to",
    "output_dir",
}
KEYS = {
    "trl": TRAINING
    | {"model_name_or_path", "dtype", "datasets", "use_peft", "lora_r", "lora_alpha"}
    | {"lora_dropout", "lora_target_modules", "use_rslora", "use_dora", "gradient_checkpointing"}
    | {"train_sampling_strategy", "max_length", "packing", "completion_only_loss"},
    "llamafactory": TRAINING
    | {"model_name_or_path", "stage", "do_train", "finetuning_type", "lora_rank", "lora_alpha"}
    | {"lora_dropout", "lora_target", "use_rslora", "use_dora", "pissa_init", "pissa_iter"}
    | {"loraplus_lr_ratio", "dataset", "dataset_dir", "cutoff_len", "mask_history", "packing"}
    | {"disable_shuffling"},
    "axolotl": {"base_model", "adapter", "lora_r", "lora_alpha", "lora_dropout"}
    | {"lora_target_linear", "peft_use_rslora", "peft_use_dora", "peft_init_lora_weights"}
    | {"loraplus_lr_ratio", "datasets", "val_set_size", "shuffle_merged_datasets"}
    | {"curriculum_sampling", "sequence_len", "sample_packing", "train_on_inputs"}
    | {"learning_rate", "lr_scheduler", "warmup_steps", "optimizer", "weight_decay"}
    | {"max_grad_norm", "num_epochs", "max_steps", "micro_batch_size", "seed", "output_dir"}
    | {"gradient_accumulation_steps", "gradient_checkpointing", "bf16"},
}


def settings(folder: Path, to: str) -> dict[str, Any]:
    data = load((folder / f"{to}.yaml").read_text(), to).data
    assert isinstance(data, dict)
    return data


def data_rows(folder: Path, name: str = "train.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize("to", TRAINERS)
@pytest.mark.parametrize("variant", [None, "plain", "rslora", "dora", "pissa", "lora_plus"])
def test_keys_are_ones_the_trainer_knows(
    make_config: Configs, rows: list[Row], tmp_path: Path, to: str, variant: str | None
) -> None:
    config = make_config(
        method=MethodSpec(name="lora", rank=8, variant=variant, learning_rate=1e-5)
    )
    if (variant or "plain") not in MODULES[to].VARIANTS:
        with pytest.raises(InputError, match=f"LoRA variant {variant}.*: sft-select train CONFIG"):
            export_config(config, to, lambda: rows, tmp_path)
        return
    lines = export_config(config, to, lambda: rows, tmp_path)
    found = settings(tmp_path, to)
    assert set(found) <= KEYS[to]
    assert found["learning_rate"] == 1e-5
    assert found["lora_alpha"] == 32
    assert lines[-1].startswith(f"to train it: cd {tmp_path} && ")
    plain = settings_of(make_config(method=MethodSpec(name="lora", rank=8, learning_rate=1e-5)), to)
    assert (found == plain(rows, tmp_path)) == (variant in (None, "plain"))


def settings_of(config: Config, to: str) -> Callable[[list[Row], Path], dict[str, Any]]:
    def written(rows: list[Row], folder: Path) -> dict[str, Any]:
        export_config(config, to, lambda: rows, folder)
        return settings(folder, to)

    return written


@pytest.mark.parametrize("to", TRAINERS)
@pytest.mark.parametrize("name", ["p_tuning", "none"])
def test_methods_no_trainer_has_are_refused_before_any_row_is_read(
    make_config: Configs, tmp_path: Path, to: str, name: str
) -> None:
    config = make_config(method=MethodSpec(name=name, virtual_tokens=8))
    said = {
        "none": "the untouched base: there is nothing to train, so .* needs no files; use .* as it is$",
        "p_tuning": "method p_tuning: .*; train this configuration here: sft-select train CONFIG$",
    }
    with pytest.raises(InputError, match=said[name]) as told:
        export_config(config, to, lambda: pytest.fail("rows were read"), tmp_path / "out")
    assert "`" not in str(told.value)  # the dashboard shows it as plain words
    assert not (tmp_path / "out").exists()


def test_an_unknown_trainer_is_said_with_the_nearest(make_config: Configs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^to: found 'axolot'.*did you mean 'axolotl'\?"):
        export_config(make_config(), "axolot", list, tmp_path)


@pytest.mark.parametrize("to", TRAINERS)
def test_full_tuning_has_no_adapter(
    make_config: Configs, rows: list[Row], tmp_path: Path, to: str
) -> None:
    config = make_config(method=MethodSpec(name="full", learning_rate=1e-5))
    found = settings_of(config, to)(rows, tmp_path)
    assert not {key for key in found if "lora" in key or "peft" in key or key == "adapter"}
    assert found.get("finetuning_type", "full") == "full"


@pytest.mark.parametrize("to", TRAINERS)
@pytest.mark.parametrize("accumulation", [1, 3])
def test_steps_are_the_trials(
    make_config: Configs, rows: list[Row], tmp_path: Path, to: str, accumulation: int
) -> None:
    train = TrainSpec(epochs=2, batch_size=3, accumulation=accumulation, warmup=0.25)
    steps = math.ceil(math.ceil(16 / 3) / accumulation)
    found = settings_of(make_config(train=train), to)(rows, tmp_path)
    assert found["max_steps"] == steps
    assert found["warmup_steps"] == math.ceil(0.25 * steps)
    assert len(data_rows(tmp_path)) == 16


def test_rows_keep_their_order(make_config: Configs, rows: list[Row], tmp_path: Path) -> None:
    given = [*rows[::2], *rows[1::2]]
    found = {to: settings_of(make_config(), to)(given, tmp_path / to) for to in TRAINERS}
    assert found["trl"]["train_sampling_strategy"] == "sequential"
    assert found["llamafactory"]["disable_shuffling"] is True
    assert found["axolotl"]["curriculum_sampling"] is True
    assert found["axolotl"]["shuffle_merged_datasets"] is False
    for to in ("llamafactory", "axolotl"):
        assert [row["messages"] for row in data_rows(tmp_path / to)] == [
            row.messages for row in given
        ]


@pytest.mark.parametrize("to", TRAINERS)
def test_rows_of_other_data_are_refused(
    make_config: Configs, rows: list[Row], tmp_path: Path, to: str
) -> None:
    with pytest.raises(InputError, match="found 15 training rows; allowed: 16, every pass"):
        export_config(make_config(), to, lambda: rows[:15], tmp_path)


@pytest.mark.parametrize("to", TRAINERS)
def test_extra_epochs_are_passes_of_their_own(
    make_config: Configs, rows: list[Row], tmp_path: Path, to: str
) -> None:
    mix = MixSpec(name="boost", weights={"intent": 1.0, "banking": 1.0}, extra_epochs={"intent": 1})
    stream = [*rows, *(row for row in rows[:8] if row.task == "intent")]
    found = settings_of(make_config(mix=mix), to)(stream, tmp_path)
    assert found["max_steps"] == math.ceil(20 / 4)


def test_trl_rows_split_before_the_answer(
    make_config: Configs, rows: list[Row], tmp_path: Path
) -> None:
    export_config(make_config(), "trl", lambda: rows, tmp_path)
    first = data_rows(tmp_path)[0]
    assert [turn["role"] for turn in first["prompt"]] == ["system", "user"]
    assert first["completion"] == [{"role": "assistant", "content": "label 0"}]


def test_llamafactory_finds_its_data(make_config: Configs, rows: list[Row], tmp_path: Path) -> None:
    found = settings_of(make_config(), "llamafactory")(rows, tmp_path)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    entry = info[found["dataset"]]
    assert (tmp_path / found["dataset_dir"] / entry["file_name"]).exists()
    turn = data_rows(tmp_path)[0][entry["columns"]["messages"]][-1]
    assert turn[entry["tags"]["role_tag"]] == entry["tags"]["assistant_tag"]


def test_replayed_text_is_carried_over_or_left_out_loudly(
    make_config: Configs, rows: list[Row], tmp_path: Path
) -> None:
    replay = [Row(None, f"plain text {i}", "replay") for i in range(2)]
    for to in ("trl", "llamafactory"):
        lines = export_config(make_config(), to, lambda: [*rows, *replay], tmp_path / to)
        assert any("2 rows of replayed plain text are left out" in line for line in lines)
        head = (tmp_path / to / f"{to}.yaml").read_text().split("\n\n")[0]
        assert "are left out" in head
        assert len(data_rows(tmp_path / to)) == 16
    export_config(make_config(), "axolotl", lambda: [*rows, *replay], tmp_path)
    found = settings(tmp_path, "axolotl")
    assert [entry["type"] for entry in found["datasets"]] == ["chat_template", "completion"]
    assert data_rows(tmp_path, "replay.jsonl") == [{"text": row.text} for row in replay]
    assert found["max_steps"] == math.ceil(18 / 4)


def test_a_base_model_on_disk_is_found_from_any_folder(
    make_config: Configs, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = make_config()
    spec = config.trial
    local = spec.model_copy(update={"model": spec.model.model_copy(update={"path": "models/tiny"})})
    found = settings_of(Config(sweep="s", trial=local), "trl")(rows, tmp_path / "out")
    assert found["model_name_or_path"] == str(tmp_path / "models" / "tiny")
    found = settings_of(config, "trl")(rows, tmp_path / "out")
    assert found["model_name_or_path"] == "org/tiny"


@pytest.mark.parametrize("to", TRAINERS)
def test_the_recipe_is_the_same_without_the_rows(
    make_config: Configs, rows: list[Row], tmp_path: Path, to: str
) -> None:
    mix = MixSpec(name="even", weights={"intent": 1.0, "banking": 1.0}, replay=0.25)
    replay = [Row(None, f"plain text {i}", "replay") for i in range(2 * replay_rows(mix, 8))]
    config = make_config(mix=mix)
    export_config(config, to, lambda: [*rows, *replay], tmp_path)
    found = recipe_for(config, to)
    assert next(iter(found.files)) == f"{to}.yaml"
    assert {name: (tmp_path / name).read_text() for name in found.files} == found.files


def test_a_recipe_refuses_what_its_trainer_lacks(make_config: Configs) -> None:
    with pytest.raises(InputError, match="method p_tuning: TRL has no such thing"):
        recipe_for(make_config(method=MethodSpec(name="p_tuning", virtual_tokens=8)), "trl")


@pytest.mark.parametrize("to", TRAINERS)
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": model_spec(base="nf4")}, "base nf4"),
        ({"model": model_spec(system="fold")}, "system: fold"),
        (
            {"model": model_spec(chat_template_kwargs={"enable_thinking": False})},
            "chat_template_kwargs",
        ),
        ({"train": TrainSpec(optimizer="adamw_8bit")}, "optimizer adamw_8bit"),
        ({"train": TrainSpec(keep_epoch="best")}, "keep_epoch: best"),
    ],
)
def test_what_would_train_another_model_is_refused(
    changes: dict[str, Any], named: str, to: str, make_config: Configs
) -> None:
    """A file without a word of it would train on other weights or other prompts."""
    with pytest.raises(InputError, match=f"{named}: files for .* do not carry it over; train this"):
        recipe_for(make_config(**changes), to)
