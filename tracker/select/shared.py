"""What several questions about one set of trials have in common, worked out once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from tracker.record.table import results_table
from tracker.record.trial import TrialRecord
from tracker.select.belief import Belief, believe
from tracker.select.cells import Cell, group
from tracker.select.curves import CurveFits, fit_measures
from tracker.select.measure import Measure

_Made = TypeVar("_Made")
#: What is kept of weights asked for last.
_KEPT = 4


class Shared:
    """What all questions about *records* have in common: grouped, believed and fitted once.

    Another bound needs neither again, other weights no new laws; thread-safe.
    """

    def __init__(self, records: Sequence[TrialRecord]) -> None:
        # The same rows in the same order however the records came.
        self.records = tuple(sorted(records, key=lambda r: (r.result.spec.key, r.number)))
        self._given = tuple(records)
        self._lock = threading.RLock()
        self._beliefs: OrderedDict[Hashable, Any] = OrderedDict()
        self._fits: OrderedDict[Hashable, Any] = OrderedDict()

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The complete configurations; raises NotEnoughDataError where there is none."""
        return tuple(group(self._given))

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per trial × task (:mod:`tracker.record.table`)."""
        return results_table(self.records)

    def belief(self, cells: Sequence[Cell], weights: dict[str, float]) -> Belief:
        """What is believed of *cells*, those with a score for each of *weights*."""
        key = tuple(weights.items())
        return self._once(self._beliefs, key, lambda: believe(cells, weights))

    def fits(self, measures: dict[str, Measure]) -> CurveFits:
        """The laws of the tasks of *measures*."""
        key = tuple(measures.items())
        return self._once(self._fits, key, lambda: fit_measures(self.table, measures))

    def _once(
        self, kept: OrderedDict[Hashable, Any], key: Hashable, build: Callable[[], _Made]
    ) -> _Made:
        with self._lock:
            if key not in kept:
                kept[key] = build()
                while len(kept) > _KEPT:
                    kept.popitem(last=False)
            kept.move_to_end(key)
            found: _Made = kept[key]
            return found
