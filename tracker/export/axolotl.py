"""For Axolotl; keys as in its ``utils/schemas``.

It cannot share our environment, so this is checked against its source, not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracker.export import recipe
from tracker.export.config import Config
from tracker.export.recipe import Amount, Exported, Recipe, Row, Schedule
from tracker.trial import LORA_PLUS_RATIO, TrialSpec

COMMAND = "axolotl train axolotl.yaml"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"peft_use_rslora": True},
    "dora": {"peft_use_dora": True},
    "pissa": {"peft_init_lora_weights": "pissa"},
    "lora_plus": {"loraplus_lr_ratio": LORA_PLUS_RATIO},
}
#: Of a turn: whether it is trained.
_TRAINED = "train"
_CHATS: dict[str, Any] = {
    "path": "train.jsonl",
    "ds_type": "json",
    "type": "chat_template",
    "field_messages": "messages",
    "roles_to_train": ["assistant"],
}
_TEXTS: dict[str, Any] = {"path": "replay.jsonl", "ds_type": "json", "type": "completion"}


def recipe_of(config: Config, amount: Amount) -> Recipe:
    """``axolotl.yaml`` for so many rows. InputError for a method that Axolotl lacks."""
    recipe.check_method(config, "Axolotl", VARIANTS)
    notes = recipe.turn_notes(amount, "Axolotl", split=False)
    plan = recipe.schedule(config.trial, amount.chats + amount.texts)
    chats = _CHATS | ({"message_field_training": _TRAINED} if amount.earlier else {})
    datasets = [chats, _TEXTS] if amount.texts else [chats]
    settings = _settings(config.trial, plan, datasets)
    return Recipe({"axolotl.yaml": recipe.headed(config, COMMAND, settings, notes)}, notes)


def export(config: Config, rows: Sequence[Row], folder: Path) -> Exported:
    """Write ``axolotl.yaml``, ``train.jsonl`` (chats) and, for replay, ``replay.jsonl`` (texts).

    Loss is on the turns that the trial trains; the chat template is the tokenizer's own. InputError for a
    method that Axolotl lacks.
    """
    amount = recipe.amount(config.trial, rows)
    made = recipe_of(config, amount)
    chats = [_row(row, marked=amount.earlier) for row in rows if row.messages is not None]
    texts = [row.text for row in rows if row.text is not None]
    files = [recipe.write_rows(folder / "train.jsonl", chats)]
    if texts:
        files.append(recipe.write_rows(folder / "replay.jsonl", [{"text": t} for t in texts]))
    return Exported([*recipe.write_files(folder, made), *files], COMMAND, made.notes)


def _row(row: Row, *, marked: bool) -> dict[str, Any]:
    """A chat; *marked*: with whether each turn is trained."""
    tools = {"tools": row.tools} if row.tools else {}
    if not marked:
        return {"messages": row.turns, **tools}
    trained = set(row.trained)
    turns = [turn | {_TRAINED: place in trained} for place, turn in enumerate(row.turns)]
    return {"messages": turns, **tools}


def _settings(spec: TrialSpec, plan: Schedule, datasets: list[dict[str, Any]]) -> dict[str, Any]:
    replay = len(datasets) > 1
    train, method = spec.schedule, spec.method
    settings: dict[str, Any] = {"base_model": recipe.model_location(spec)}
    if spec.model.revision:
        settings["revision_of_model"] = spec.model.revision
    if spec.model.trust_remote_code:
        settings["trust_remote_code"] = True
    if method.name == "lora":
        settings |= {
            "adapter": "lora",
            "lora_r": method.rank,
            "lora_alpha": method.lora_alpha,
            "lora_dropout": method.dropout or 0.0,
            **(
                {"lora_target_modules": method.modules}
                if method.modules
                else {"lora_target_linear": True}
            ),
            **VARIANTS[recipe.variant(spec)],
        }
    return settings | {
        "datasets": datasets,
        "val_set_size": 0.0,
        # The rows hold every pass, in the trial's order; texts have a file of their own: mixed.
        "shuffle_merged_datasets": replay,
        "curriculum_sampling": not replay,
        "sequence_len": train.max_length,
        "sample_packing": train.packing,
        "train_on_inputs": False,
        "learning_rate": method.learning_rate,
        "lr_scheduler": train.scheduler,
        "warmup_steps": plan.warmup_steps,
        "optimizer": "adamw_torch",
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "num_epochs": 1,
        "max_steps": plan.steps,
        "micro_batch_size": train.batch_size,
        "gradient_accumulation_steps": train.accumulation,
        "gradient_checkpointing": train.gradient_checkpointing,
        "bf16": train.dtype == "bfloat16",
        "seed": spec.seed,
        "output_dir": "model",
    }
