"""Failed trials grouped by status and reason, each group with advice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tracker.trial import Status, TrialRecord

_NUMBER = re.compile(r"\d[\d.,]*")
#: Advice by status and a part of the reason; the first that matches.
_ADVICE: tuple[tuple[Status, str, str], ...] = (
    (
        Status.INFEASIBLE,
        "",
        "It needs more memory than the device has. In a new sweep lower train.batch_size or "
        "train.max_length, or leave full tuning of the largest model out: LoRA needs less.",
    ),
    (
        Status.DIVERGED,
        "",
        "The loss ran away, mostly because the learning rate is too high for this method and model. "
        "The sweep avoids it from here on; a new one can end the range lower.",
    ),
    (
        Status.FAILED,
        "no progress",
        "A worker stood still and was ended. Look whether its device is healthy; where trials really "
        "take that long, raise engine.hang_seconds.",
    ),
    (
        Status.FAILED,
        "SIGKILL",
        "The system ended the worker, mostly for want of main memory: run fewer workers at once, and again "
        "what failed by `sft-select run SWEEP.yaml --retry-failed`.",
    ),
    (
        Status.FAILED,
        "",
        "An error ended it. `sft-select doctor SWEEP.yaml` checks devices, models and data; once its cause "
        "is mended, `sft-select run SWEEP.yaml --retry-failed` runs it again.",
    ),
    (
        Status.PRUNED,
        "by hand",
        "Somebody stopped it; the log of requests names them. A clone runs it once more.",
    ),
    (
        Status.PRUNED,
        "",
        "It could not improve the result enough for its cost, or the budget was used up.",
    ),
)


class FailureGroup(NamedTuple):
    """Trials with one status and reason, that of the newest; ``numbers`` from the newest on."""

    status: Status
    reason: str
    advice: str
    numbers: tuple[int, ...]
    where: tuple[str, ...]


def failure_groups(records: Iterable[TrialRecord]) -> tuple[FailureGroup, ...]:
    """Groups of equal status and reason, whatever numbers the reason holds; the largest first.

    ``where``: each model with its method, the most frequent first.
    """
    groups: dict[tuple[Status, str], list[TrialRecord]] = defaultdict(list)
    for record in records:
        result = record.result
        if result.status is not Status.COMPLETE:
            groups[result.status, _NUMBER.sub("#", result.reason or "")].append(record)
    found = [_failure_group(alike) for alike in groups.values()]
    return tuple(sorted(found, key=lambda group: (-len(group.numbers), -group.numbers[0])))


def _failure_group(records: list[TrialRecord]) -> FailureGroup:
    newest = sorted(records, key=lambda record: record.number, reverse=True)
    result = newest[0].result
    reason = result.reason or "no reason was recorded"
    places: dict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        spec = record.result.spec
        places[spec.model.name, spec.method.name] += 1
    ranked = sorted(places, key=lambda place: (-places[place], place))
    return FailureGroup(
        result.status,
        reason,
        next(text for status, part, text in _ADVICE if status is result.status and part in reason),
        tuple(record.number for record in newest),
        tuple(f"{model} · {method}" for model, method in ranked),
    )
