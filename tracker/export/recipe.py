"""What a configuration means to any trainer: its rows, its schedule, its LoRA variant.

Each export writes the trainer's own file and the rows beside it, and says what it could not carry
over. Where a trainer lacks the method itself, that is an ``InputError``: the configuration then
trains with ``sft-select train``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tracker.errors import InputError
from tracker.export.config import Config
from tracker.export.writing import comment, json_lines, write_text, yaml_text
from tracker.record.trial import TrialSpec
from tracker.validation import options


class Row(NamedTuple):
    """A training row: chat turns, the last one the assistant's, or plain ``text`` (replay)."""

    messages: list[dict[str, str]] | None
    text: str | None
    task: str


class Exported(NamedTuple):
    """``files``: the trainer's own first. ``notes``: what it does not carry over, a line each."""

    files: list[Path]
    command: str
    notes: list[str]


class Schedule(NamedTuple):
    """Optimizer steps of one pass over the exported rows."""

    steps: int
    warmup_steps: int


def check_method(config: Config, trainer: str, variants: Collection[str]) -> None:
    """InputError where *trainer* lacks the method; *variants* are the LoRA ones it has."""
    method = config.trial.method
    if method.name in ("none", "p_tuning"):
        found, allowed = f"method {method.name}", "full, lora"
    elif method.name == "lora" and variant(config.trial) not in variants:
        found, allowed = f"LoRA variant {variant(config.trial)}", options(variants)
    else:
        return
    raise InputError(
        f"{found}: {trainer} has no such thing; it has: {allowed}; "
        "train this configuration with `sft-select train CONFIG`"
    )


def variant(spec: TrialSpec) -> str:
    """The LoRA variant, ``plain`` where none is named."""
    return spec.method.variant or "plain"


def schedule(spec: TrialSpec, rows: Sequence[Row], kept: int) -> Schedule:
    """How long to train on the *kept* of the *rows*, the stream of every pass in training order.

    InputError where their number is not the trial's: the data files are others.
    """
    extra = spec.mix.extra_epochs if spec.mix else {}
    epochs = spec.train.epochs
    expected = sum(n * (epochs + extra.get(task, 0)) for task, n in spec.examples.items())
    found = sum(row.messages is not None for row in rows)
    if found != expected:
        raise InputError(
            f"found {found} training rows; allowed: {expected}, every pass of this trial; "
            "export from the data files that the configuration names"
        )
    batches = math.ceil(kept / spec.train.batch_size)
    steps = math.ceil(batches / spec.train.accumulation)
    return Schedule(steps, math.ceil(spec.train.warmup * steps))


def model_location(spec: TrialSpec) -> str:
    """The base model as any folder finds it: a local path made absolute, or a hub name."""
    path = Path(spec.model.path)
    return str(path.resolve()) if path.exists() else spec.model.path


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The rows as JSON Lines."""
    return write_text(path, json_lines(rows))


def write_recipe(
    path: Path, config: Config, command: str, data: Mapping[str, Any], notes: Sequence[str]
) -> Path:
    """A trainer's YAML, headed by how to run it and what it does not carry over."""
    lines = [
        f"From sweep {config.sweep!r} by sft-select, trial {config.trial.key}.",
        f"Run in this folder, on one device: {command}",
        *(f"Note: {note}" for note in notes),
    ]
    return write_text(path, comment("\n".join(lines)) + "\n" + yaml_text(data))
