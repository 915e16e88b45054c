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
from tracker.files import comment, json_lines, write_text, yaml_text
from tracker.trial import TrialSpec
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


class Amount(NamedTuple):
    """Training rows, all passes counted: ``chats``, and ``texts`` of replay.

    ``earlier``: some chat holds a turn of the assistant before its answer.
    """

    chats: int
    texts: int
    earlier: bool = False


class Recipe(NamedTuple):
    """What a trainer reads beside the rows: ``files``, text by name, its own first; ``notes`` as above."""

    files: dict[str, str]
    notes: list[str]


class Schedule(NamedTuple):
    """Optimizer steps of one pass over the exported rows."""

    steps: int
    warmup_steps: int


def check_method(config: Config, trainer: str, variants: Collection[str]) -> None:
    """InputError where *trainer* lacks the method, or there is nothing to train; *variants*: of LoRA."""
    method = config.trial.method
    if method.name == "none":
        raise InputError(
            f"the untouched base: there is nothing to train, so {trainer} needs no files; "
            f"use {config.trial.model.name} as it is"
        )
    if method.name == "p_tuning":
        found, allowed = f"method {method.name}", "full, lora"
    elif method.name == "lora" and variant(config.trial) not in variants:
        found, allowed = f"LoRA variant {variant(config.trial)}", options(variants)
    else:
        return
    raise InputError(
        f"{found}: {trainer} has no such thing; it has: {allowed}; "
        "train this configuration here: sft-select train CONFIG"
    )


def variant(spec: TrialSpec) -> str:
    """The LoRA variant, ``plain`` where none is named."""
    return spec.method.variant or "plain"


def planned(spec: TrialSpec) -> Amount:
    """The rows that *spec* itself says it trains on."""
    extra = spec.mix.extra_epochs if spec.mix else {}
    epochs = spec.train.epochs
    chats = sum(n * (epochs + extra.get(task, 0)) for task, n in spec.examples.items())
    replay = spec.mix.replay if spec.mix else 0.0
    return Amount(chats, epochs * max(1, round(replay * spec.volume)) if replay else 0)


def amount(spec: TrialSpec, rows: Sequence[Row]) -> Amount:
    """What *rows*, the stream of every pass in training order, amount to.

    InputError where their number is not the trial's: the data files are others.
    """
    chats = [row.messages for row in rows if row.messages is not None]
    expected = planned(spec).chats
    if len(chats) != expected:
        raise InputError(
            f"found {len(chats)} training rows; allowed: {expected}, every pass of this trial; "
            "export from the data files that the configuration names"
        )
    earlier = any(turn["role"] == "assistant" for turns in chats for turn in turns[:-1])
    return Amount(len(chats), len(rows) - len(chats), earlier)


def schedule(spec: TrialSpec, kept: int) -> Schedule:
    """How long to train on the *kept* rows."""
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


def write_files(folder: Path, recipe: Recipe) -> list[Path]:
    """The files of *recipe*."""
    return [write_text(folder / name, text) for name, text in recipe.files.items()]


def headed(config: Config, command: str, data: Mapping[str, Any], notes: Sequence[str]) -> str:
    """A trainer's YAML, headed by how to run it and what it does not carry over."""
    lines = [
        f"From sweep {config.sweep!r} by sft-select, trial {config.trial.key}.",
        f"Run in this folder, on one device: {command}",
        *(f"Note: {note}" for note in notes),
    ]
    return comment("\n".join(lines)) + "\n" + yaml_text(data)
