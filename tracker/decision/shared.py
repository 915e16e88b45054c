"""What several questions about one set of trials have in common, worked out once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd
from cachetools import LRUCache

from tracker.configurations import Cell, group
from tracker.decision.posterior import Posterior, believe
from tracker.laws.curves import CurveFits, fit_table
from tracker.metrics import Measure
from tracker.results import results_table
from tracker.trial import TrialRecord

_Made = TypeVar("_Made")
#: What is kept of weights asked for last.
_KEPT = 4


class Shared:
    """What all questions about *records* have in common: grouped, believed and fitted once.

    Another bound needs neither again, other weights no new laws; thread-safe. *table*: gives their
    table, where that is kept elsewhere.
    """

    def __init__(
        self, records: Sequence[TrialRecord], table: Callable[[], pd.DataFrame] | None = None
    ) -> None:
        # The same rows in the same order however the records came.
        self.records = tuple(sorted(records, key=lambda r: (r.result.spec.key, r.number)))
        self._given = tuple(records)
        self._table = table
        self._lock = threading.RLock()
        self._beliefs: LRUCache[Hashable, Any] = LRUCache(_KEPT)
        self._fits: LRUCache[Hashable, Any] = LRUCache(_KEPT)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The complete configurations; raises NotEnoughDataError where there is none."""
        return tuple(group(self._given))

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per trial × task (:mod:`tracker.results`)."""
        return results_table(self.records) if self._table is None else self._table()

    def belief(self, cells: Sequence[Cell], weights: dict[str, float]) -> Posterior:
        """What is believed of *cells*, those with a score for each of *weights*."""
        key = tuple(weights.items())
        return self._once(self._beliefs, key, lambda: believe(cells, weights))

    def all_fits(self, measure: Measure) -> CurveFits:
        """The laws of every task, of *measure*."""
        return self._once(self._fits, measure, lambda: fit_table(self.table, measure))

    def fits(self, measures: Mapping[str, Measure]) -> CurveFits:
        """The laws of the tasks of *measures*, each on what it is decided on."""
        both = CurveFits({}, {})
        for measure in dict.fromkeys(measures.values()):
            found = self.all_fits(measure)
            both.laws.update(
                {k: v for k, v in found.laws.items() if measures.get(k.task) == measure}
            )
            both.refused.update(
                {k: v for k, v in found.refused.items() if measures.get(k.task) == measure}
            )
        return both

    def _once(
        self, kept: LRUCache[Hashable, Any], key: Hashable, build: Callable[[], _Made]
    ) -> _Made:
        with self._lock:
            if key not in kept:
                kept[key] = build()
            found: _Made = kept[key]
            return found
