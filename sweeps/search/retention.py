"""Retention of tuned models: those that a recommendation may name are worth their disk.

A recommendation chooses among configurations that keep every limit, and names the run of the least seed. So
configurations are ranked, those within the limits first, and of each leader that run's model is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

from sweeps.search.strategies.strategy import weighted_score
from tracker.constraints import keeps, value_of
from tracker.metrics import measures_of
from tracker.results import ConfigurationResults
from tracker.trial import Configuration, Objective, Status, TrialRecord, TrialResult

KEPT = 10
_Rank = tuple[bool, float]


class _Run(NamedTuple):
    """``values``: by constraint."""

    order: tuple[bool, int, str]  # the first of a configuration is the one that is named
    key: str
    quality: float | None
    values: dict[str, float | None]


class Retention:
    """Of one sweep; ended trials do not change, so each is looked at once."""

    def __init__(self, objective: Objective, kept: int = KEPT) -> None:
        self.objective, self.kept = objective, kept
        self._runs: dict[Configuration, dict[str, _Run]] = {}
        self._seen: set[int] = set()
        self._named: set[str] = set()

    def outdone(self, ended: Iterable[tuple[Configuration, TrialRecord]]) -> list[str]:
        """Keys of *ended* trials, all so far, that are no leaders' and were not named before."""
        for configuration, record in ended:
            if record.number not in self._seen and not configuration.untouched:
                self._seen.add(record.number)
                run = self._run(record.result)
                self._runs.setdefault(configuration, {})[run.key] = run
        ranked = sorted(self._runs.values(), key=self._rank, reverse=True)
        leading = {min(runs.values(), key=lambda r: r.order).key for runs in ranked[: self.kept]}
        every = {key for runs in ranked for key in runs}
        found = sorted(every - leading - self._named)
        self._named |= set(found)
        return found

    def _run(self, result: TrialResult) -> _Run:
        key, complete = result.spec.key, result.status is Status.COMPLETE
        cell = ConfigurationResults(key, "", (result,), measures_of([result]))
        return _Run(
            order=(not complete, result.spec.seed, key),
            key=key,
            quality=weighted_score(result, self.objective) if complete else None,
            values={name: value_of(cell, name) for name in self.objective.constraints},
        )

    def _rank(self, runs: dict[str, _Run]) -> _Rank:
        """Whether it keeps the limits, as means over its seeds, then its mean quality."""
        known = [run for run in runs.values() if run.quality is not None]
        if not known:
            return False, float("-inf")
        quality = fmean(run.quality for run in known if run.quality is not None)
        for name, limit in self.objective.constraints.items():
            values = [value for run in known if (value := run.values[name]) is not None]
            if not values or not keeps(name, fmean(values), limit):
                return False, quality
        return True, quality
