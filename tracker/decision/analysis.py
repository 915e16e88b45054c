"""Analysis of a sweep: its results and everything derived from them, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import pandas as pd

from tracker.cache import SingleFlightCache
from tracker.constraints import Rejection, Verdict, check_names, judge, split_scored
from tracker.decision.mix_effects import Effect, effects
from tracker.decision.mix_points import MixPoints, MixTable, mix_table
from tracker.decision.pareto import pareto_front
from tracker.decision.posterior import Posterior, posterior_of
from tracker.decision.recommendation import Candidate
from tracker.errors import NotEnoughDataError
from tracker.laws.auxiliary import AuxiliaryLaws, forgetting_laws, mix_laws
from tracker.laws.curves import CurveFits, CurveKey, fit_table, fit_unmeasured_models
from tracker.laws.fitted_law import FittedLaw
from tracker.laws.pooling import Array
from tracker.metrics import Estimate, Measure, measures_of, rounded, score_of, task_weights
from tracker.results import (
    ConfigurationResults,
    by_configuration,
    extended_table,
    forgetting,
    quality_table,
    results_table,
)
from tracker.trial import Objective, TrialRecord

_Made = TypeVar("_Made")
#: Objectives whose results are cached; one more drops that unused for longest.
MAX_OBJECTIVES = 16
#: Sets of weights whose posteriors are cached: one takes megabytes.
_MAX_POSTERIORS = 4


class SweepResults(Protocol):
    """What an Analysis reads of a sweep; the tracking store has it."""

    def records(self, sweep: str) -> Sequence[TrialRecord]:
        """Its finished trials."""
        ...

    def objective(self, sweep: str) -> Objective:
        """The objective of its file, resolved."""
        ...

    def notes(self, sweep: str) -> Sequence[str]:
        """What a reader of its answers must know."""
        ...


class Analysis:
    """Analysis of a sweep's records under one objective: table, laws, posterior, verdict; thread-safe.

    Each result is worked out at its first use and cached. :meth:`with_objective` shares all results that do
    not depend on the objective. ``records``: by number, also those that did not complete. *notes*: on the
    sweep as a whole. *earlier*: the analysis of fewer trials of the same sweep, whose table is extended.
    """

    def __init__(
        self,
        records: Sequence[TrialRecord],
        objective: Objective,
        *,
        sweep: str = "",
        notes: Sequence[str] = (),
        earlier: Analysis | None = None,
    ) -> None:
        # The same rows in the same order however the records came.
        self.records = tuple(sorted(records, key=lambda r: (r.number, r.result.spec.key)))
        self.objective, self.sweep, self.notes = objective, sweep, tuple(notes)
        self._earlier = earlier._made_table() if earlier else None
        self._of_objective, self._shared = SingleFlightCache(), SingleFlightCache()
        self._posteriors = SingleFlightCache(_MAX_POSTERIORS)
        self._questions = SingleFlightCache(MAX_OBJECTIVES)

    @classmethod
    def of_sweep(
        cls, results: SweepResults, sweep: str, objective: Objective | None = None, **more: Any
    ) -> Self:
        """Read the analysis of *sweep*, under *objective* or its own; *more* goes to the constructor."""
        objective = objective or results.objective(sweep)
        return cls(
            results.records(sweep), objective, sweep=sweep, notes=results.notes(sweep), **more
        )

    def with_objective(self, objective: Objective) -> Self:
        """Analysis of the same records under another objective."""
        if objective == self.objective:
            return self
        return self._questions.get(objective.model_dump_json(), lambda: self._with(objective))

    def _with(self, objective: Objective) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.objective, other._of_objective = objective, SingleFlightCache()
        return other

    def cached(self, key: Hashable, build: Callable[[], _Made]) -> _Made:
        """Result of *build* from the records alone, cached under *key* for every objective."""
        return self._shared.get(key, build)

    def cached_for_objective(self, key: Hashable, build: Callable[[], _Made]) -> _Made:
        """Result of *build* under this objective, cached under *key*."""
        return self._of_objective.get(key, build)

    @property
    def version(self) -> str:
        """Digest that changes when a trial has ended, or the objective or notes have changed."""
        return self.cached_for_objective("version", self._digest)

    def _digest(self) -> str:
        ended = ",".join(f"{r.number}:{r.result.status}:{r.result.ended_at}" for r in self.records)
        question = self.objective.model_dump_json() + "".join(self.notes)
        return hashlib.sha256((ended + question).encode()).hexdigest()[:12]

    # -- of the records alone --------------------------------------------------------------------

    @property
    def table(self) -> pd.DataFrame:
        """Results table, one row per trial and task (:mod:`tracker.results`)."""
        return self.cached("table", self._make_table)

    def _make_table(self) -> pd.DataFrame:
        earlier, self._earlier = self._earlier, None
        return extended_table(*earlier, self.records) if earlier else results_table(self.records)

    def _made_table(self) -> tuple[pd.DataFrame, tuple[TrialRecord, ...]] | None:
        table = self._shared.peek("table")
        return None if table is None else (table, self.records)

    @property
    def configurations(self) -> tuple[ConfigurationResults, ...]:
        """Complete trials by configuration; raises NotEnoughDataError where there is none."""
        return self.cached("configurations", lambda: tuple(by_configuration(self.records)))

    @property
    def measures(self) -> dict[str, Measure]:
        """Measure on which each task is decided."""
        return self.cached("measures", lambda: measures_of(r.result for r in self.records))

    def all_fits(self, measure: Measure) -> CurveFits:
        """Laws of every task for *measure*."""
        return self.cached(("fits", measure), lambda: fit_table(self.table, measure))

    def fits_of(self, measures: Mapping[str, Measure]) -> CurveFits:
        """Laws of the tasks of *measures*, each for its measure."""
        both = CurveFits({}, {})
        for measure in dict.fromkeys(measures.values()):
            fits = self.all_fits(measure)
            both.laws.update(
                {k: v for k, v in fits.laws.items() if measures.get(k.task) == measure}
            )
            both.refused.update(
                {k: v for k, v in fits.refused.items() if measures.get(k.task) == measure}
            )
        return both

    def size_laws(
        self, metric: Measure, models: Mapping[str, int]
    ) -> dict[tuple[str, str], dict[CurveKey, FittedLaw]]:
        """Joint laws for unmeasured *models*, name → parameters, by task and mix.

        Those of every task and mix at once, since most of the work is shared.
        """
        key = ("sizes", metric, tuple(models.items()))
        return self.cached(key, lambda: self._size_laws(metric, models))

    def _size_laws(
        self, metric: Measure, models: Mapping[str, int]
    ) -> dict[tuple[str, str], dict[CurveKey, FittedLaw]]:
        by_place: dict[tuple[str, str], dict[CurveKey, FittedLaw]] = {}
        for key, law in fit_unmeasured_models(self.table, metric, models).items():
            by_place.setdefault((key.task, key.mix), {})[key] = law
        return by_place

    @property
    def mixes(self) -> MixTable:
        """Runs by model, method and mix, with the noise between seeds."""
        return self.cached("mixes", lambda: mix_table(self.table, self.records))

    def mix_points(self, model: str, method: str) -> MixPoints:
        """Measurements of *model* under *method* (with its variant) in each mix."""
        return self.cached(("mix points", model, method), lambda: self.mixes.points(model, method))

    def mix_effects(self, model: str, method: str) -> tuple[Effect, ...]:
        """Effects of one task's data on another, from pairs of mixes."""
        key = ("mix effects", model, method)
        return self.cached(key, lambda: effects(self.mix_points(model, method)))

    # -- under the objective ---------------------------------------------------------------------

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the objective, normalised to sum 1 and without zeros; raises InputError."""
        return self.cached_for_objective("weights", self._weights)

    def _weights(self) -> dict[str, float]:
        tasks = {task for results in self.configurations for task in results.tasks}
        return task_weights(self.objective, tasks)

    @property
    def trial_quality(self) -> pd.DataFrame:
        """Weighted quality of each complete trial (:func:`tracker.results.quality_table`)."""
        weights = self.objective.weights
        return self.cached_for_objective(
            "trial quality", lambda: quality_table(self.table, weights, self.measures)
        )

    @property
    def weighted_measures(self) -> dict[str, Measure]:
        """Measure on which each weighted task is decided."""
        return {task: self.measures.get(task, "score") for task in self.weights}

    @property
    def scores_alone(self) -> bool:
        """Whether every weighted task is decided on a score, so that a quality is a share."""
        weighted = (task for task, weight in self.objective.weights.items() if weight > 0)
        return all(self.measures.get(task, "score") == "score" for task in weighted)

    @property
    def scored(self) -> tuple[ConfigurationResults, ...]:
        """Configurations with a score for every weighted task, smallest model first.

        Candidates, posterior and indices follow this order. Raises InputError for a task or constraint
        that no trial has, NotEnoughDataError where no configuration has all scores.
        """
        return self._split[0]

    @property
    def _split(self) -> tuple[tuple[ConfigurationResults, ...], tuple[Rejection, ...]]:
        return self.cached_for_objective("scored", self._split_scored)

    def _split_scored(self) -> tuple[tuple[ConfigurationResults, ...], tuple[Rejection, ...]]:
        configurations, weights = self.configurations, self.weights
        check_names(self.objective.constraints, configurations)
        scored, unscored = split_scored(configurations, weights)
        if not scored:
            raise NotEnoughDataError(
                f"none of {len(configurations)} configurations has a score for every weighted task "
                f"({', '.join(weights)}): evaluate those tasks, or give them no weight"
            )
        return tuple(scored), tuple(unscored)

    @property
    def posterior(self) -> Posterior:
        """Joint posterior of the qualities of the scored configurations."""
        weights, scored = self.weights, self.scored
        return self._posteriors.get(tuple(weights.items()), lambda: posterior_of(scored, weights))

    @property
    def fits(self) -> CurveFits:
        """Laws of the weighted tasks; the posterior does not use them."""
        return self.cached_for_objective("fits", lambda: self.fits_of(self.weighted_measures))

    @property
    def verdict(self) -> Verdict:
        """Verdict of the constraints: the admitted configurations, and what each constraint rejected."""
        return self.cached_for_objective(
            "verdict", lambda: judge(self.scored, self.posterior.mean, self.objective.constraints)
        )

    @property
    def admitted(self) -> tuple[int, ...]:
        """Indices of the configurations that keep every constraint."""
        return self.verdict.admitted

    @property
    def rejected(self) -> tuple[Rejection, ...]:
        """Rejections by missing scores and by each constraint."""
        return (*self._split[1], *self.verdict.rejected)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Scored configurations as candidates of a recommendation."""
        return self.cached_for_objective(
            "candidates", lambda: _candidates(self.scored, self.posterior, self.weights)
        )

    @property
    def forgetting_laws(self) -> AuxiliaryLaws:
        """Forgetting laws, without the other auxiliary laws."""
        return self.cached_for_objective(
            "forgetting", lambda: forgetting_laws(self.records, self.objective)
        )

    def mix_laws(self, model: str, method: str) -> AuxiliaryLaws:
        """Mix laws of *model* under *method*, without the other auxiliary laws."""
        return self.cached_for_objective(
            ("mix laws", model, method),
            lambda: mix_laws(self.records, self.objective, model, method),
        )

    def cost_order(self, index: int) -> tuple[float, ...]:
        """Sort key by counted cost: smallest model, then fewest training operations, tokens, examples.

        Unknown costs come last.
        """
        candidate = self.candidates[index]
        cost = candidate.counted
        counts = (cost.parameters, cost.flops, cost.train_tokens)
        ordered = (np.inf if count is None else count for count in counts)
        return (*ordered, candidate.volume, index)


def _candidates(
    scored: Sequence[ConfigurationResults], posterior: Posterior, weights: Mapping[str, float]
) -> tuple[Candidate, ...]:
    forgotten = forgetting(scored)
    candidates = [
        _candidate(each, posterior, i, forgotten[i]).model_copy(update={"rows": each.rows(weights)})
        for i, each in enumerate(scored)
    ]
    front = pareto_front(_losses(candidates))
    return tuple(
        c.model_copy(update={"on_frontier": bool(member) if compared else None})
        for c, member, compared in zip(candidates, front.member, front.compared, strict=True)
    )


def _candidate(
    results: ConfigurationResults, posterior: Posterior, index: int, lost: dict[str, Estimate]
) -> Candidate:
    def means(quantity: str) -> dict[str, float]:
        values = {
            t: results.mean(lambda run, t=t: getattr(score_of(run, t), quantity, None))  # type: ignore[misc]
            for t in results.tasks
        }
        return {t: rounded(value) for t, value in values.items() if value is not None}

    configuration = results.configuration
    return Candidate(
        label=results.label,
        keys=tuple(run.spec.key for run in results.runs),
        seeds=tuple(run.spec.seed for run in results.runs),
        model=configuration.model,
        method=configuration.method,
        mix=configuration.mix,
        volume=results.spec.volume,
        examples=results.spec.examples,
        scores=means("score"),
        quality=posterior.quality(index),
        measured_quality=rounded(float(posterior.measured[index])),
        forgetting=lost,
        valid_format=means("valid_format"),
        over_reach=means("over_reach"),
        counted=results.counted,
        measured=results.measured,
    )


def _losses(candidates: Sequence[Candidate]) -> Array:
    """Losses of the Pareto front: -quality, worst forgetting over suites, training operations.

    NaN where not measured. Without any measured forgetting that dimension is left out.
    """
    suites = sorted({suite for c in candidates for suite in c.forgetting})
    rows = []
    for c in candidates:
        worst = [c.forgetting[s].value if s in c.forgetting else np.nan for s in suites]
        flops = np.nan if c.counted.flops is None else c.counted.flops
        rows.append([-c.quality.value, *([float(np.max(worst))] if suites else []), flops])
    return np.array(rows, dtype=float)
