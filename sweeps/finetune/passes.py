"""Passes over a training set: each is evaluated on the validation rows, and the best one's weights are kept.

Only where the trial asks for it (``train.keep_epoch: best``). What the passes scored stands in the Trainer's
history, which checkpoints hold, and the best one's weights lie beside them: a resumed training keeps the pass
that an uninterrupted one would.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from torch import nn

from sweeps.data.mixes import pass_ends
from sweeps.finetune.model import TRAINED_WEIGHTS, load_trained, save_trained
from tracker.errors import StoreError
from tracker.files import file_digest, whole_folder
from tracker.task import TaskScore
from tracker.trial import PassResult, TrialSpec

#: In a log history: the result of a pass, and the digest of its weights where they were kept.
_PASS, _DIGEST = "pass", "sha256"
_FOLDER = "pass-"
_KEEP = 2  # the best, and the one before it: an older checkpoint may name that


class Passes(NamedTuple):
    """How passes are judged: ``evaluate`` gives the scores of the model as it is, on the validation rows."""

    evaluate: Callable[[], Sequence[TaskScore]]
    folder: Path


def pass_steps(spec: TrialSpec) -> dict[int, int]:
    """Number of the pass, from 1, that ends at an optimizer step; of passes within one step the last."""
    rows = spec.schedule.batch_size * spec.schedule.accumulation
    return {math.ceil(end / rows): n for n, end in enumerate(pass_ends(spec), start=1)}


def judge(
    passes: Passes, model: nn.Module, history: list[dict[str, Any]], number: int, step: int
) -> None:
    """Evaluate *model* after pass *number*, note it in *history*, and keep its weights if it is the best."""
    scores = passes.evaluate()
    model.train()
    found = PassResult(
        number=number,
        step=step,
        scores={s.task: s.error if s.score is None else s.score for s in scores},
        loss_nats={s.task: s.loss_nats for s in scores},
        value=fmean(map(_value, scores)),
    )
    point: dict[str, Any] = {"step": step, _PASS: found.model_dump()}
    before = _best(history)
    if before is None or _rank(point) > _rank(before):
        with whole_folder(_place(passes.folder, step)) as made:
            save_trained(model, made)
        point[_DIGEST] = file_digest(_place(passes.folder, step) / TRAINED_WEIGHTS)
        for old in sorted(passes.folder.glob(f"{_FOLDER}*"))[:-_KEEP]:
            shutil.rmtree(old)
    history.append(point)


def take_best(
    passes: Passes, model: nn.Module, history: Sequence[Mapping[str, Any]]
) -> tuple[PassResult, ...]:
    """Give *model* the weights of the best pass; every pass, with the one that was kept.

    Raises StoreError where its weights are not as they were written.
    """
    best = _best(history)
    assert best is not None, "the last step ends a pass"
    if not is_kept(passes.folder, history):
        raise StoreError(
            f"{_place(passes.folder, best['step'])}: the best pass is not as it was written; "
            "run the same command again"
        )
    load_trained(model, _place(passes.folder, best["step"]))
    results = [PassResult.model_validate(point[_PASS]) for point in history if _PASS in point]
    kept = best["step"]
    return tuple(r.model_copy(update={"kept": r.step == kept}) for r in results)


def is_kept(folder: Path, history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the weights of the best pass of *history* lie in *folder*; true where there was no pass."""
    best = _best(history)
    if best is None:
        return True
    try:
        written = file_digest(_place(folder, best["step"]) / TRAINED_WEIGHTS)
    except OSError:
        return False
    return bool(written == best.get(_DIGEST))


def _place(folder: Path, step: int) -> Path:
    return folder / f"{_FOLDER}{step:08d}"


def _best(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The best pass so far, of equal ones the earliest."""
    return max((point for point in history if _PASS in point), key=_rank, default=None)


def _rank(point: Mapping[str, Any]) -> tuple[float, float]:
    losses = [loss for loss in point[_PASS]["loss_nats"].values() if loss is not None]
    return point[_PASS]["value"], -fmean(losses) if losses else 0.0


def _value(score: TaskScore) -> float:
    """What a pass is judged by on a task, the higher the better: its score, else its error or loss."""
    if score.score is not None:
        return score.score
    return -(score.loss_nats or 0.0) if score.error is None else -score.error
