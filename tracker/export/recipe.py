"""What a configuration means to any trainer: its rows, its schedule, its LoRA variant.

Each export writes the trainer's own file and the rows beside it, and says what it could not carry
over. Where a trainer lacks the method itself, that is an ``InputError``: the configuration then
trains with ``sft-select train``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tracker.errors import InputError
from tracker.export.config import Config
from tracker.files import comment, json_lines, write_text, yaml_text
from tracker.trial import TrialSpec
from tracker.validation import options


class Row(NamedTuple):
    """A training row: chat turns, the last one the assistant's, or plain ``text`` (replay).

    ``tools``: that may be called. ``weights``: of each turn's loss; empty where the last alone is trained.
    """

    messages: list[dict[str, Any]] | None
    text: str | None
    task: str
    tools: list[dict[str, Any]] | None = None
    weights: tuple[float, ...] = ()

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The chat turns; empty for plain text."""
        return self.messages or []

    @property
    def trained(self) -> list[int]:
        """Places of the turns that are trained."""
        if not self.weights:
            return [len(self.turns) - 1] if self.turns else []
        return [place for place, weight in enumerate(self.weights) if weight > 0]

    @property
    def said(self) -> list[int]:
        """Places of the assistant's turns."""
        return [place for place, turn in enumerate(self.turns) if turn["role"] == "assistant"]


class Exported(NamedTuple):
    """``files``: the trainer's own first. ``notes``: what it does not carry over, a line each."""

    files: list[Path]
    command: str
    notes: list[str]


class Amount(NamedTuple):
    """Training rows, all passes counted: ``chats``, and ``texts`` of replay.

    ``earlier``: some chat holds a turn of the assistant before its answer. ``every``: all chats train all of
    the assistant's turns, and some train more than the last. ``turns``: trained turns of all chats, where
    some train another than the last alone; else 0. ``weighted``: some weight is neither 0 nor 1.
    """

    chats: int
    texts: int
    earlier: bool = False
    every: bool = False
    turns: int = 0
    weighted: bool = False


class Recipe(NamedTuple):
    """What a trainer reads beside the rows: ``files``, text by name, its own first; ``notes`` as above."""

    files: dict[str, str]
    notes: list[str]


class Schedule(NamedTuple):
    """Optimizer steps of one pass over the exported rows."""

    steps: int
    warmup_steps: int


_HERE = "train this configuration here: sft-select train CONFIG"


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
    elif uncarried := next(_uncarried(config.trial), None):
        raise InputError(f"{uncarried}: files for {trainer} do not carry it over; {_HERE}")
    else:
        return
    raise InputError(f"{found}: {trainer} has no such thing; it has: {allowed}; {_HERE}")


def _uncarried(spec: TrialSpec) -> Iterator[str]:
    """Settings of *spec* without which a trainer would train another model, or on other prompts."""
    model, train = spec.model, spec.train
    if model.base is not None:
        yield f"base {model.base}"
    if model.system is not None:
        yield f"system: {model.system}"
    if model.chat_template_kwargs or any(task.chat_template_kwargs for task in spec.tasks):
        yield "chat_template_kwargs"
    if train.optimizer != "adamw":
        yield f"optimizer {train.optimizer}"
    if train.keep_epoch != "last":
        yield f"keep_epoch: {train.keep_epoch}"


def variant(spec: TrialSpec) -> str:
    """The LoRA variant, ``plain`` where none is named."""
    return spec.method.variant or "plain"


def planned(spec: TrialSpec) -> Amount:
    """The rows that *spec* itself says it trains on."""
    extra = spec.mix.extra_epochs if spec.mix else {}
    epochs = spec.schedule.epochs
    chats = sum(n * (epochs + extra.get(task, 0)) for task, n in spec.examples.items())
    replay = spec.mix.replay if spec.mix else 0.0
    return Amount(chats, epochs * max(1, round(replay * spec.volume)) if replay else 0)


def amount(spec: TrialSpec, rows: Sequence[Row]) -> Amount:
    """What *rows*, the stream of every pass in training order, amount to.

    InputError where their number is not the trial's: the data files are others.
    """
    chats = [row for row in rows if row.messages is not None]
    expected = planned(spec).chats
    if len(chats) != expected:
        raise InputError(
            f"found {len(chats)} training rows; allowed: {expected}, every pass of this trial; "
            "export from the data files that the configuration names"
        )
    other = any(row.trained != [len(row.turns) - 1] for row in chats)
    return Amount(
        len(chats),
        len(rows) - len(chats),
        earlier=any(len(row.said) > 1 for row in chats),
        every=other and all(row.trained == row.said for row in chats),
        turns=sum(len(row.trained) for row in chats) if other else 0,
        weighted=any(not set(row.weights) <= {0.0, 1.0} for row in chats),
    )


def a_row_a_turn(rows: Sequence[Row]) -> list[Row]:
    """A chat for each trained turn of *rows*, ended by it, for a trainer that trains the last turn alone."""
    return [
        row._replace(messages=row.turns[: place + 1], weights=())
        for row in rows
        for place in row.trained
    ]


def turn_notes(amount: Amount, trainer: str, *, split: bool) -> list[str]:
    """What *trainer* does otherwise with the trained turns; *split*: whether each has a row of its own."""
    notes = []
    if split:
        notes.append(
            f"each trained turn is a row of its own, behind the turns before it: {amount.turns} rows of "
            f"{amount.chats} conversations, so a step is of other rows than the trial's"
        )
    if amount.weighted:
        notes.append(f"{trainer} trains a turn whole or not at all: weights are taken as 1 above 0")
    return notes


def schedule(spec: TrialSpec, kept: int) -> Schedule:
    """How long to train on the *kept* rows."""
    batches = math.ceil(kept / spec.schedule.batch_size)
    steps = math.ceil(batches / spec.schedule.accumulation)
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
