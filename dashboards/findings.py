"""What one set of trials says: table, laws, recommendation, YAML; each worked out once, when asked.

Nothing here is the dashboard's own opinion: every answer is tracker's, so that a page and the command
line cannot disagree.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tracker.export.config import config_of, write_config
from tracker.record.data_profile import DataProfile
from tracker.record.table import results_table
from tracker.record.trial import Objective, TrialRecord
from tracker.select.choice import Candidate, Recommendation
from tracker.select.curves import CurveFits, CurveKey, Metric, fit_sizes, fit_table
from tracker.select.further import FurtherLaws, forgetting_laws, mix_laws
from tracker.select.laws import FittedLaw
from tracker.select.mix_effects import Effect, effects
from tracker.select.mix_points import MixPoints, MixTable, mix_table
from tracker.select.recommend import candidates, recommend

#: The exported file's name; it stands in the file's own first lines.
FILE_NAME = "recommended.yaml"


class Findings:
    """The answers for *sweep*; thread-safe, and frozen once made: new trials mean a new object."""

    def __init__(
        self,
        sweep: str,
        records: Sequence[TrialRecord],
        objective: Objective,
        notes: Sequence[str] = (),
        data: DataProfile | None = None,
    ) -> None:
        self.sweep = sweep
        self.records = tuple(records)
        self.objective = objective
        self.notes = tuple(notes)
        self.data = data  # what its rows look like, where the sweep kept it
        ended = ",".join(f"{r.number}:{r.result.status}:{r.result.ended_at}" for r in self.records)
        asked = objective.model_dump_json() + "".join(self.notes)
        self.version = hashlib.sha256((ended + asked).encode()).hexdigest()[:12]
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.RLock] = {}
        self._known: dict[Hashable, Any] = {}

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per trial × task (:mod:`tracker.record.table`)."""
        return results_table(self.records)

    @property
    def weights(self) -> dict[str, float]:
        """The objective's task weights."""
        return dict(self.objective.weights)

    def fits(self, task: str, metric: Metric) -> CurveFits:
        """The laws of every curve of *task*."""
        return self.all_fits(metric).get(task, CurveFits({}, {}))

    def all_fits(self, metric: Metric) -> dict[str, CurveFits]:
        """The laws of every task; a metric's are fitted together, once."""
        found: dict[str, CurveFits] = self._once(metric, lambda: self._fit(metric))
        return found

    def _fit(self, metric: Metric) -> dict[str, CurveFits]:
        fits = fit_table(self.table, metric)
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
        found: dict[CurveKey, FittedLaw] = self._once(
            ("sizes", task, metric, mix, tuple(models.items())),
            lambda: fit_sizes(self.table, metric, task, models, mix),
        )
        return found

    @property
    def forgetting(self) -> FurtherLaws:
        """The laws of what tuning forgets; of the other further laws none."""
        found: FurtherLaws = self._once(
            "forgetting", lambda: forgetting_laws(self.records, self.objective)
        )
        return found

    @property
    def mixes(self) -> MixTable:
        """Every run by model, method and mix, with the noise between seeds."""
        found: MixTable = self._once("mixes", lambda: mix_table(self.table, self.records))
        return found

    def mix_points(self, model: str, method: str) -> MixPoints:
        """What *model* measured under *method* (with its variant) in each mix."""
        found: MixPoints = self._once(
            ("mix points", model, method), lambda: self.mixes.points(model, method)
        )
        return found

    def mix_effects(self, model: str, method: str) -> tuple[Effect, ...]:
        """What its pairs of mixes tell of one task's data to another."""
        found: tuple[Effect, ...] = self._once(
            ("mix effects", model, method), lambda: effects(self.mix_points(model, method))
        )
        return found

    def mix_laws(self, model: str, method: str) -> FurtherLaws:
        """The laws of what other tasks' examples are worth; of the other further laws none."""
        found: FurtherLaws = self._once(
            ("mix laws", model, method),
            lambda: mix_laws(self.records, self.objective, model, method),
        )
        return found

    @property
    def recommendation(self) -> Recommendation:
        """The answer to the sweep's own question.

        Raises NotEnoughDataError where too little is known, InputError where the objective is amiss.
        """
        found: Recommendation = self._once(
            "recommendation",
            lambda: recommend(self.records, self.objective, sweep=self.sweep, notes=self.notes),
        )
        return found

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All configurations the recommendation was chosen from; raises as it does."""
        found: tuple[Candidate, ...] = self._once(
            "candidates", lambda: candidates(self.records, self.objective)
        )
        return found

    def config_text(self) -> str:
        """The recommended configuration as YAML, the bytes of ``sft-select recommend -o FILE_NAME``.

        Raises as :attr:`recommendation` does.
        """
        found: str = self._once("config", self._write_config)
        return found

    def _write_config(self) -> str:
        config = config_of(self.recommendation, self.records)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE_NAME
            write_config(config, path)
            return path.read_bytes().decode()

    def _once(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """What *build* makes; who asks for something else does not wait for it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.RLock())
        with lock:
            if key not in self._known:
                self._known[key] = build()
            return self._known[key]
