"""Baseline of forgetting: the untouched base on the general suites, measured once for all trials."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import FiniteFloat, TypeAdapter

from sweeps.data.encoding import evaluation_rows, label_set, suite_text
from sweeps.finetune.evaluate import (
    UNKNOWN_BASELINE,
    Baseline,
    Evaluator,
    SuiteEvaluation,
    suite_score,
)
from tracker.files import write_atomically
from tracker.frozen import Frozen
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
    kept = _read(file, {suite.name for suite in spec.general if suite.text or suite.task})
    if kept is not None and all(base.replicates for base in kept.values()):
        return kept
    measured = {
        suite.score.suite: Baseline(suite.score.after, suite.replicates)
        for suite in measure_suites(evaluator_of(untouched), untouched, {})
    }
    for name, base in (kept or {}).items():
        replicates = measured.get(name, UNKNOWN_BASELINE).replicates
        measured[name] = Baseline(base.value, replicates)
    _write(file, measured)
    return measured


class _Kept(Frozen):
    value: float | None
    replicates: tuple[float, ...] = ()


#: Of an earlier release a number alone, a baseline without replicates.
_SUITES = TypeAdapter(dict[str, FiniteFloat | _Kept])


def _write(file: Path, measured: Baselines) -> None:
    suites = {name: base._asdict() for name, base in measured.items()}
    try:
        write_atomically(file, json.dumps({"digest": _digest(suites), "suites": suites}))
    except (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        _note(f"{file}: cannot be written ({error.strerror}); the next trial measures it again")


def _read(file: Path, suites: set[str]) -> dict[str, Baseline] | None:
    """Baselines of *suites* in *file*; ``None`` where there is no such file, or none that can be trusted.

    What a power cut tore, or anybody changed, is measured again, said in a line. A file of an earlier release
    has no digest.
    """
    if not os.path.lexists(file):
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.keys() == {"digest", "suites"}:
            if content["digest"] != _digest(content["suites"]):
                raise ValueError("it was changed since it was written")
            content = content["suites"]
        kept = _SUITES.validate_python(content)
        if kept.keys() != suites:
            raise ValueError(f"it is of {', '.join(sorted(kept)) or 'no suite'}")
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        _note(f"{file}: cannot be read ({reason}); the untouched base is measured again")
        return None
    return {
        suite: Baseline(base) if isinstance(base, float) else Baseline(base.value, base.replicates)
        for suite, base in kept.items()
    }


def _digest(suites: object) -> str:
    return hashlib.sha256(json.dumps(suites, sort_keys=True).encode()).hexdigest()


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr, flush=True)
