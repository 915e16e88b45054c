"""Retention of tuned models: the models of the best configurations are kept, so that one is recommended.

A recommendation chooses among configurations that keep every limit, and names the run of the least seed. So
configurations are ranked, those within the limits first, and of each of the best that run's model is kept.
Of large models only those are kept that are cheaper than every better one: the choice takes the cheapest of
those that lose next to nothing, so it names no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from sweeps.finetune.contract import LARGE_MODEL_BYTES
from sweeps.search.strategies.strategy import weighted_score
from tracker.constraints import keeps, value_of
from tracker.metrics import measures_of
from tracker.results import ConfigurationResults
from tracker.trial import Configuration, Objective, Status, TrialRecord, TrialResult

KEPT = 10  # configurations
_Rank = tuple[bool, float]


class _Run(NamedTuple):
    """One run of a configuration; ``values``: of what is constrained, by constraint."""

    order: tuple[bool, int, str]  # a recommendation names the first of its configuration
    key: str
    quality: float | None
    stored: int  # bytes
    cost: tuple[float, float]  # parameters of its model, and training operations
    values: dict[str, float | None]


class Retention:
    """The best configurations of a sweep so far; ended trials do not change, so each is read once."""

    def __init__(self, objective: Objective, kept: int = KEPT) -> None:
        self.objective, self.kept = objective, kept
        self._runs: dict[Configuration, dict[str, _Run]] = {}
        self._seen: set[int] = set()
        self._outdone: set[str] = set()

    def outdone(self, ended: Iterable[tuple[Configuration, TrialRecord]]) -> list[str]:
        """Keys of *ended* trials (all so far) whose models are not to be kept, each returned once."""
        for configuration, record in ended:
            if record.number not in self._seen and not configuration.untouched:
                self._seen.add(record.number)
                run = self._run(record.result)
                self._runs.setdefault(configuration, {})[run.key] = run
        ranked = sorted(self._runs.values(), key=self._rank, reverse=True)
        named = [min(runs.values(), key=lambda r: r.order) for runs in ranked[: self.kept]]
        kept = {run.key for run in named if run.stored <= LARGE_MODEL_BYTES}
        kept |= {run.key for run in _cheaper_than_better(named)}
        every = {key for runs in ranked for key in runs}
        outdone = sorted(every - kept - self._outdone)
        self._outdone |= set(outdone)
        return outdone

    def _run(self, result: TrialResult) -> _Run:
        key, complete = result.spec.key, result.status is Status.COMPLETE
        single = ConfigurationResults(key, "", (result,), measures_of([result]))
        return _Run(
            order=(not complete, result.spec.seed, key),
            key=key,
            quality=weighted_score(result, self.objective) if complete else None,
            stored=result.cost.adapter_bytes or 0,
            cost=(result.spec.model.parameters or math.inf, result.cost.flops or math.inf),
            values={name: value_of(single, name) for name in self.objective.constraints},
        )

    def _rank(self, runs: dict[str, _Run]) -> _Rank:
        """Rank of a configuration: whether its means over seeds keep the limits, then its mean quality."""
        scored = [run for run in runs.values() if run.quality is not None]
        if not scored:
            return False, float("-inf")
        quality = fmean(run.quality for run in scored if run.quality is not None)
        for name, limit in self.objective.constraints.items():
            values = [value for run in scored if (value := run.values[name]) is not None]
            if not values or not keeps(name, fmean(values), limit):
                return False, quality
        return True, quality


def _cheaper_than_better(ranked: Sequence[_Run]) -> list[_Run]:
    """Runs of *ranked*, the best first, each cheaper than all before it."""
    found: list[_Run] = []
    for run in ranked:
        if not found or run.cost < found[-1].cost:
            found.append(run)
    return found
