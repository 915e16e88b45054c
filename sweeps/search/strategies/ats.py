"""Accept-then-Stop (ATS): every configuration on growing training sets, then a straight line in log-log.

Lin et al., "Selecting Large Language Model to Fine-tune via Rectified Scaling Law" (ICML 2024,
arXiv 2402.02314): from the largest volume down, a point is accepted while it lies within five standard
deviations of a line through those accepted, so that the flat beginning of a curve stays out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sweeps.search.strategies.strategy import (
    BrokenBounds,
    Outcome,
    Proposal,
    Strategy,
    best_measured,
    perfect_quality_of,
    within_bounds,
)
from tracker.trial import Configuration

_FIRST = 3  # points that the line starts from
_DEVIATIONS = 5.0
_LEAST_ERROR = 1e-3  # of a score that is perfect: its logarithm must exist


class Line(NamedTuple):
    """Power law ``log L = intercept + slope · log D``, through the ``accepted`` largest volumes."""

    slope: float
    intercept: float
    accepted: int

    def at(self, volume: float) -> float:
        """Loss at *volume* examples."""
        return math.exp(self.intercept + self.slope * math.log(volume))


def accept_then_stop(volumes: Sequence[float], losses: Sequence[float]) -> Line:
    """Fit the power-law end of one curve; at least two points, all numbers above 0.

    The standard deviation is that of the accepted points' residuals, in log loss, about their own line.
    """
    order = np.argsort(volumes)[::-1]
    x, y = np.log(np.asarray(volumes, float))[order], np.log(np.asarray(losses, float))[order]
    accepted = min(_FIRST, len(x))
    slope, intercept = np.polyfit(x[:accepted], y[:accepted], 1)
    while accepted < len(x):
        line = intercept + slope * x
        spread = float(np.std(y[:accepted] - line[:accepted]))
        if abs(y[accepted] - line[accepted]) > _DEVIATIONS * spread:
            break
        accepted += 1
        slope, intercept = np.polyfit(x[:accepted], y[:accepted], 1)
    return Line(float(slope), float(intercept), accepted)


class Ats(Strategy):
    """Accept-then-Stop: all configurations at the smallest training-set size, then all at the next."""

    skips = False  # only lines over the same extrapolation are compared

    @cached_property
    def _levels(self) -> list[list[Configuration]]:
        """Trials of each training-set size, smallest first."""
        return [
            [
                curve._replace(volume=volume)
                for curve in self.bounds.curves
                if volume in self.bounds.volumes(curve)
            ]
            for volume in self.spec.volumes
        ]

    @cached_property
    def _trials(self) -> list[Configuration]:
        kept = {each.configuration for each in self.kept}
        return [trial for level in self._levels for trial in level if trial not in kept]

    @property
    def planned(self) -> int:
        whole = self.body_from + len(self._trials)
        return min(whole, self.limit) if self.limit else whole

    def needs(self, number: int) -> int:
        return self._windowed(number)

    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        if number >= self.planned:
            return None
        if number < self.body_from:
            return self._base(number)
        trials = self._trials
        trial = self._in_turn(
            number, observed, lambda turn: trials[turn] if turn < len(trials) else None, len(trials)
        )
        return Proposal("ats", trial) if trial else None

    def choice(self, observed: Sequence[Outcome]) -> Configuration | None:
        """The configuration with the lowest extrapolated loss at the largest training-set size.

        The best measured before three sizes. Only sizes at which all were measured count: a line's error
        grows with its extrapolation, so configurations are compared over the same one.
        """
        losses: dict[Configuration, dict[int, float]] = {}
        counted = within_bounds(self._of_whole_levels(observed))
        qualities = [o.quality for o in counted if o.quality is not None]
        perfect = perfect_quality_of(self.spec, qualities)
        for outcome, quality in zip(counted, qualities, strict=True):
            loss = max(
                perfect - quality, _LEAST_ERROR
            )  # the measured one, or a score's distance from 1
            losses.setdefault(outcome.configuration.curve, {})[outcome.volume] = loss
        expected = {
            curve: accept_then_stop(list(by_size), list(by_size.values())).at(self.spec.volumes[-1])
            for curve, by_size in losses.items()
            if len(by_size) >= _FIRST
        }
        if not expected:
            return best_measured(observed)
        return min(expected, key=lambda curve: expected[curve])

    def _of_whole_levels(self, observed: Sequence[Outcome]) -> Sequence[Outcome]:
        """Outcomes of the training-set sizes at which all ran, but for what a bound forbade."""
        ran = {o.configuration for o in observed if o.ran}
        broken, whole = BrokenBounds(observed), {0}
        for volume, level in zip(self.spec.volumes, self._levels, strict=True):
            if not all(trial in ran or broken.forbids(trial, len(observed)) for trial in level):
                break
            whole.add(volume)
        return [o for o in observed if o.volume in whole]
