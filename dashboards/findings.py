"""What one set of trials says: table, laws, recommendation, YAML; each worked out once, when asked.

Nothing here is the dashboard's own opinion: every answer is tracker's, so that a page and the command
line cannot disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pandas as pd

from dashboards.answers import Answer, work_out
from dashboards.cache import SingleFlightCache
from dashboards.charts.forecast import Tally, tally
from dashboards.charts.progress import BestSoFar, best_so_far
from dashboards.charts.scaling import Line, lines_of
from dashboards.trials.frame import trial_frame
from tracker.decision.analysis import Analysis
from tracker.decision.mix_effects import Effect, effects
from tracker.decision.mix_points import MixPoints, MixTable, mix_table
from tracker.decision.question import Asked
from tracker.decision.recommendation import Candidate, Recommendation
from tracker.laws.auxiliary import AuxiliaryLaws, forgetting_laws, mix_laws
from tracker.laws.curves import CurveFits, CurveKey, Metric, fit_sizes
from tracker.laws.fitted_law import FittedLaw
from tracker.metrics import Measure, measures_of
from tracker.results import extended_table, results_table
from tracker.store.data_profile import DataProfile
from tracker.trial import Objective, TrialRecord

#: Questions whose answers are kept; a further one drops that unused for longest.
MAX_QUESTIONS = 16


class Findings:
    """The answers for *sweep*; thread-safe, and frozen once made: new trials mean a new object."""

    def __init__(
        self,
        sweep: str,
        records: Sequence[TrialRecord],
        objective: Objective,
        notes: Sequence[str] = (),
        data: DataProfile | None = None,
        earlier: Findings | None = None,
    ) -> None:
        self.sweep = sweep
        self.records = tuple(records)
        self.objective = objective
        self.notes = tuple(notes)
        self.data = data  # what its rows look like, where the sweep kept it
        ended = ",".join(f"{r.number}:{r.result.status}:{r.result.ended_at}" for r in self.records)
        asked = objective.model_dump_json() + "".join(self.notes)
        self.version = hashlib.sha256((ended + asked).encode()).hexdigest()[:12]
        # What went before spares making every row of the table again.
        self._earlier = earlier.made_table() if earlier else None
        self._made = SingleFlightCache()
        self._answers = SingleFlightCache(MAX_QUESTIONS)

    @property
    def table(self) -> pd.DataFrame:
        """One row per trial × task (:mod:`tracker.results`)."""
        return self._made.get("table", self._make_table)

    def made_table(self) -> tuple[pd.DataFrame, tuple[TrialRecord, ...]] | None:
        """The table and its records, where it was asked for already."""
        table = self._made.peek("table")
        return None if table is None else (table, self.records)

    def _make_table(self) -> pd.DataFrame:
        earlier, self._earlier = self._earlier, None
        return extended_table(*earlier, self.records) if earlier else results_table(self.records)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial, newest first (:func:`dashboards.trials.frame.trial_frame`)."""
        return self._made.get("trials", lambda: trial_frame(self.table, self.weights))

    @property
    def weights(self) -> dict[str, float]:
        """The objective's task weights."""
        return dict(self.objective.weights)

    def fits(self, task: str, metric: Metric) -> CurveFits:
        """The laws of every curve of *task*."""
        return self.all_fits(metric).get(task, CurveFits({}, {}))

    def all_fits(self, metric: Metric) -> dict[str, CurveFits]:
        """The laws of every task; a metric's are fitted together, once."""
        return self._made.get(metric, lambda: self._fit(metric))

    def lines(self, metric: Metric) -> dict[CurveKey, Line]:
        """The laws of every task as they are drawn."""
        return self._made.get(("lines", metric), lambda: lines_of(self.all_fits(metric), metric))

    @property
    def analysis(self) -> Analysis:
        """What all questions about these trials have in common."""
        return self._made.get("analysis", self._analysed)

    def _analysed(self) -> Analysis:
        return Analysis(self.records, self.objective, sweep=self.sweep, notes=self.notes)

    def _fit(self, metric: Metric) -> dict[str, CurveFits]:
        fits = self.analysis.all_fits(metric)
        found: dict[str, CurveFits] = {}
        for key, law in fits.laws.items():
            found.setdefault(key.task, CurveFits({}, {})).laws[key] = law
        for key, reason in fits.refused.items():
            found.setdefault(key.task, CurveFits({}, {})).refused[key] = reason
        return found

    def size_laws(
        self, task: str, metric: Metric, mix: str, models: Mapping[str, int]
    ) -> dict[CurveKey, FittedLaw]:
        """The joint laws of *task* under *mix* for *models* that nobody ran, name → parameters."""
        return self.all_size_laws(metric, models).get((task, mix), {})

    def all_size_laws(
        self, metric: Metric, models: Mapping[str, int]
    ) -> dict[tuple[str, str], dict[CurveKey, FittedLaw]]:
        """Those of every task and mix: whoever looks at one looks at the next, and most work is shared."""
        return self._made.get(
            ("sizes", metric, tuple(models.items())), lambda: self._fit_sizes(metric, models)
        )

    def _fit_sizes(
        self, metric: Metric, models: Mapping[str, int]
    ) -> dict[tuple[str, str], dict[CurveKey, FittedLaw]]:
        found: dict[tuple[str, str], dict[CurveKey, FittedLaw]] = {}
        for key, law in fit_sizes(self.table, metric, models).items():
            found.setdefault((key.task, key.mix), {})[key] = law
        return found

    @property
    def forgetting(self) -> AuxiliaryLaws:
        """The laws of what tuning forgets; of the other further laws none."""
        return self._made.get("forgetting", lambda: forgetting_laws(self.records, self.objective))

    @property
    def mixes(self) -> MixTable:
        """Every run by model, method and mix, with the noise between seeds."""
        return self._made.get("mixes", lambda: mix_table(self.table, self.records))

    def mix_points(self, model: str, method: str) -> MixPoints:
        """What *model* measured under *method* (with its variant) in each mix."""
        return self._made.get(
            ("mix points", model, method), lambda: self.mixes.points(model, method)
        )

    def mix_effects(self, model: str, method: str) -> tuple[Effect, ...]:
        """What its pairs of mixes tell of one task's data to another."""
        return self._made.get(
            ("mix effects", model, method), lambda: effects(self.mix_points(model, method))
        )

    def mix_laws(self, model: str, method: str) -> AuxiliaryLaws:
        """The laws of what other tasks' examples are worth; of the other further laws none."""
        return self._made.get(
            ("mix laws", model, method),
            lambda: mix_laws(self.records, self.objective, model, method),
        )

    @property
    def best(self) -> BestSoFar:
        """Quality over what it cost."""
        return self._made.get("best", lambda: best_so_far(self.table, self.weights))

    @property
    def tally(self) -> Tally:
        """What became of its trials, and what they took."""
        return self._made.get("tally", lambda: tally([r.result for r in self.records]))

    @property
    def measures(self) -> dict[str, Measure]:
        """What each task is decided on."""
        return self._made.get(
            "measures", lambda: measures_of(record.result for record in self.records)
        )

    def answer(self, asked: Asked = Asked()) -> Answer:  # noqa: B008 - frozen
        """The whole answer to *asked*; without it, to the sweep's own question.

        Raises NotEnoughDataError where too little is known, InputError where the question is amiss.
        """
        known = self.analysis
        return self._answers.get(asked, lambda: work_out(known, asked))

    @property
    def recommendation(self) -> Recommendation:
        """The answer to the sweep's own question; raises as :meth:`answer` does."""
        return self.answer().recommendation

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All configurations the recommendation was chosen from; raises as it does."""
        return self.answer().candidates
