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
from tracker.trial import LORA_PLUS_RATIO, TrialSpec

COMMAND = "llamafactory-cli train llamafactory.yaml"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True, "pissa_iter": -1},  # -1: exact, as the trial's
    "lora_plus": {"loraplus_lr_ratio": LORA_PLUS_RATIO},
}
_DATASET: dict[str, dict[str, Any]] = {
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
#: Of a set with tools, whose calls and results have roles of their own here.
_CALL, _RESULT = "function_call", "observation"


def recipe_of(config: Config, amount: Amount, *, tools: bool = False) -> Recipe:
    """``llamafactory.yaml`` and ``dataset_info.json`` for so many rows; *tools*: whether some have tools.

    InputError for a method that LLaMA-Factory lacks.
    """
    recipe.check_method(config, "LLaMA-Factory", VARIANTS)
    notes: list[str] = []
    if amount.texts:
        notes.append(
            f"{amount.texts} rows of replayed plain text are left out: LLaMA-Factory takes no plain "
            "text in stage sft, so expect more forgetting than the sweep measured"
        )
    split = _is_split(amount)
    notes += recipe.turn_notes(amount, "LLaMA-Factory", split=split)
    if tools:
        notes.append("calls of tools are written by LLaMA-Factory's own template, not the model's")
    plan = recipe.schedule(config.trial, amount.turns if split else amount.chats)
    settings = _settings(config.trial, plan, history=amount.every)
    files = {
        "llamafactory.yaml": recipe.headed(config, COMMAND, settings, notes),
        "dataset_info.json": json.dumps(_dataset(tools), indent=2) + "\n",
    }
    return Recipe(files, notes)


def export(config: Config, rows: Sequence[Row], folder: Path) -> Exported:
    """Write ``llamafactory.yaml``, ``dataset_info.json`` and ``train.jsonl`` (chats) to *folder*.

    Loss is on the turns that the trial trains; the chat template is the tokenizer's own. InputError for a
    method that LLaMA-Factory lacks.
    """
    amount = recipe.amount(config.trial, rows)
    tools = any(_uses_tools(row) for row in rows)
    made = recipe_of(config, amount, tools=tools)
    chats = [row for row in rows if row.messages is not None]
    chats = recipe.a_row_a_turn(chats) if _is_split(amount) else chats
    data = recipe.write_rows(folder / "train.jsonl", [_row(row) for row in chats])
    return Exported([*recipe.write_files(folder, made), data], COMMAND, made.notes)


def _is_split(amount: Amount) -> bool:
    """Whether each trained turn needs a row of its own: it is neither the last alone, nor every turn."""
    return amount.turns > 0 and not amount.every


def _uses_tools(row: Row) -> bool:
    return bool(row.tools) or any(
        turn["role"] == "tool" or "tool_calls" in turn for turn in row.turns
    )


def _dataset(tools: bool) -> dict[str, Any]:
    """What ``dataset_info.json`` says; *tools*: whether some rows have tools."""
    if not tools:
        return _DATASET
    train = _DATASET["train"]
    tags = {**train["tags"], "function_tag": _CALL, "observation_tag": _RESULT}
    return {"train": train | {"columns": {**train["columns"], "tools": "tools"}, "tags": tags}}


def _row(row: Row) -> dict[str, Any]:
    if not _uses_tools(row):
        return {"messages": row.turns}
    tools = [tool.get("function", tool) for tool in row.tools or []]
    return {
        "messages": list(map(_turn, row.turns)),
        "tools": json.dumps(tools, ensure_ascii=False) if tools else "",
    }


def _turn(turn: dict[str, Any]) -> dict[str, str]:
    """A turn with the roles of calls and results."""
    if "tool_calls" in turn:
        calls = [call["function"] for call in turn["tool_calls"]]
        return {"role": _CALL, "content": json.dumps(calls, ensure_ascii=False)}
    return {
        "role": _RESULT if turn["role"] == "tool" else turn["role"],
        "content": turn["content"],
    }


def _settings(spec: TrialSpec, plan: Schedule, *, history: bool) -> dict[str, Any]:
    train, method = spec.schedule, spec.method
    settings: dict[str, Any] = {"model_name_or_path": recipe.model_location(spec)}
    if spec.model.revision:
        settings["model_revision"] = spec.model.revision
    if spec.model.trust_remote_code:
        settings["trust_remote_code"] = True
    settings |= {"stage": "sft", "do_train": True, "finetuning_type": method.name}
    if method.name == "lora":
        settings |= {
            "lora_rank": method.rank,
            "lora_alpha": method.lora_alpha,
            "lora_dropout": method.dropout or 0.0,
            "lora_target": ",".join(method.modules or ["all"]),
            **VARIANTS[recipe.variant(spec)],
        }
    return settings | {
        "dataset": "train",
        "dataset_dir": ".",
        "cutoff_len": train.max_length,
        "mask_history": not history,
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
