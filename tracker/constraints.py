"""Constraints on a recommendation: their names, bounds and values, and what each of them rejects.

One set serves the sweep file, the command line, the search, the recommendation and the pages. A name
says what is bounded: ``parameters``, ``examples`` (also ``examples.<task>``), ``flops`` and
``adapter_bytes`` are counted, the same on every machine and known before a run; ``device_seconds``,
``gpu_hours``, ``peak_bytes`` and ``seconds_per_1k_tokens`` are measured by clock and device;
``forgetting.<suite>`` and ``over_reach.<task>`` are measured on rows. All of these are upper bounds.
``min.<task>`` is a lower one, on the task's quality; of a task that is decided on an error or a loss
``max.<task>`` bounds it from above, in its own unit. ``precision.<task>`` and ``recall.<task>`` are lower
bounds, and so are ``precision.<task>.<label>`` and ``recall.<task>.<label>``, of one label. A task's name
may hold dots, and a label anything: the longest task's name that fits is taken.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.errors import Argument, ArgumentError
from tracker.frozen import Frozen
from tracker.labels import label_results
from tracker.metrics import (
    Estimate,
    Measure,
    Z,
    forgetting_of,
    pooled_sd,
    quality_of,
    rounded,
    score_of,
    score_variance,
    se_of,
    share_of_draws,
)
from tracker.metrics import (
    value_of as measured_value,
)
from tracker.results import ConfigurationResults
from tracker.task import TaskScore
from tracker.trial import TrialResult
from tracker.validation import unknown

COUNTED = ("parameters", "flops", "adapter_bytes", "examples")
#: Measured by clock and device: different between machines, and between runs of one machine.
MEASURED = ("device_seconds", "gpu_hours", "peak_bytes", "seconds_per_1k_tokens")
#: Of those, measured by the clock.
CLOCKED = frozenset({"device_seconds", "gpu_hours", "seconds_per_1k_tokens"})
#: What grows in proportion to the examples, beside their number.
GROWING = ("flops", "device_seconds", "gpu_hours")
#: What more examples leave as it is, at the least.
_NEVER_FALLS = (*GROWING, "examples", "peak_bytes", "parameters", "adapter_bytes")
#: Lower bounds on shares of the rows that a task, or one of its labels, got right.
SHARES = ("precision", "recall")
#: What more data, or another seed, may yet mend: it rejects, and never ends the search of a configuration.
_OF_QUALITY = frozenset({"min", "max", *SHARES})
#: In place of a bound: removes the sweep's constraint.
NONE = "none"


class SatisfiedConstraint(Frozen):
    """Constraint that the choice satisfies.

    ``value``: what the choice measured, ``None`` for what the clock measured. ``probability``: that it
    satisfies the constraint over fresh rows and seeds, ``None`` where that is not known.
    """

    constraint: str
    limit: float
    value: float | None = None
    probability: float | None = None


class Rejection(Frozen):
    """Candidates that one constraint rejected: their number, the best of them, and the nearest to the bound.

    ``unmeasured`` of the ``count`` were rejected because the quantity is not known of them;
    ``limit`` is ``None`` where the reason is a missing score. ``best_value``, ``nearest`` and
    ``nearest_value`` are ``None`` for what the clock measured.
    """

    constraint: str
    limit: float | None = None
    count: int
    unmeasured: int = 0
    best: str | None = None
    best_quality: float | None = None
    best_value: float | None = None
    nearest: str | None = None
    nearest_value: float | None = None


class Verdict(NamedTuple):
    """Outcome of all constraints: ``admitted``, indices that keep each; ``rejected``, by constraint."""

    admitted: tuple[int, ...]
    rejected: tuple[Rejection, ...]


# -- names and bounds --------------------------------------------------------------------------------


def allowed_names(
    tasks: Iterable[str],
    suites: Iterable[str],
    over_reach: Iterable[str] | None = None,
    lowered: Collection[str] = (),
    labels: Mapping[str, Iterable[str]] | None = None,
) -> list[str]:
    """Names of the constraints on a sweep with these *tasks* and general *suites*.

    *over_reach*: the tasks that have a negative answer, by default all. *lowered*: those that are decided on
    an error or a loss. *labels*: by task, where its answers are labels.
    """
    tasks = list(tasks)
    claimed = tasks if over_reach is None else over_reach
    return [
        *(f"forgetting.{suite}" for suite in suites),
        *(f"{'max' if task in lowered else 'min'}.{task}" for task in tasks),
        *(f"over_reach.{task}" for task in claimed),
        *(f"examples.{task}" for task in tasks),
        *COUNTED,
        *MEASURED,
        *(f"{kind}.{task}" for kind in SHARES for task in tasks),
        *(
            f"{kind}.{task}.{label}"
            for kind in SHARES
            for task, names in (labels or {}).items()
            for label in names
        ),
    ]


def check_names(constraints: Mapping[str, float], among: Sequence[ConfigurationResults]) -> None:
    """Check that one of *among* was evaluated on what each constraint bounds; else ArgumentError."""
    tasks = sorted({task for results in among for task in results.tasks})
    suites = sorted({s.suite for results in among for run in results.runs for s in run.general})
    measures = among[0].measures if among else {}
    lowered = [task for task in tasks if measures.get(task, "score") != "score"]
    labels: dict[str, dict[str, None]] = {}
    if any(kind_of(name) in SHARES for name in constraints):
        for score in (s for results in among for run in results.runs for s in run.tasks):
            if score.labels:
                labels.setdefault(score.task, {}).update(dict.fromkeys(score.labels.names))
    allowed = allowed_names(tasks, suites, lowered=lowered, labels=labels)
    # Earlier releases bounded minus a loss from below.
    known = {*allowed, *(f"min.{t}" for t in lowered if constraints.get(f"min.{t}", 1) <= 0)}
    wrong = [
        Argument("constraints", unknown_name(n, allowed)) for n in constraints if n not in known
    ]
    if wrong:
        raise ArgumentError(*wrong)


def unknown_name(name: str, allowed: Sequence[str]) -> str:
    """The message for a *name* that is none of *allowed*; those of its kind come first."""
    other = {"min": "max", "max": "min"}.get(kind_of(name))
    swapped = f"{other}.{name.partition('.')[2]}"
    if swapped in allowed:
        lower = "an error or a loss, which is better the lower" if other == "max" else "a score"
        return f"found {name!r}, but it is measured by {lower}; allowed: {swapped}"
    return unknown(name, sorted(allowed, key=lambda each: kind_of(each) != kind_of(name)))


def task_and_label(of: str, tasks: Iterable[str]) -> tuple[str, str | None]:
    """Task, and label if any, that *of* names: the longest of *tasks* that it is or begins with."""
    fits = [task for task in tasks if of == task or of.startswith(f"{task}.")]
    task = max(fits, key=len, default=of)
    return task, of[len(task) + 1 :] or None


def bound_problem(name: str, bound: float) -> str | None:
    """Problem of *bound* for the constraint *name*; ``None`` where it has none."""
    kind = kind_of(name)
    if kind in ("over_reach", *SHARES) and not 0 <= bound <= 1:
        return f"found {bound:g}; allowed: 0 to 1"
    if kind in ("examples", "max") and bound < 0:
        return f"found {bound:g}; allowed: 0 or more"
    if kind != "examples" and kind in (*COUNTED, *MEASURED) and bound <= 0:
        return f"found {bound:g}; allowed: above 0"
    return None


def kind_of(name: str) -> str:
    """Kind of the constraint: its name without the task or suite."""
    return name.partition(".")[0]


def is_lower(name: str) -> bool:
    """Whether *name* is a lower bound."""
    return kind_of(name) in ("min", *SHARES)


def of_quality(name: str) -> bool:
    """Whether *name* bounds a quality, which more data or another seed may mend."""
    return kind_of(name) in _OF_QUALITY


def sign(name: str) -> str:
    """Sign of the bound: ``>=`` or ``<=``."""
    return ">=" if is_lower(name) else "<="


def grows(name: str) -> bool:
    """Whether the quantity grows in proportion to the examples."""
    return name in GROWING or kind_of(name) == "examples"


def never_falls(name: str) -> bool:
    """Whether the quantity cannot be smaller with more examples."""
    return kind_of(name) in _NEVER_FALLS


def keeps(name: str, value: float, limit: float) -> bool:
    """Whether *value* keeps the bound; 0.1 that a division left at 0.1 + 1e-16 does."""
    slack = 1e-9 * abs(limit)
    return value >= limit - slack if is_lower(name) else value <= limit + slack


# -- values ------------------------------------------------------------------------------------------


def run_value(run: TrialResult, name: str, measures: Mapping[str, Measure]) -> float | None:
    """Value that the constraint *name* bounds, of one run; ``None`` where it was not measured.

    The untouched base takes no training and nothing is stored beside it.
    """
    kind, _, of = name.partition(".")
    label = None
    if kind in SHARES:
        of, label = task_and_label(of, [s.task for s in run.tasks])
    score = score_of(run, of)
    untouched = run.spec.method.name == "none"
    value: float | None
    if kind in SHARES:
        value = _share(score, kind, label)[0] if score else None
    elif kind == "forgetting":
        value = forgetting_of(run, of)
    elif kind == "min":
        value = quality_of(score, measures.get(of, "score")) if score else None
    elif kind == "max":
        measure = measures.get(of, "score")
        value = measured_value(score, measure) if score and measure != "score" else None
    elif kind == "over_reach":
        value = score.over_reach if score else None
    elif kind == "examples":
        value = float(run.spec.examples.get(of, 0) if of else run.spec.volume)
    elif name == "parameters":
        value = run.spec.model.parameters
    elif name in ("flops", "adapter_bytes") and untouched:
        value = 0.0
    elif name == "gpu_hours":
        seconds = run.cost.device_seconds
        value = None if seconds is None else seconds / 3600
    else:
        value = getattr(run.cost, name)
    return value


def _share(score: TaskScore, kind: str, label: str | None) -> tuple[float | None, float | None]:
    """Precision or recall (*kind*) in *score*, of *label* if given, and of how many rows it is the share.

    Of a whole task the rows follow from the shares: the recall says how many are right, and the precision of
    how many answers they are the share. Each is ``None`` where it is not known.
    """
    if label is not None:
        counted = label_results([score.labels]) if score.labels else ()
        for found in (each for each in counted if each.name == label):
            rows = found.answers if kind == "precision" else found.truths
            return (found.hits / rows, rows) if rows else (None, None)
        return None, None
    value = score.precision if kind == "precision" else score.recall
    if value is None or score.n is None:
        return value, None
    claims = score.n * (1 - (score.negatives or 0.0))
    if kind == "precision" and score.recall is not None:
        claims = score.recall * claims / value if value else 1.0
    return value, max(1.0, claims)


def _row_error(run: TrialResult, name: str, measures: Mapping[str, Measure]) -> float | None:
    """Standard error, from rows, of the quality that the constraint *name* bounds, of one run."""
    kind, _, of = name.partition(".")
    if kind not in SHARES:
        score, measure = score_of(run, of), measures.get(of, "score")
        known = score is not None and measured_value(score, measure) is not None
        return se_of(score, measure) if known and score is not None else None
    task, label = task_and_label(of, [s.task for s in run.tasks])
    score = score_of(run, task)
    value, rows = _share(score, kind, label) if score else (None, None)
    if value is None or rows is None:
        return None
    rows = max(1, round(rows))
    return math.sqrt(score_variance(value, value * (1 - value) / rows, rows))


def value_of(results: ConfigurationResults, name: str) -> float | None:
    """Value that the constraint *name* bounds, of a configuration: the mean over the seeds that have it."""
    return results.mean(lambda run: run_value(run, name, results.measures))


def could_keep(
    results: ConfigurationResults, constraints: Mapping[str, float], times: float
) -> bool:
    """Whether the configuration trained on *times* its examples would keep every upper bound.

    What is counted or clocked of training grows with the examples. What is lost or over-reached is taken
    as it was measured, size and memory too; bounds on quality are not checked, for more data raises it.
    """
    for name, limit in constraints.items():
        if of_quality(name):
            continue
        value = value_of(results, name)
        if value is None:
            return False
        if not keeps(name, times * value if grows(name) else value, limit):
            return False
    return True


# -- verdicts ----------------------------------------------------------------------------------------


def satisfied(
    among: Sequence[ConfigurationResults],
    index: int,
    lost: Mapping[str, Estimate],
    constraints: Mapping[str, float],
) -> tuple[SatisfiedConstraint, ...]:
    """Probability that *among*'s *index*, which forgot *lost* by suite, satisfies each constraint."""
    result = []
    for name, limit in sorted(constraints.items()):
        value, sd = value_of(among[index], name), _deviation(among, index, lost, name)
        probability = None
        if value is not None and sd == 0.0:  # the untouched base loses nothing against itself
            probability = float(keeps(name, value, limit))
        elif value is not None and sd:
            room = value - limit if is_lower(name) else limit - value
            probability = share_of_draws(0.5 * (1 + math.erf(room / sd / math.sqrt(2))))
        shown = None if value is None or name in MEASURED else rounded(value)
        result.append(
            SatisfiedConstraint(constraint=name, limit=limit, value=shown, probability=probability)
        )
    return tuple(result)


def _deviation(
    among: Sequence[ConfigurationResults], index: int, lost: Mapping[str, Estimate], name: str
) -> float | None:
    """Standard deviation of the value that a constraint bounds; ``None`` where exact or not known."""
    kind, _, of = name.partition(".")
    if kind == "forgetting" and of in lost and (high := lost[of].high) is not None:
        return (high - lost[of].value) / Z
    return quality_deviation(among, index, name) if of_quality(name) else None


def quality_deviation(among: Sequence[ConfigurationResults], index: int, name: str) -> float | None:
    """Standard deviation, over rows and seeds, of the mean of what *name* bounds of *among*'s *index*.

    *name*: a bound on quality. ``None`` where no standard error is known.
    """
    each = among[index]
    found = [_row_error(run, name, each.measures) for run in each.runs]
    errors = [error for error in found if error is not None]
    if not errors:
        return None
    runs = [[run_value(run, name, c.measures) for run in c.runs] for c in among if not c.untouched]
    between = pooled_sd([v for v in values if v is not None] for values in runs) or 0.0
    return float(np.hypot(max(errors), between / np.sqrt(len(errors))))


def judge(
    among: Sequence[ConfigurationResults],
    quality: NDArray[np.float64],
    constraints: Mapping[str, float],
) -> Verdict:
    """Check every configuration against every constraint; an unmeasured value breaks it.

    *quality* (C,) says which of the rejected ones was the best.
    """
    admitted = np.ones(len(among), dtype=bool)
    rejected = []
    for name, limit in sorted(constraints.items()):
        values = [value_of(results, name) for results in among]
        broken = [i for i, v in enumerate(values) if v is None or not keeps(name, v, limit)]
        if not broken:
            continue
        admitted[broken] = False
        best = max(broken, key=lambda i: (quality[i], -i))
        value = None if name in MEASURED else values[best]
        near = None if name in MEASURED else _nearest(name, values, broken)
        rejected.append(
            Rejection(
                constraint=name,
                limit=limit,
                count=len(broken),
                unmeasured=sum(values[i] is None for i in broken),
                best=among[best].label,
                best_quality=rounded(float(quality[best])),
                best_value=None if value is None else rounded(value),
                nearest=None if near is None else among[near[0]].label,
                nearest_value=None if near is None else rounded(near[1]),
            )
        )
    return Verdict(tuple(np.flatnonzero(admitted).tolist()), tuple(rejected))


def _nearest(
    name: str, values: Sequence[float | None], broken: Iterable[int]
) -> tuple[int, float] | None:
    """Index and value of the one of *broken* whose value is nearest to the bound *name*, if any has one."""
    known = [(i, value) for i in broken if (value := values[i]) is not None]
    side = -1 if is_lower(name) else 1
    return min(known, key=lambda item: (side * item[1], item[0]), default=None)


def split_scored(
    results: Sequence[ConfigurationResults], weights: Mapping[str, float]
) -> tuple[list[ConfigurationResults], list[Rejection]]:
    """Results with a score for every weighted task, and per task the rejection of the others."""
    rejected = []
    for task in weights:
        lacking = [result for result in results if not result.scores(task)]
        if lacking:
            rejected.append(
                Rejection(constraint=f"score.{task}", count=len(lacking), unmeasured=len(lacking))
            )
    return [c for c in results if all(c.scores(task) for task in weights)], rejected
