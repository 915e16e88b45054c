"""What a tuned model forgot: general suites beside what the untouched base measured on the same rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sweeps.data.encoding import evaluation_rows, label_set, suite_text
from sweeps.finetune.evaluate import UNKNOWN, Baseline, Evaluator, SuiteEvaluation, suite_score
from tracker.files import write_atomically
from tracker.trial import MethodSpec, TrialSpec

Baselines = Mapping[str, Baseline]


def measure_suites(
    evaluator: Evaluator, spec: TrialSpec, before: Baselines
) -> list[SuiteEvaluation]:
    """The general suites of *spec*, beside what the untouched base measured on them (*before*)."""
    found = []
    for suite in spec.general:
        base = before.get(suite.name, UNKNOWN)
        if suite.text is not None:
            found.append(evaluator.text(suite.name, suite_text(suite.text, spec), base))
        elif suite.task is not None:
            task = suite.task.model_copy(update={"name": suite.name})
            rows = evaluation_rows(task, task.validation, spec)
            evaluation = evaluator.task(task, rows, label_set(task), "validation")
            found.append(suite_score(evaluation, suite.measure, base))
    return found


def base_suites(
    spec: TrialSpec, folder: Path, evaluator_of: Callable[[TrialSpec], Evaluator]
) -> Baselines:
    """What the untouched base measures on the suites of *spec*; measured once, then kept in *folder*.

    A file of before the replicates were kept is completed; what it says the base measured stays, so that
    no trial's forgetting changes. *evaluator_of*: of an untouched base.
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
    known = _read(file)
    if known is None or not all(base.replicates for base in known.values()):
        found = {
            one.score.suite: Baseline(one.score.after, one.replicates)
            for one in measure_suites(evaluator_of(untouched), untouched, {})
        }
        for suite, base in (known or {}).items():
            found[suite] = Baseline(base.value, found.get(suite, UNKNOWN).replicates)
        known = found
        write_atomically(file, json.dumps({suite: b._asdict() for suite, b in known.items()}))
    return known


def _read(file: Path) -> dict[str, Baseline] | None:
    """The suites in *file*, where it is there: a number alone is a base without replicates."""
    if not file.exists():
        return None
    return {
        suite: Baseline(kept["value"], tuple(kept["replicates"]))
        if isinstance(kept, dict)
        else Baseline(kept)
        for suite, kept in json.loads(file.read_text()).items()
    }
