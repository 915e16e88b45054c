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
from tracker.trial import LORA_ALPHA, LORA_PLUS_RATIO, TrialSpec

COMMAND = "axolotl train axolotl.yaml"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"peft_use_rslora": True},
    "dora": {"peft_use_dora": True},
    "pissa": {"peft_init_lora_weights": "pissa"},
    "lora_plus": {"loraplus_lr_ratio": LORA_PLUS_RATIO},
}
_CHATS = {
    "path": "train.jsonl",
    "ds_type": "json",
    "type": "chat_template",
    "field_messages": "messages",
    "roles_to_train": ["assistant"],
}
_TEXTS = {"path": "replay.jsonl", "ds_type": "json", "type": "completion"}


def recipe_of(config: Config, amount: Amount) -> Recipe:
    """``axolotl.yaml`` for so many rows. InputError for a method that Axolotl lacks."""
    recipe.check_method(config, "Axolotl", VARIANTS)
    notes: list[str] = []
    if amount.earlier:
        notes.append("earlier turns of the assistant are trained too; the trial masks them")
    plan = recipe.schedule(config.trial, amount.chats + amount.texts)
    settings = _settings(config.trial, plan, replay=amount.texts > 0)
    return Recipe({"axolotl.yaml": recipe.headed(config, COMMAND, settings, notes)}, notes)


def export(config: Config, rows: Sequence[Row], folder: Path) -> Exported:
    """Write ``axolotl.yaml``, ``train.jsonl`` (chats) and, for replay, ``replay.jsonl`` (texts).

    Loss is on the assistant's turns; the chat template is the tokenizer's own. InputError for a
    method that Axolotl lacks.
    """
    made = recipe_of(config, recipe.amount(config.trial, rows))
    chats = [row.messages for row in rows if row.messages is not None]
    texts = [row.text for row in rows if row.text is not None]
    files = [recipe.write_rows(folder / "train.jsonl", [{"messages": turns} for turns in chats])]
    if texts:
        files.append(recipe.write_rows(folder / "replay.jsonl", [{"text": t} for t in texts]))
    return Exported([*recipe.write_files(folder, made), *files], COMMAND, made.notes)


def _settings(spec: TrialSpec, plan: Schedule, *, replay: bool) -> dict[str, Any]:
    train, method = spec.train, spec.method
    settings: dict[str, Any] = {"base_model": recipe.model_location(spec)}
    if spec.model.revision:
        settings["revision_of_model"] = spec.model.revision
    if spec.model.trust_remote_code:
        settings["trust_remote_code"] = True
    if method.name == "lora":
        settings |= {
            "adapter": "lora",
            "lora_r": method.rank,
            "lora_alpha": LORA_ALPHA,
            "lora_dropout": 0.0,
            "lora_target_linear": True,
            **VARIANTS[recipe.variant(spec)],
        }
    return settings | {
        "datasets": [_CHATS, _TEXTS] if replay else [_CHATS],
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
