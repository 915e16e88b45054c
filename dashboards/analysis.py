"""The pages' Analysis of a sweep: tracker's, with the trials grid, law curves and answers, each made once.

Every answer is tracker's, so that a page and the command line cannot disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pandas as pd

from dashboards.answers import Answer, work_out
from dashboards.charts.marks import LawLine
from dashboards.charts.progress import BestSoFar, best_so_far
from dashboards.charts.scaling import law_lines
from dashboards.trials.frame import frame_with_excluded, trial_frame
from tracker.cache import SingleFlightCache
from tracker.decision.analysis import MAX_OBJECTIVES, Analysis
from tracker.decision.overrides import ObjectiveOverrides
from tracker.decision.recommendation import Recommendation
from tracker.laws.curves import CurveFits, CurveKey, Metric
from tracker.spending import Tally, tally
from tracker.store.data_profile import DataProfile
from tracker.trial import Objective, TrialRecord


class PageAnalysis(Analysis):
    """As :class:`~tracker.decision.analysis.Analysis`, with what pages show beside it.

    *data*: what its rows look like, where it was kept. *excluded*: finished trials that count for no answer.
    """

    def __init__(
        self,
        records: Sequence[TrialRecord],
        objective: Objective,
        *,
        sweep: str = "",
        notes: Sequence[str] = (),
        data: DataProfile | None = None,
        earlier: Analysis | None = None,
        excluded: Sequence[TrialRecord] = (),
    ) -> None:
        super().__init__(records, objective, sweep=sweep, notes=notes, earlier=earlier)
        self.data, self.excluded = data, tuple(excluded)
        self._answers = SingleFlightCache(MAX_OBJECTIVES)

    @classmethod
    def of(cls, analysis: Analysis) -> PageAnalysis:
        """*analysis* with what the pages draw of it; all that either works out is known to both."""
        if isinstance(analysis, cls):
            return analysis
        return analysis.cached_for_objective("pages", lambda: cls._sharing(analysis))

    @classmethod
    def _sharing(cls, analysis: Analysis) -> PageAnalysis:
        page = cls.__new__(cls)
        page.__dict__.update(analysis.__dict__)
        page.data, page.excluded, page._answers = None, (), SingleFlightCache(MAX_OBJECTIVES)
        return page

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial, newest first (:func:`dashboards.trials.frame.trial_frame`).

        Those that are excluded say why in a column ``excluded``, which is there where some are.
        """
        return self.cached_for_objective("trials", self._trials)

    def _trials(self) -> pd.DataFrame:
        if not self.excluded:
            return trial_frame(self)
        return frame_with_excluded(self, Analysis(self.excluded, self.objective))

    @property
    def listed(self) -> tuple[TrialRecord, ...]:
        """Every finished trial, also those that are excluded."""
        return (*self.records, *self.excluded)

    def _digest(self) -> str:
        reasons = "".join(f"{record.number}:{record.excluded}" for record in self.excluded)
        digest = super()._digest()
        return hashlib.sha256((digest + reasons).encode()).hexdigest()[:12] if reasons else digest

    def fits_by_task(self, metric: Metric) -> dict[str, CurveFits]:
        """The laws of every task; a metric's are fitted together, once."""
        return self.cached(("fits by task", metric), lambda: self._by_task(metric))

    def _by_task(self, metric: Metric) -> dict[str, CurveFits]:
        fits = self.all_fits(metric)
        found: dict[str, CurveFits] = {}
        for key, law in fits.laws.items():
            found.setdefault(key.task, CurveFits({}, {})).laws[key] = law
        for key, reason in fits.refused.items():
            found.setdefault(key.task, CurveFits({}, {})).refused[key] = reason
        return found

    def lines(self, metric: Metric) -> dict[CurveKey, LawLine]:
        """The laws of every task as they are drawn."""
        return self.cached(("lines", metric), lambda: law_lines(self.fits_by_task(metric), metric))

    @property
    def best(self) -> BestSoFar:
        """Quality over what it cost."""
        return self.cached_for_objective("best", lambda: best_so_far(self))

    @property
    def tally(self) -> Tally:
        """What became of its trials, and what they took."""
        return self.cached("tally", lambda: tally([*self.records, *self.excluded]))

    def answer(self, overrides: ObjectiveOverrides = ObjectiveOverrides()) -> Answer:  # noqa: B008 - frozen
        """The whole answer to *overrides*; without them, to the sweep file's question.

        Raises NotEnoughDataError where too little is known, InputError where the question is amiss.
        """
        return self._answers.get(overrides, lambda: work_out(self, overrides))

    @property
    def recommendation(self) -> Recommendation:
        """The answer to the sweep's own question; raises as :meth:`answer` does."""
        return self.answer().recommendation
