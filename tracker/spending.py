"""Spending of a sweep: costs, budget, and a forecast of the device time, trials and time to its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from tracker.price import Price
from tracker.trial import Status, TrialRecord, TrialResult

#: How sure an interval is meant to be.
COVERAGE = 0.8
_FEWEST = 5  # trials; fewer say too little of their spread


class ForecastInterval(NamedTuple):
    """An 80 % interval."""

    low: float
    high: float


class Spending(NamedTuple):
    """A sweep's costs so far and its limits.

    ``seconds``: device seconds of the ended trials that ran; ``ended``: how many have ended, ``planned`` how
    many there will be at most, ``None`` where the sweep does not say; ``workers`` where it is known; budgets
    as the sweep has them, ``budget_seconds`` of device time; ``clock_per_device_second``: wall-clock seconds
    that a trial takes per device second; ``price`` of device time.
    """

    seconds: tuple[float, ...]
    ended: int
    planned: int | None
    workers: int | None = None
    budget_trials: int | None = None
    budget_seconds: float | None = None
    clock_per_device_second: float = 1.0
    price: Price | None = None

    @classmethod
    def of(
        cls,
        tally: Tally,
        facts: Mapping[str, str],
        planned: int | None,
        *,
        finished: bool = False,
    ) -> Spending:
        """Spending of a sweep: its trials' *tally*, and *facts* and *planned* trials as the store has them.

        *finished*: no more is to come, so that all of what it had to run is used up.
        """
        hours, trials, workers = (
            _number(facts.get(name)) for name in ("budget_gpu_hours", "budget_trials", "workers")
        )
        return cls(
            seconds=tally.seconds,
            ended=tally.ended,
            planned=tally.ended if finished and not trials else planned,
            workers=int(workers) if workers else None,
            clock_per_device_second=tally.clock_per_device_second,
            budget_trials=int(trials) if trials else None,
            budget_seconds=hours * 3600 if hours else None,
            price=Price.of_facts(facts),
        )

    @property
    def spent(self) -> float:
        """Device seconds so far."""
        return float(sum(self.seconds))

    @property
    def left_seconds(self) -> float | None:
        """Device seconds left of the budget; ``None`` without a budget of device time."""
        return None if self.budget_seconds is None else max(0.0, self.budget_seconds - self.spent)

    @property
    def budget_share(self) -> float | None:
        """The share of the budget, or of the plan, that is used up; ``None`` without either."""
        if self.budget_seconds:
            return min(1.0, self.spent / self.budget_seconds)
        whole = self.planned or self.budget_trials  # clones come on top of a budget of trials
        return min(1.0, self.ended / whole) if whole else None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


class Forecast(NamedTuple):
    """Totals at the end of the sweep: ``device_seconds`` and ``trials``; ``clock_seconds``: from now on."""

    device_seconds: ForecastInterval
    trials: ForecastInterval
    clock_seconds: ForecastInterval | None


def forecast(spending: Spending) -> Forecast | None:
    """The forecast if the rest costs what the trials so far cost; ``None`` while it is too early to say.

    A sum of m more trials has the mean m x̄ and, since x̄ itself is an estimate from n trials, the
    variance s² (m + m²/n); its interval is Student's with n - 1 degrees of freedom. How many trials a rest
    R of device time pays for is R / x̄, with that deviation over x̄.
    """
    n, planned = len(spending.seconds), spending.planned
    if not planned or n < max(_FEWEST, planned // 10):
        return None
    mean, deviation = float(np.mean(spending.seconds)), float(np.std(spending.seconds, ddof=1))
    if mean <= 0:
        return None
    spread = float(stats.t.ppf((1 + COVERAGE) / 2, n - 1)) * deviation
    to_go = max(0, planned - spending.ended)
    left = ForecastInterval(0.0, 0.0) if not to_go else _sum(to_go, mean, spread, n)
    trials = ForecastInterval(planned, planned)
    if spending.budget_seconds is not None:
        rest = max(0.0, spending.budget_seconds - spending.spent)
        paid = _sum(rest / mean, 1.0, spread / mean, n)
        trials = ForecastInterval(*(min(planned, spending.ended + round(m)) for m in paid))
        left = ForecastInterval(min(left.low, rest), min(left.high, rest))
    pace = spending.clock_per_device_second / spending.workers if spending.workers else None
    clock = ForecastInterval(left.low * pace, left.high * pace) if pace else None
    total = ForecastInterval(spending.spent + left.low, spending.spent + left.high)
    return Forecast(total, trials, clock)


def _sum(count: float, mean: float, spread: float, n: int) -> ForecastInterval:
    """The interval of a sum of *count* more values; *n* values gave *mean*."""
    half = spread * math.sqrt(count + count**2 / n)
    return ForecastInterval(max(0.0, count * mean - half), count * mean + half)


class Tally(NamedTuple):
    """Ended trials by status, and their device time.

    ``seconds``, ``clock_per_device_second``: see :class:`Spending`. ``imported``: all measured elsewhere.
    """

    by_status: Mapping[str, int]
    seconds: tuple[float, ...]
    clock_per_device_second: float
    imported: bool

    @property
    def ended(self) -> int:
        return sum(self.by_status.values())


def tally(records: Sequence[TrialRecord]) -> Tally:
    """Tally of *records*; those that were taken over took no time of this sweep."""
    found = Counter(record.result.status for record in records)
    ran = [record.result for record in records if record.taken_over is None]
    return Tally(
        {status.value: found[status] for status in Status},
        tuple(seconds for record in records if (seconds := record.spent_seconds)),
        _clock_per_device_second(ran),
        bool(records) and all(record.result.spec.origin is not None for record in records),
    )


def _clock_per_device_second(results: Iterable[TrialResult]) -> float:
    """Wall-clock seconds per device second, over the trials that recorded both; 1 where none did."""
    clock = device = 0.0
    for result in results:
        if result.started_at and result.ended_at and result.cost.device_seconds:
            clock += result.ended_at - result.started_at
            device += result.cost.device_seconds
    return max(1.0, clock / device) if device else 1.0
