"""What a sweep's trials are expected to score before they run: a surface that stands in for training.

A draw of curves: where nothing was measured yet, from what the joint laws believe of any sweep
(:mod:`tracker.laws.prior`), else from what they make of it (:mod:`tracker.laws.surrogate`). There
is no noise between runs in it, and it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sweeps.resolve import ResolvedSweep
from sweeps.search.outcome import weighted_score
from sweeps.search.space import Values, configurations, groups
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array, log_law
from tracker.laws.prior import prior
from tracker.laws.surrogate import surrogate_forecast
from tracker.trial import Status, TrialRecord, TrialSpec

_LEAST_ERROR = 1e-3  # of a perfect score: its logarithm must exist
#: Which way each feature of a curve goes where it gets better: it falls earlier and faster, and ends
#: and lies lower.
_BETTER = np.array([-1.0, 1.0, -1.0, -1.0])


class Surface(NamedTuple):
    """``scores`` (C, V), expected of each of the design's configurations at each of ``volumes``.

    ``rows``: a configuration's row, by :func:`configuration_key`; ``measured``: on how many complete
    trials the scores rest, 0 for a draw from the prior.
    """

    rows: dict[tuple[object, ...], int]
    volumes: tuple[int, ...]
    scores: Array
    measured: int

    def score(self, spec: TrialSpec) -> float | None:
        """The expected score of a trial, in [0, 1]; ``None`` for one that is not of the design."""
        row = self.rows.get(configuration_key(spec))
        if row is None or spec.volume not in self.volumes:
            return None
        return float(self.scores[row, self.volumes.index(spec.volume)])


def drawn_surface(sweep: ResolvedSweep, draw: int) -> Surface:
    """Draw *draw* of the curves that a sweep may show: the prior's mean, moved by what each belongs to.

    Each group (a model, a method, a setting, …) has one normal advantage, in units of the prior's scatter
    of curves, less for a kind that the prior holds more tightly than a curve. Of models the larger have
    the larger advantages, of settings those nearer to the middle of their method's learning rates: what
    fine-tunes mostly show.
    """
    design, known = configurations(sweep.spec), prior("score")
    kinds = [groups(sweep, values) for values in design]
    sizes = np.log([sweep.models[values["model"]].parameters or 1 for values in design])
    features = known.mean[0] + np.outer(sizes - sizes.mean(), known.mean[1])
    scatter, random = np.sqrt(np.diag(known.cov)), np.random.default_rng(draw)
    promise = {"model": sizes, "setting": -_from_the_middle(design)}
    for kind in kinds[0]:
        names = [kind_of[kind] for kind_of in kinds]
        advantages = _advantages(names, random, promise.get(kind))
        step = _BETTER * scatter / np.sqrt(max(known.hold.get(kind, 1.0), 1.0))
        features = features + np.outer(advantages, step)
    errors = np.exp(log_law(features, np.array(sweep.spec.volumes, dtype=float)))
    return Surface(_rows(sweep), sweep.spec.volumes, np.clip(1 - errors, 0.0, 1.0), 0)


def measured_surfaces(
    sweep: ResolvedSweep, records: Sequence[TrialRecord], count: int
) -> list[Surface]:
    """*count* draws of what the joint laws believe after *records*; none while no record has a score.

    Not their mean: where little is known that makes all configurations alike, and a search of equals
    never ends.
    """
    rows, design = _rows(sweep), configurations(sweep.spec)
    runs: dict[int, list[tuple[float, float]]] = {}
    for record in sorted(records, key=lambda r: r.number):
        row, score = rows.get(configuration_key(record.result.spec)), _score(sweep, record)
        if row is not None and score is not None:
            error = max(1 - score, _LEAST_ERROR)
            runs.setdefault(row, []).append((float(record.result.spec.volume), error))
    if not runs:
        return []
    curves = []
    for row, values in enumerate(design):
        own = np.array(runs.get(row, [])).reshape(-1, 2)
        keys = tuple(f"{row}/{i}" for i in range(len(own)))
        parameters = sweep.models[values["model"]].parameters
        curves.append(CurveRuns(own[:, 0], own[:, 1], keys, groups(sweep, values), parameters))
    volumes = sweep.spec.volumes
    seen = [surrogate_forecast(curves, volume, [volume], "score").draws for volume in volumes]
    scores = np.clip(1 - np.stack(seen, axis=-1), 0.0, 1.0)  # draws, configurations, volumes
    measured = sum(len(own) for own in runs.values())
    picks = (np.arange(count) + 0.5) / count * len(scores)
    return [Surface(rows, volumes, scores[int(pick)], measured) for pick in picks]


def configuration_key(spec: TrialSpec) -> tuple[object, ...]:
    """What tells a trial's configuration from the design's others."""
    method = spec.method
    return (
        spec.model.name,
        spec.mix.name if spec.mix else None,
        method.name,
        method.variant,
        method.rank,
        method.virtual_tokens,
        method.learning_rate,
    )


def _rows(sweep: ResolvedSweep) -> dict[tuple[object, ...], int]:
    names = ("variant", "rank", "virtual_tokens", "learning_rate")
    return {
        (values["model"], values["mix"], values["method"], *(values.get(n) for n in names)): row
        for row, values in enumerate(configurations(sweep.spec))
    }


def _advantages(names: Sequence[str], random: np.random.Generator, promise: Array | None) -> Array:
    """A normal draw per distinct name, spread over *names* (C,); the larger where more is promised."""
    distinct = list(dict.fromkeys(names))
    drawn = random.standard_normal(len(distinct))
    if promise is not None:
        drawn = np.sort(drawn)
        distinct.sort(key=lambda name: float(promise[names.index(name)]))
    by_name = dict(zip(distinct, drawn.tolist(), strict=True))
    return np.array([by_name[name] for name in names])


def _from_the_middle(design: Sequence[Values]) -> Array:
    """How far, in logs, each learning rate lies from the middle of its method's (C,)."""
    rates = np.log([values["learning_rate"] for values in design])
    methods = np.array([values["method"] for values in design])
    ends = {m: rates[methods == m] for m in set(methods.tolist())}
    return np.array(
        [abs(r - (ends[m].min() + ends[m].max()) / 2) for r, m in zip(rates, methods, strict=True)]
    )


def _score(sweep: ResolvedSweep, record: TrialRecord) -> float | None:
    if record.result.status is not Status.COMPLETE or record.stage == "baseline":
        return None
    return weighted_score(record.result, sweep.spec.objective)
