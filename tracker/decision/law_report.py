"""Report of every law of a sweep as JSON and as lines: curves over data, forgetting, mixes, loss to score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tracker.decision.analysis import Analysis
from tracker.errors import Argument, ArgumentError, NotEnoughDataError
from tracker.laws.auxiliary import AuxiliaryLaws, ForgettingKey, MixKey, auxiliary_laws
from tracker.laws.curves import CurveFits, CurveKey, Metric
from tracker.laws.fitted_law import FORM, FittedLaw, Parameter
from tracker.laws.forgetting import FittedForgetting
from tracker.laws.loss_to_score import LossToScore
from tracker.laws.mixture import FittedMix
from tracker.metrics import MEASURES
from tracker.numbers import count, interval, number, percent, points
from tracker.validation import unknown

#: Fields of thousands of draws, left out of JSON.
_DRAWS = {"replicates", "backtest_errors", "held_out_errors", "best"}
_HEADER = ("curve", "runs", "left out", "examples", "held-out error", "noise")


class EveryLaw(NamedTuple):
    """Every law of a sweep; ``metrics``: what each task's curves are fitted to."""

    metrics: dict[str, Metric]
    curves: CurveFits
    auxiliary: AuxiliaryLaws


def every_law(analysis: Analysis, metric: Metric | None = None) -> EveryLaw:
    """Fit all laws of the tasks that the objective weighs.

    Curves are fitted to *metric*, or to what each task is decided on. Raises ArgumentError for a
    metric that is none, NotEnoughDataError where no weighted task was measured.
    """
    if metric is not None and metric not in MEASURES:
        raise ArgumentError(Argument("metric", unknown(metric, MEASURES)))
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


def laws_as_json(laws: EveryLaw) -> dict[str, Any]:
    """Laws as JSON without their draws, each with its key."""
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
    """Auxiliary laws as JSON: forgetting, mixes and loss to score."""
    return {
        "forgetting": [
            {**key.model_dump(mode="json"), **_dump(law)} for key, law in laws.forgetting.items()
        ],
        "mixes": [
            {"of": key.model_dump(mode="json"), **_dump(law)} for key, law in laws.mixes.items()
        ],
        "loss_to_score": [{"task": task, **_dump(law)} for task, law in laws.loss_to_score.items()],
        "refused": dict(laws.refused),
    }


def law_lines(laws: EveryLaw) -> list[str]:
    """Report lines: the table of curves, their glitches, refused curves, and every auxiliary law."""
    fitted = laws.curves.laws
    metrics_text = ", ".join(f"{task} by {metric}" for task, metric in laws.metrics.items())
    report = [f"Curves over data, {FORM}, fitted to the error: {metrics_text}"]
    report += _table([_HEADER, *(_row(key, law) for key, law in fitted.items())])
    for key, law in fitted.items():
        report += [
            f"Glitch: {key.label}: run {g.key} at {count(g.examples)} examples measured {number(g.value)}, "
            f"the law without it expects {number(g.expected)} ({g.deviations:.1f} deviations): run it again"
            for g in law.glitches
        ]
    refused = {f"curve {key.label}": reason for key, reason in laws.curves.refused.items()}
    return [*report, *refusal_lines(refused), "", *auxiliary_lines(laws.auxiliary)]


def _dump(law: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = law.model_dump(mode="json", exclude=_DRAWS)
    return dumped


def _row(key: CurveKey, law: FittedLaw) -> tuple[str, ...]:
    return (
        key.label,
        str(len(law.used)),
        str(len(law.left_out)),
        f"{count(law.domain[0])} to {count(law.domain[1])}",
        _error(law.held_out_error),
        f"{percent(law.noise)} ({law.noise_source})",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


# -- auxiliary laws --------------------------------------------------------------------------------


def auxiliary_lines(laws: AuxiliaryLaws) -> list[str]:
    """Report lines of the auxiliary laws, unwrapped, with 80 % intervals."""
    out = [_forgetting_line(key, law) for key, law in laws.forgetting.items()]
    out += [_mix_line(key, law) for key, law in laws.mixes.items()]
    out += [_loss_to_score_line(task, law) for task, law in laws.loss_to_score.items()]
    return out + refusal_lines(laws.refused)


def refusal_lines(refused: dict[str, str]) -> list[str]:
    """Report lines of refused laws: per reason, the first law and how many more."""
    labels: dict[str, list[str]] = {}
    for label, reason in refused.items():
        labels.setdefault(reason, []).append(label)
    return [
        f"Not fitted: {labelled[0]}{f' and {len(labelled) - 1} more' if len(labelled) > 1 else ''}: {reason}"
        for reason, labelled in labels.items()
    ]


def _forgetting_line(key: ForgettingKey, law: FittedForgetting) -> str:
    parameters = "; ".join(
        f"{name} {'not identified' if value is None else _interval(value)}"
        for name, value in law.parameters.items()
    )
    (_, volume), (least, most) = law.domain["examples"], law.domain["parameters"]
    share = law.domain["replay"][1]
    replay = f", replay up to {share:g}" if share else ""
    rise = law.predict(most, volume, share)
    value, low, high = (float(side[0]) for side in (rise.value, rise.low, rise.high))
    lost = "loses"
    if value < 0:
        lost, value, low, high = "gains", -value, -high, -low
    errors = ", ".join(f"{kind} {percent(e)}" for kind, e in law.held_out.items())
    verdict = "" if law.kind == "law" else " (the published law predicts no better)"
    return (
        f"Forgetting by {key.label}: {law.form}{verdict}, with {parameters}; {_rows(law)}, "
        f"{least:,.0f} to {most:,.0f} parameters, up to {volume:,.0f} examples{replay}. "
        f"A run of the largest model at the most examples and replay {lost} {number(value)} "
        f"({interval(low, high, number)}). Error at the held-out largest training set, as a share of the "
        f"base's loss: {errors or 'not known'}."
    )


def _mix_line(key: MixKey, law: FittedMix) -> str:
    verdict = {
        "helps": "the other tasks help",
        "hurts": "the other tasks hurt",
        "unclear": "whether the other tasks help is unclear",
    }[law.effect]
    return (
        f"Mix, {key.label}: {verdict}: one of their examples replaces {_interval(law.transfer_rate)} of the "
        f"task's, at {count(law.at_other_examples)} of theirs; {law.form}, {_rows(law)}, error at the "
        f"held-out largest training set {_error(law.held_out_error)} (without transfer "
        f"{_error(law.held_out_alone)})."
    )


def _loss_to_score_line(task: str, law: LossToScore) -> str:
    verdict = "" if law.proxy else " The loss is not a proxy here: decide on the score."
    return (
        f"Loss to score, {task}: {law.shape}, rank correlation of loss and score "
        f"{_interval(law.rank_correlation)}, {_rows(law)}; it misses the score of a left-out model by "
        f"{points(law.held_out_error, signed=False)} on average (the mean score by "
        f"{points(law.constant_error, signed=False)})."
        f"{verdict}"
    )


def _interval(value: Parameter) -> str:
    return f"{number(value.value)} ({interval(value.low, value.high, number)})"


def _error(error: float | None) -> str:
    return "not known" if error is None else percent(error)


def _rows(law: FittedForgetting | FittedMix | LossToScore) -> str:
    out = f", {len(law.left_out)} left out" if law.left_out else ""
    return f"{len(law.used)} runs used{out}"
