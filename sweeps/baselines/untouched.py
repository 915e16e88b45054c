"""Baseline of forgetting: the untouched base on the general suites, measured once for all trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sweeps.data.encoding import evaluation_rows, label_set, suite_text
from sweeps.finetune.evaluate import (
    UNKNOWN_BASELINE,
    Baseline,
    Evaluator,
    SuiteEvaluation,
    suite_score,
)
from tracker.files import write_atomically
from tracker.trial import MethodSpec, TrialSpec

Baselines = Mapping[str, Baseline]


def measure_suites(
    evaluator: Evaluator, spec: TrialSpec, before: Baselines
) -> list[SuiteEvaluation]:
    """Measure the general suites of *spec*; *before*: the untouched base's measures."""
    evaluations = []
    for suite in spec.general:
        base = before.get(suite.name, UNKNOWN_BASELINE)
        if suite.text is not None:
            evaluations.append(evaluator.text(suite.name, suite_text(suite.text, spec), base))
        elif suite.task is not None:
            task = suite.task.model_copy(update={"name": suite.name})
            rows = evaluation_rows(task, task.validation, spec)
            evaluation = evaluator.task(task, rows, label_set(task), "validation")
            evaluations.append(suite_score(evaluation, suite.measure, base))
    return evaluations


def base_suites(
    spec: TrialSpec, folder: Path, evaluator_of: Callable[[TrialSpec], Evaluator]
) -> Baselines:
    """The untouched base's measures of the suites of *spec*; measured once, then read from *folder*.

    A file of an earlier release, without replicates, is completed; its measures stay, so that no trial's
    forgetting changes. *evaluator_of*: makes the evaluator of an untouched base.
    """
    untouched = spec.model_copy(
        update={
            "method": MethodSpec(name="none"),
            "mix": None,
            "volume": 0,
            "examples": {},
            "replay": None,
            "seed": 0,
        }
    )
    file = folder / f"{untouched.key}.json"
    kept = _read(file)
    if kept is not None and all(base.replicates for base in kept.values()):
        return kept
    measured = {
        suite.score.suite: Baseline(suite.score.after, suite.replicates)
        for suite in measure_suites(evaluator_of(untouched), untouched, {})
    }
    for name, base in (kept or {}).items():
        replicates = measured.get(name, UNKNOWN_BASELINE).replicates
        measured[name] = Baseline(base.value, replicates)
    write_atomically(file, json.dumps({name: b._asdict() for name, b in measured.items()}))
    return measured


def _read(file: Path) -> dict[str, Baseline] | None:
    """Baselines by suite in *file*, if it exists; a number alone is a baseline without replicates."""
    if not file.exists():
        return None
    return {
        suite: Baseline(kept["value"], tuple(kept["replicates"]))
        if isinstance(kept, dict)
        else Baseline(kept)
        for suite, kept in json.loads(file.read_text()).items()
    }
