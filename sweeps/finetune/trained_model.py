"""Trained model: the folder that `train` wrote, loaded to answer rows as its evaluation did.

Beside weights and tokenizer the folder holds a card: the trial in full, so that prompts are rendered and
answers judged as in training. An adapter's base is named there by its digest and looked for on this machine.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field, ValidationError
from torch import nn

from sweeps.base_models import content_digest
from sweeps.data.encoding import Rows, evaluation_rows, label_set
from sweeps.data.examples import LocatedExample, laid_out
from sweeps.data.layouts import is_blank, with_answer
from sweeps.data.prompts import Encoded, encode_examples, load_tokenizer
from sweeps.data.readers import Row
from sweeps.finetune.clock import Clock
from sweeps.finetune.evaluate import Evaluator, Given, answered_controls, evaluation_of
from sweeps.finetune.model import build_model, load_trained, prepended_tokens
from sweeps.finetune.weights import load_model
from sweeps.trial_files import with_found_base
from tracker.errors import InputError
from tracker.files import read_bounded, write_atomically
from tracker.frozen import Frozen
from tracker.store.model_registry import Flavour
from tracker.task import TaskScore, TaskSpec
from tracker.trial import ModelSpec, TrialSpec
from tracker.validation import options, unknown

CARD = "sft_select.json"
_MAX_CARD_BYTES = 50_000_000
#: In place of an answer that a row does not have; it is never trained, scored or shown.
_STAND_IN = "-"
_LEAST_PROMPT = 8  # tokens

Progress = Callable[[int, int], None]


class AnswerFormat(Frozen):
    """What answers of a task look like, beside its :class:`TaskSpec`.

    ``labels``: of the training file; ``None`` for a task without, and where the sweep records no answers.
    ``control_tokens``: ids of those that true answers hold. ``tokens``: of the longest true answer.
    """

    labels: tuple[str, ...] | None = None
    control_tokens: tuple[int, ...] = ()
    tokens: int = 1


class MergedScore(Frozen):
    """A task's validation score, or its error, of the adapter on its base and of the merged model."""

    task: str
    adapter: float
    merged: float


class Merge(Frozen):
    """Merge of an adapter into its base's checkpoint: its validation scores differ by *tolerance* at most."""

    tolerance: float
    scores: tuple[MergedScore, ...]


class ModelCard(Frozen):
    """Card of a trained model. ``threads``: CPU threads that it was evaluated with.

    ``merge``: of a model that an adapter was merged into; ``None`` of what `train` trained.
    """

    format: int = 1
    sweep: str
    trial: TrialSpec
    answers: dict[str, AnswerFormat] = Field(default_factory=dict)
    threads: int = 1
    merge: Merge | None = Field(None, exclude_if=lambda value: value is None)


class Answered(NamedTuple):
    """Answers to the rows of a file, a record each, and their score where rows have true answers."""

    records: list[dict[str, Any]]
    score: TaskScore | None


def write_card(folder: Path, sweep: str, trial: TrialSpec, threads: int) -> None:
    """Write the card of the model in *folder*, which was trained and evaluated as *trial* says."""
    tokenizer = load_tokenizer(trial.model)
    answers = {}
    for task in trial.tasks:
        rows = evaluation_rows(task, task.test or task.validation, trial, whole=bool(task.test))
        labels = label_set(task) if trial.record_answers == "all" else None
        answers[task.name] = AnswerFormat(
            labels=None if labels is None else tuple(sorted(labels)),
            control_tokens=tuple(sorted(answered_controls(tokenizer, rows.encoded))),
            tokens=max(len(row.answer_ids) for row in rows.encoded),
        )
    save_card(folder, ModelCard(sweep=sweep, trial=trial, answers=answers, threads=threads))


def save_card(folder: Path, card: ModelCard) -> None:
    """Put *card* into the model's *folder*."""
    write_atomically(folder / CARD, card.model_dump_json(indent=1) + "\n")


def read_card(folder: Path) -> ModelCard:
    """The card of the model in *folder*; InputError where it has none that this version reads."""
    file = folder / CARD
    if not folder.is_dir():
        raise InputError(
            f"{folder}: found no folder; allowed: one that `sft-select train` wrote, or models:/NAME/VERSION"
        )
    try:
        return ModelCard.model_validate_json(read_bounded(file, _MAX_CARD_BYTES))
    except OSError:
        raise InputError(
            f"{folder}: found no {CARD}; allowed: a folder that `sft-select train` of this version wrote; "
            "train it again"
        ) from None
    except ValidationError as error:
        raise InputError(
            f"{file}: does not fit this version ({error.error_count()} problems); answer with the version "
            "that trained it, or train it again"
        ) from None


class TrainedModel:
    """A trained model on this machine's device; made by :meth:`load`."""

    def __init__(
        self, card: ModelCard, model: nn.Module, described: ModelSpec, device: torch.device
    ) -> None:
        self.card = card
        self._model, self._described, self._device = model, described, device

    @classmethod
    def load(cls, folder: Path, base: str | None = None) -> TrainedModel:
        """Load the model in *folder*; *base*: folder or hub id of an adapter's base, if it was moved.

        An adapter's weights are exactly the trained ones. Raises InputError where the folder holds no such
        model, or its base is not found or has another digest.
        """
        card = read_card(folder)
        trial = card.trial
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cpu":
            torch.set_num_threads(card.threads)  # sums of floats depend on it
        untouched = trial.method.name == "none"
        quantised = untouched and trial.model.base == "nf4"
        whole = trial.method.name == "full" or card.merge is not None
        if whole or (untouched and not quantised):
            trust = trial.model.trust_remote_code
            here = {"path": str(folder.resolve()), "digest": content_digest(folder, code=trust)}
            described = trial.model.model_copy(update=here | {"revision": None})
            # Masters and merged weights are float32; an untouched base is what it was measured in.
            stored = trial.model.base if untouched else None
            model = load_model(folder, trust=trust, base=stored, device=device)
            return cls(card, model.to(device), described, device)
        described = with_found_base(trial.model, folder, base)
        tuned = build_model(described, trial.method, device, trial.train.dtype)
        if not quantised:
            load_trained(tuned, folder)
        return cls(card, tuned, described, device)

    def task(self, name: str | None = None) -> TaskSpec:
        """The task called *name*, or the only one; InputError where that is not known."""
        tasks = {task.name: task for task in self.card.trial.tasks}
        if name is not None:
            if name not in tasks:
                raise InputError(f"--task: {unknown(name, tasks)}")
            return tasks[name]
        if len(tasks) != 1:
            raise InputError(
                f"--task: the model has {len(tasks)} tasks; allowed: {options(tasks)}; name one"
            )
        return next(iter(tasks.values()))

    def answer(
        self,
        task: TaskSpec,
        path: str,
        rows: Sequence[Row],
        progress: Progress = lambda _done, _all: None,
        *,
        score: bool = True,
    ) -> Answered:
        """Answer *rows*, read from *path*; those that have a true answer are scored unless *score* is false.

        A record has ``row`` (from 1), ``answer``, ``answer_nats`` (-log of its likelihood), and where the
        truth is known ``truth``, ``nats``, ``score`` and what else an evaluation records of it. The answers
        are those of the evaluation on the same rows.
        Raises InputError with every row that cannot be read, or that is too long.
        """
        whole = [_with_answer(task, row.fields) for row in rows]
        known = [found for _, found in whole]
        examples = laid_out(
            task,
            path,
            [row._replace(fields=fields) for row, (fields, _) in zip(rows, whole, strict=True)],
        )
        encoded = self._encoded(task, examples, known)
        evaluator = self._evaluator(len(rows), progress)
        format_ = self.card.answers.get(task.name, AnswerFormat())
        limit = self.card.trial.evaluation.max_new_tokens
        given = evaluator.generate(encoded, limit, frozenset(format_.control_tokens))
        records: list[dict[str, Any]] = [
            {"row": n, "answer": text.strip(), "answer_nats": round(float(nats), 5)}
            for n, (text, nats) in enumerate(zip(*given, strict=True), start=1)
        ]
        scored = [index for index, found in enumerate(known) if found and score]
        if not scored:
            return Answered(records, None)
        truths = Rows(
            tuple(encoded[i] for i in scored),
            tuple(examples[i].example.answer for i in scored),
            tuple(scored),
            fields=tuple(rows[i].fields for i in scored) if task.function else None,
        )
        nats = evaluator.nats(truths.encoded)
        labels = None if format_.labels is None else frozenset(format_.labels)
        of_scored = Given([given.answers[i] for i in scored], given.nats[scored])
        judged = evaluation_of(
            task,
            truths,
            nats,
            of_scored,
            labels,
            "test",
            "all",
            evaluator.tokenizer,
            evaluator.beat,
        )
        for index, record in zip(scored, judged.records, strict=True):
            shown = {n: v for n, v in record.items() if n not in ("row", "file_row", "prompt")}
            records[index] |= shown
        return Answered(records, judged.score)

    def validation_scores(self) -> list[TaskScore]:
        """The scores of every task on validation, measured as in the trial."""
        trial, evaluator = self.card.trial, self._evaluator(0, lambda _done, _all: None)
        return [
            evaluator.task(
                task,
                evaluation_rows(task, task.validation, trial),
                label_set(task),
                "validation",
                "none",
            ).score
            for task in trial.tasks
        ]

    def predict(self, rows: Any, task: str | None = None) -> list[str]:
        """Answers to *rows*, a DataFrame or dicts of fields, of the *task* of this name."""
        records = rows.to_dict("records") if hasattr(rows, "to_dict") else list(rows)
        plain = [{name: _plain(value) for name, value in record.items()} for record in records]
        found = [
            Row(line, {name: value for name, value in record.items() if not _is_missing(value)})
            for line, record in enumerate(plain, start=1)
        ]
        if not found:
            return []
        answered = self.answer(self.task(task), "rows", found, score=False)
        return [record["answer"] for record in answered.records]

    def _encoded(
        self, task: TaskSpec, examples: Sequence[LocatedExample], known: Sequence[bool]
    ) -> list[Encoded]:
        """Rows as token ids; where no truth is known, a prompt leaves room for the longest that was."""
        tokenizer = load_tokenizer(self._described)
        longest = self.card.trial.train.max_length
        format_ = self.card.answers.get(task.name, AnswerFormat())
        shorter = max(longest - format_.tokens, _LEAST_PROMPT)
        encoded: dict[int, Encoded] = {}
        for length, truth in ((longest, True), (shorter, False)):
            chosen = [i for i, found in enumerate(known) if found is truth]
            texts = [examples[i].example for i in chosen]
            if texts:
                encoded |= zip(chosen, encode_examples(tokenizer, texts, length), strict=True)
        return [encoded[i] for i in range(len(examples))]

    def _evaluator(self, rows: int, progress: Progress) -> Evaluator:
        settings = self.card.trial.evaluation
        done = 0

        def beat() -> None:
            nonlocal done
            done += settings.batch_size
            if done < rows + settings.batch_size:  # then comes the loss
                progress(min(done, rows), rows)

        return Evaluator(
            self._model,
            load_tokenizer(self._described),
            settings,
            prepended=prepended_tokens(self.card.trial.method),
            device=self._device,
            autocast=self.card.trial.train.dtype == "bfloat16",
            clock=Clock(),
            beat=beat,
        )


#: What MLflow runs to load a registered model. Its text travels with the model's files.
_CODE = '''\
"""Answers to rows by the model beside this file, as it was evaluated. Needs sft-select."""

from pathlib import Path

import mlflow
import pandas

from sweeps.finetune.trained_model import TrainedModel


class RowAnswers(mlflow.pyfunc.PythonModel):
    """Rows as DataFrame or list of dicts; params={"task": NAME} where the model has several tasks."""

    def load_context(self, context):
        base = (context.model_config or {}).get("base")
        self.model = TrainedModel.load(Path(context.artifacts["model"]), base or None)

    def predict(self, context, model_input: pandas.DataFrame, params=None):
        return self.model.predict(model_input, (params or {}).get("task") or None)


mlflow.models.set_model(RowAnswers())
'''


def flavour(trial: TrialSpec, versions: Mapping[str, str]) -> Flavour:
    """How MLflow predicts with a model of *trial*; *versions*: of the packages that it was measured with."""
    templates = [
        text
        for task in trial.tasks
        if task.prompt is not None
        for text in task.prompt.model_dump().values()
        if text
    ]
    laid_out_by_rows = any(task.prompt is None for task in trial.tasks)
    fields = () if laid_out_by_rows else tuple(sorted(set().union(*map(_placeholders, templates))))
    packages = ("sft-select", "torch", "transformers", "peft")
    pinned = tuple(f"{name}=={versions[name]}" for name in packages if name in versions)
    return Flavour(_CODE, pinned, fields, ("task",), {"base": ""})


def _with_answer(task: TaskSpec, fields: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """A row's *fields* with something in place of an answer that it does not have, and whether it has one."""
    whole = dict(fields)
    if task.answer is not None:
        names = _placeholders(task.answer)
        prompts = "".join(
            text for text in (task.prompt.model_dump().values() if task.prompt else ()) if text
        )
        lacking = [name for name in names - _placeholders(prompts) if is_blank(fields.get(name))]
        return whole | dict.fromkeys(lacking, _STAND_IN), not lacking
    return with_answer(whole, _STAND_IN)


def _placeholders(template: str) -> set[str]:
    """Fields that a *template* is filled from."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _plain(value: Any) -> Any:
    """A cell of a DataFrame as a file's row has it."""
    return value.tolist() if hasattr(value, "tolist") else value


def _is_missing(value: Any) -> bool:
    """Whether a cell of a DataFrame is empty: pandas writes NaN where a row lacks a field."""
    return value is None or (isinstance(value, float) and value != value)
