"""Every law of a sweep: curves over data, forgetting, mixes, links; as JSON and as a table in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tracker.decision.analysis import Analysis
from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.auxiliary import AuxiliaryLaws, auxiliary_laws, auxiliary_lines, refusals
from tracker.laws.curves import CurveFits, CurveKey, Metric
from tracker.laws.fitted_law import FORM, FittedLaw
from tracker.metrics import MEASURES

#: Draws that only a program's next step needs; they would bury the rest.
_DRAWS = {"replicates", "backtest_errors", "held_out_errors", "best"}
_HEADER = ("curve", "runs", "left out", "examples", "held-out error", "noise")


class EveryLaw(NamedTuple):
    """``metrics``: what each task's curves are fitted to."""

    metrics: dict[str, Metric]
    curves: CurveFits
    auxiliary: AuxiliaryLaws


def every_law(analysis: Analysis, metric: Metric | None = None) -> EveryLaw:
    """Fit all laws of the tasks that the objective weighs.

    Curves are fitted to *metric*, or to what each task is decided on. Raises InputError for a
    metric that is none, NotEnoughDataError where no weighted task was measured.
    """
    if metric is not None and metric not in MEASURES:
        raise InputError(f"--metric {metric}: allowed: {', '.join(MEASURES)}")
    decided = analysis.measures
    weights = analysis.objective.weights
    wanted = [task for task, weight in weights.items() if weight > 0 and task in decided]
    if not wanted:
        raise NotEnoughDataError(
            "no complete trial measured a task of the objective: run the sweep first"
        )
    metrics: dict[str, Metric] = {task: metric or decided[task] for task in sorted(wanted)}
    curves = analysis.fits_of(metrics)
    return EveryLaw(metrics, curves, auxiliary_laws(analysis.records, analysis.objective))


def as_json(laws: EveryLaw) -> dict[str, Any]:
    """All of it but the bootstrap's draws, each law with what it is about."""
    auxiliary = auxiliary_as_json(laws.auxiliary)
    refused = {key.label: reason for key, reason in laws.curves.refused.items()}
    return {
        "curves": [
            {"curve": key.model_dump(mode="json"), "metric": laws.metrics[key.task], **_dump(law)}
            for key, law in laws.curves.laws.items()
        ],
        **auxiliary,
        "refused": {**refused, **auxiliary["refused"]},
    }


def auxiliary_as_json(laws: AuxiliaryLaws) -> dict[str, Any]:
    """Likewise the laws of forgetting, of mixes and from loss to score."""
    return {
        "forgetting": [
            {**key.model_dump(mode="json"), **_dump(law)} for key, law in laws.forgetting.items()
        ],
        "mixes": [
            {"of": key.model_dump(mode="json"), **_dump(law)} for key, law in laws.mixes.items()
        ],
        "loss_to_score": [
            {"task": task, **_dump(link)} for task, link in laws.loss_to_score.items()
        ],
        "refused": dict(laws.refused),
    }


def lines(laws: EveryLaw) -> list[str]:
    """The curves' table, what stands out in them, and every further law, one line per statement."""
    found = laws.curves.laws
    told = ", ".join(f"{task} by {metric}" for task, metric in laws.metrics.items())
    out = [f"Curves over data, {FORM}, fitted to the error: {told}"]
    out += _table([_HEADER, *(_row(key, law) for key, law in found.items())])
    for key, law in found.items():
        out += [
            f"Glitch: {key.label}: run {g.key} at {g.examples:,.0f} examples measured {g.value:.3g}, "
            f"the law without it expects {g.expected:.3g} ({g.deviations:.1f} deviations): run it again"
            for g in law.glitches
        ]
    refused = {f"curve {key.label}": reason for key, reason in laws.curves.refused.items()}
    return [*out, *refusals(refused), "", *auxiliary_lines(laws.auxiliary)]


def _dump(law: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = law.model_dump(mode="json", exclude=_DRAWS)
    return dumped


def _row(key: CurveKey, law: FittedLaw) -> tuple[str, ...]:
    error = "not known" if law.held_out_error is None else f"{law.held_out_error:.1%}"
    return (
        key.label,
        str(len(law.used)),
        str(len(law.left_out)),
        f"{law.domain[0]:,.0f} to {law.domain[1]:,.0f}",
        error,
        f"{law.noise:.1%} ({law.noise_source})",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
