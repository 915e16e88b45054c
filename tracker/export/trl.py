"""For TRL's own command, ``trl sft``; keys as of TRL 1.16 and transformers 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracker.export import recipe
from tracker.export.config import Config
from tracker.export.recipe import Amount, Exported, Recipe, Row, Schedule
from tracker.trial import ALL_LINEAR, TrialSpec

COMMAND = "trl sft --config trl.yaml"
VARIANTS = {"plain": None, "rslora": "use_rslora", "dora": "use_dora"}


def recipe_of(config: Config, amount: Amount) -> Recipe:
    """``trl.yaml`` for so many rows. InputError for a method or LoRA variant that TRL lacks."""
    recipe.check_method(config, "TRL", VARIANTS)
    notes: list[str] = []
    if amount.texts:
        notes.append(
            f"{amount.texts} rows of replayed plain text are left out: TRL takes no plain text beside "
            "prompt/completion rows, so expect more forgetting than the sweep measured"
        )
    notes += recipe.turn_notes(amount, "TRL", split=amount.turns > 0)
    plan = recipe.schedule(config.trial, amount.turns or amount.chats)
    settings = _settings(config.trial, plan)
    return Recipe({"trl.yaml": recipe.headed(config, COMMAND, settings, notes)}, notes)


def export(config: Config, rows: Sequence[Row], folder: Path) -> Exported:
    """Write ``trl.yaml`` and ``train.jsonl`` (prompt and completion, as chat turns) to *folder*.

    Loss is on the completion alone. InputError for a method or LoRA variant that TRL lacks.
    """
    amount = recipe.amount(config.trial, rows)
    made = recipe_of(config, amount)
    chats = [row for row in rows if row.messages is not None]
    data = recipe.write_rows(
        folder / "train.jsonl",
        [_row(row) for row in (recipe.a_row_a_turn(chats) if amount.turns else chats)],
    )
    return Exported([*recipe.write_files(folder, made), data], COMMAND, made.notes)


def _row(row: Row) -> dict[str, Any]:
    tools = {"tools": row.tools} if row.tools else {}
    return {"prompt": row.turns[:-1], "completion": row.turns[-1:], **tools}


def _settings(spec: TrialSpec, plan: Schedule) -> dict[str, Any]:
    train, method = spec.schedule, spec.method
    settings: dict[str, Any] = {"model_name_or_path": recipe.model_location(spec)}
    if spec.model.revision:
        settings["model_revision"] = spec.model.revision
    if spec.model.trust_remote_code:
        settings["trust_remote_code"] = True
    settings["dtype"] = "float32"  # the weights'; bf16 below is autocast
    settings["datasets"] = [{"path": "json", "data_files": "train.jsonl", "split": "train"}]
    if method.name == "lora":
        settings |= {
            "use_peft": True,
            "lora_r": method.rank,
            "lora_alpha": method.lora_alpha,
            "lora_dropout": method.dropout or 0.0,
            "lora_target_modules": method.modules or ALL_LINEAR,
        }
        if option := VARIANTS[recipe.variant(spec)]:
            settings[option] = True
    return settings | {
        "learning_rate": method.learning_rate,
        "lr_scheduler_type": train.scheduler,
        "warmup_steps": plan.warmup_steps,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "max_steps": plan.steps,
        "per_device_train_batch_size": train.batch_size,
        "gradient_accumulation_steps": train.accumulation,
        "gradient_checkpointing": train.gradient_checkpointing,
        "train_sampling_strategy": "sequential",  # the rows hold every pass, in the trial's order
        "max_length": train.max_length,
        "packing": train.packing,
        "completion_only_loss": True,
        "bf16": train.dtype == "bfloat16",
        "seed": spec.seed,
        "report_to": "none",
        "output_dir": "model",
    }
