"""For LLaMA-Factory; keys as in its ``hparams`` and, for the rest, transformers' arguments.

It cannot share our environment, so this is checked against its source, not run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracker.export import recipe
from tracker.export.config import Config
from tracker.export.recipe import Amount, Exported, Recipe, Row, Schedule
from tracker.trial import LORA_ALPHA, LORA_PLUS_RATIO, TrialSpec

COMMAND = "llamafactory-cli train llamafactory.yaml"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True, "pissa_iter": -1},  # -1: exact, as the trial's
    "lora_plus": {"loraplus_lr_ratio": LORA_PLUS_RATIO},
}
_DATASET = {
    "train": {
        "file_name": "train.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
}


def recipe_of(config: Config, amount: Amount) -> Recipe:
    """``llamafactory.yaml`` and ``dataset_info.json`` for so many rows.

    InputError for a method that LLaMA-Factory lacks.
    """
    recipe.check_method(config, "LLaMA-Factory", VARIANTS)
    notes: list[str] = []
    if amount.texts:
        notes.append(
            f"{amount.texts} rows of replayed plain text are left out: LLaMA-Factory takes no plain "
            "text in stage sft, so expect more forgetting than the sweep measured"
        )
    settings = _settings(config.trial, recipe.schedule(config.trial, amount.chats))
    files = {
        "llamafactory.yaml": recipe.headed(config, COMMAND, settings, notes),
        "dataset_info.json": json.dumps(_DATASET, indent=2) + "\n",
    }
    return Recipe(files, notes)


def export(config: Config, rows: Sequence[Row], folder: Path) -> Exported:
    """Write ``llamafactory.yaml``, ``dataset_info.json`` and ``train.jsonl`` (chats) to *folder*.

    Loss is on the last turn alone; the chat template is the tokenizer's own. InputError for a
    method that LLaMA-Factory lacks.
    """
    made = recipe_of(config, recipe.amount(config.trial, rows))
    chats = [{"messages": row.messages} for row in rows if row.messages is not None]
    data = recipe.write_rows(folder / "train.jsonl", chats)
    return Exported([*recipe.write_files(folder, made), data], COMMAND, made.notes)


def _settings(spec: TrialSpec, plan: Schedule) -> dict[str, Any]:
    train, method = spec.train, spec.method
    settings: dict[str, Any] = {"model_name_or_path": recipe.model_location(spec)}
    if spec.model.revision:
        settings["model_revision"] = spec.model.revision
    if spec.model.trust_remote_code:
        settings["trust_remote_code"] = True
    settings |= {"stage": "sft", "do_train": True, "finetuning_type": method.name}
    if method.name == "lora":
        settings |= {
            "lora_rank": method.rank,
            "lora_alpha": LORA_ALPHA,
            "lora_dropout": 0.0,
            "lora_target": "all",
            **VARIANTS[recipe.variant(spec)],
        }
    return settings | {
        "dataset": "train",
        "dataset_dir": ".",
        "cutoff_len": train.max_length,
        "mask_history": True,
        "packing": train.packing,
        "disable_shuffling": True,  # the rows hold every pass, in the trial's order
        "learning_rate": method.learning_rate,
        "lr_scheduler_type": train.scheduler,
        "warmup_steps": plan.warmup_steps,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "max_steps": plan.steps,
        "per_device_train_batch_size": train.batch_size,
        "gradient_accumulation_steps": train.accumulation,
        "bf16": train.dtype == "bfloat16",
        "seed": spec.seed,
        "report_to": "none",
        "output_dir": "model",
    }
