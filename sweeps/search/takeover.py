"""Takeover of finished trials: one that the workspace holds the measurement of is not run again.

Two trials are equal where their keys are: a key is a hash of all that determines a fine-tune. The result is
written into the journal of the trial here, with its origin; its answers are copied and its tuned model is
linked, so that the origin may be deleted. A copy comes before the journal: a driver that is killed in
between takes over again.

Only what an equal trial would end with again is taken over: a complete trial or one that diverged. One that
failed, did not fit its device, or was stopped by hand or by a budget is run.

A trial that differs from a complete one in nothing but how answers are scored would train the same model,
which would give the same answers: those that were kept are scored anew. Its losses are the old ones.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from sweeps.data.encoding import evaluation_rows, label_set
from sweeps.data.recorded import recorded_answer, recorded_counts
from sweeps.resolve import ResolvedSweep
from sweeps.scores.bootstrap import Floats
from sweeps.scores.task_scores import UnscoredError
from sweeps.search.space import hyperparameters, methods_of, trial_spec
from sweeps.search.workspace import SweepFolder, sweep_folders
from tracker.errors import InputError, StoreError
from tracker.files import json_lines, whole_folder, write_atomically
from tracker.store.journal import Journal
from tracker.task import SCORING, TaskScore, TaskSpec
from tracker.trial import (
    Configuration,
    RecordAnswers,
    Status,
    TakenOver,
    TrialResult,
    TrialSpec,
)

#: What a row of a file of answers holds (:func:`sweeps.finetune.evaluate.answer_records`).
Answer = dict[str, Any]
_LOSSES = ("loss_nats", "loss_nats_se", "bits_per_byte", "bits_per_byte_se")
_FINAL = frozenset({Status.COMPLETE, Status.DIVERGED})


class Ended(NamedTuple):
    """A trial that ended in the sweep of ``folder``."""

    folder: SweepFolder
    result: TrialResult

    @property
    def model(self) -> Path:
        """Folder of its tuned model, where that was kept."""
        return self.folder.model(self.result.spec.key)


class Rescored(NamedTuple):
    """Score of a task from kept answers; ``records``: these, judged anew, or ``None`` where they stay."""

    score: TaskScore
    records: list[Answer] | None


class Takeover:
    """Takes trials over into the sweep of *folder*; *keep_models*: with their tuned models."""

    def __init__(self, folder: SweepFolder, *, keep_models: bool) -> None:
        self.folder, self.keep_models = folder, keep_models
        self._alike: dict[_Coarse, list[tuple[SweepFolder, str]]] | None = None

    def __call__(self, spec: TrialSpec) -> TrialResult | None:
        """Result of *spec*, which has none here, from an equal trial; ``None`` where there is none.

        StoreError where the disk refuses its journal.
        """
        equal = list(self._equal(spec.key))
        if not equal:
            return self._rescored(spec)
        best = max(equal, key=lambda ended: self._rank(ended, spec))
        scores = _as_recorded(best.result.tasks, best.result.spec.record_answers, spec)
        result = best.result.model_copy(update={"spec": spec, "tasks": scores})
        _copy_answers(best, spec, self.folder.artifacts(spec.key))
        self._keep(best, result)
        return result

    def _rescored(self, spec: TrialSpec) -> TrialResult | None:
        """Result of *spec* from the kept answers of a trial that differs in their scores alone."""
        if self._alike is None:  # every journal is read, so only once
            self._alike = _ended_alike(self.folder.workspace)
        alike = self._alike.get(_coarse(spec))
        wanted = answers_key(spec) if alike else ""
        for ended in (_with_answers(*trial, wanted) for trial in alike or ()):
            if ended is None:
                continue
            found = [_task_rescored(ended, task, spec) for task in spec.tasks]
            tasks = [task for task in found if task is not None]
            if len(tasks) < len(found):
                continue
            scores = tuple(task.score for task in tasks)
            result = ended.result.model_copy(update={"spec": spec, "tasks": scores})
            target = self.folder.artifacts(spec.key)
            _copy_answers(ended, spec, target)
            for task in tasks:
                if task.records:  # what an earlier score said is replaced
                    text = json_lines(task.records)
                    write_atomically(target / _file(task.score.task), text)
            self._keep(ended, result, rescored=True)
            return result
        return None

    def _equal(self, key: str) -> Iterator[Ended]:
        """Trials of the workspace's other sweeps that have *key*: a file each, so looking is cheap."""
        for folder in sweep_folders(self.folder.workspace):
            if folder.root == self.folder.root or not folder.journal(key).is_file():
                continue
            with suppress(StoreError, OSError):  # a damaged journal says nothing
                result = folder.result(key)
                if result is not None and result.status in _FINAL:
                    yield Ended(folder, result)

    def _rank(self, ended: Ended, spec: TrialSpec) -> tuple[bool, bool]:
        """Of several, one with its model comes first, then one that recorded its answers alike."""
        alike = ended.result.spec.record_answers == spec.record_answers
        return self.keep_models and ended.model.is_dir(), alike

    def _keep(self, ended: Ended, result: TrialResult, *, rescored: bool = False) -> None:
        """Link the model of *ended*, then write *result* into the journal here."""
        key, origin = result.spec.key, ended.result.spec.key
        if self.keep_models:
            with suppress(OSError):  # none was kept, or its sweep drops it at this moment
                _link(ended.model, self.folder.model(key))
        journal = Journal(ended.folder.journal(origin))
        first = journal.taken_over() or TakenOver(sweep=ended.folder.root.name, key=origin)
        taken_over = first.model_copy(update={"rescored": first.rescored or rescored})
        self.folder.keep(key, result, journal.steps(), taken_over)


def _as_recorded(
    scores: Sequence[TaskScore], recorded: RecordAnswers, spec: TrialSpec
) -> tuple[TaskScore, ...]:
    """*scores*, whose labels are named as *recorded* says, with them named as *spec* records them."""
    wanted = spec.record_answers
    if recorded in (wanted, "none") or wanted == "all":
        return tuple(scores)
    of = {task.name: task for task in spec.tasks}
    return tuple(
        score.model_copy(update={"labels": recorded_counts(of[score.task], score.labels, wanted)})
        for score in scores
    )


def _link(source: Path, target: Path) -> None:
    """Make *target* a folder of links to the files of *source*, whole or not at all; copies elsewhere.

    Nobody changes a model's files in place. Raises OSError where there is no such folder.
    """
    names = os.listdir(source)
    with whole_folder(target) as made:
        for name in names:
            try:
                os.link(source / name, made / name)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links, or a folder
                whole = shutil.copytree if (source / name).is_dir() else shutil.copyfile
                whole(source / name, made / name)


def _copy_answers(ended: Ended, spec: TrialSpec, target: Path) -> None:
    """Copy the files of answers to the tasks of *spec* that there are."""
    target.mkdir(parents=True, exist_ok=True)
    for task in spec.tasks:
        with suppress(OSError, ValueError):  # none were recorded, or they are not whole
            _write_answers(_answers(ended, task.name), ended, task.name, spec, target)


def _answers(ended: Ended, task: str) -> list[Answer]:
    """Recorded answers to *task*, a row each; raises OSError or ValueError where there are none."""
    file = ended.folder.artifacts(ended.result.spec.key) / _file(task)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _file(task: str) -> str:
    return f"{task}.validation.jsonl"


def _write_answers(
    rows: Sequence[Answer], ended: Ended, task: str, spec: TrialSpec, target: Path
) -> None:
    """Write answers to *task* into the folder *target*, with no more in them than *spec* records."""
    recorded, wanted = ended.result.spec.record_answers, spec.record_answers
    if "none" in (recorded, wanted):
        return
    if (recorded, wanted) == ("all", "hashed"):
        of = next(each for each in spec.tasks if each.name == task)
        rows = [{k: v for k, v in row.items() if k != "prompt"} for row in rows]
        rows = [
            row | {said: recorded_answer(of, row[said], wanted) for said in ("answer", "truth")}
            for row in rows
        ]
    write_atomically(target / _file(task), json_lines(rows))


# -- scored anew -------------------------------------------------------------------------------------


def answers_key(spec: TrialSpec) -> str:
    """Key of all that determines the model of *spec* and its answers, not how those are scored."""
    plain = {
        name: field.default for name, field in TaskSpec.model_fields.items() if name in SCORING
    }
    tasks = tuple(task.model_copy(update=plain) for task in spec.tasks)
    return spec.model_copy(update={"tasks": tasks}).key


#: What of a trial is read of every journal, so that few are read whole.
_Coarse = tuple[str | None, float | None, int, int]


def _coarse(spec: TrialSpec) -> _Coarse:
    return spec.model.digest, spec.method.learning_rate, spec.volume, spec.seed


def _ended_alike(workspace: Path) -> dict[_Coarse, list[tuple[SweepFolder, str]]]:
    """Keys of the ended trials of *workspace* whose answers may have been kept, by what they are in short."""
    found: dict[_Coarse, list[tuple[SweepFolder, str]]] = defaultdict(list)
    for folder in sweep_folders(workspace):
        for path in sorted(folder.journal("*").parent.glob("*.jsonl")):
            with suppress(OSError, ValueError, LookupError, TypeError):  # has not ended
                last = path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
                spec = json.loads(last)["result"]["spec"]
                model, rate = spec["model"]["digest"], spec["method"]["learning_rate"]
                coarse = model, rate, spec["volume"], spec["seed"]
                found[coarse].append((folder, path.stem))
    return found


def _with_answers(folder: SweepFolder, key: str, wanted: str) -> Ended | None:
    """The trial *key* of *folder*, if it is complete and has the :func:`answers_key` *wanted*."""
    with suppress(StoreError, OSError):
        result = folder.result(key)
        if result is not None and result.status is Status.COMPLETE:
            return Ended(folder, result) if answers_key(result.spec) == wanted else None
    return None


def _task_rescored(ended: Ended, task: TaskSpec, spec: TrialSpec) -> Rescored | None:
    """Score of *task*, one of *spec*, from the answers of *ended*; ``None`` where not every one is known."""
    from sweeps.data.prompts import load_tokenizer
    from sweeps.finetune.evaluate import Given, evaluation_of

    old = next((s for s in ended.result.tasks if s.task == task.name), None)
    if old is None or ended.result.spec.record_answers != "all":
        return None
    try:
        kept = _answers(ended, task.name)
        said, nats = [row["answer"] for row in kept], _numbers(kept, "nats")
        numbers = [row["file_row"] - 1 for row in kept]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if task in ended.result.spec.tasks:
        return Rescored(_as_recorded([old], "all", spec)[0], None)
    rows = evaluation_rows(task, task.validation, spec)
    if numbers != list(rows.numbers) or len(kept) != old.n:
        return None
    likely = _numbers(kept, "answer_nats") if "answer_nats" in kept[0] else None
    given = Given(said, np.zeros(len(said)) if likely is None else likely)
    try:
        score, records, _ = evaluation_of(
            task,
            rows,
            nats,
            given,
            label_set(task),
            "validation",
            spec.record_answers,
            load_tokenizer(spec.model),
        )
    except UnscoredError as error:
        raise InputError(f"task {task.name}: {error}; mend it, then run again") from error
    losses = {name: getattr(old, name) for name in _LOSSES}
    if likely is None:  # an earlier release did not record how likely answers are
        losses["confidence"] = None
        for record in records:
            del record["answer_nats"]
    return Rescored(score.model_copy(update=losses), records)


def _numbers(rows: Sequence[Answer], name: str) -> Floats:
    return np.array([row[name] for row in rows], dtype=float)


# -- before a run ------------------------------------------------------------------------------------


def equal_trials(sweep: ResolvedSweep, folder: SweepFolder) -> list[TrialSpec]:
    """Trials of other sweeps in the workspace that are equal to trials of the design of *sweep*.

    Those of them that the sweep of *folder* has not run are taken over when it comes to them.
    """
    found: dict[str, TrialSpec] = {}
    for other in sweep_folders(folder.workspace):
        if other.root == folder.root:
            continue
        for path in sorted(other.journal("*").parent.glob("*.jsonl")):
            if path.stem in found or folder.journal(path.stem).is_file():
                continue
            with suppress(StoreError, OSError):
                result = Journal(path).result()
                if result is not None and result.status in _FINAL and _fits(sweep, result.spec):
                    found[path.stem] = result.spec
    return list(found.values())


def _fits(sweep: ResolvedSweep, spec: TrialSpec) -> bool:
    """Whether *spec* is equal to a trial of the design, with a setting that the sweep's file allows."""
    configuration = Configuration.of(spec)
    if configuration.model not in sweep.models:
        return False
    if not configuration.untouched:
        mixes, methods = sweep.spec.mixes, methods_of(sweep.spec, configuration.model)
        if configuration.mix not in mixes or configuration.method.name not in methods:
            return False
        if configuration.volume not in sweep.spec.volumes_of(configuration.mix):
            return False
        space = hyperparameters(sweep.spec, configuration.method.name)
        method = configuration.method
        if not all(_holds(allowed, getattr(method, name)) for name, allowed in space.items()):
            return False
    seed = 0 if configuration.untouched else spec.seed - sweep.spec.first_seed
    return seed >= 0 and trial_spec(sweep, configuration, seed).key == spec.key


def _holds(allowed: BaseDistribution, value: Any) -> bool:
    if isinstance(allowed, FloatDistribution):
        return value is not None and allowed.low <= value <= allowed.high
    return isinstance(allowed, CategoricalDistribution) and value in allowed.choices
