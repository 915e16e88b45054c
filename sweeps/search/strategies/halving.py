"""Successive halving: all configurations on little data, the best of them on ever more.

Jamieson and Talwalkar, AISTATS 2016 (arXiv 1502.07943), with training examples as the resource. A
promoted configuration is trained anew: a run whose schedule has finished cannot be continued.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from sweeps.search.space import volume_near
from sweeps.search.strategies.strategy import (
    Outcome,
    Proposal,
    Strategy,
    best_measured,
    rank,
    scored,
)
from tracker.trial import Configuration


class Rung(NamedTuple):
    """A rung: ``size`` trials at ``volume``, numbered from ``first``."""

    volume: int
    size: int
    first: int

    @property
    def end(self) -> int:
        """Number after that of its last trial."""
        return self.first + self.size


class Halving(Strategy):
    """Successive halving: from each rung the best ``1/factor`` go on with ``factor`` times the data.

    ``search.halving.start`` is the first rung's volume; by default the one from which the last survivor
    just reaches the largest.
    """

    skips = False  # a rung that is not whole says nothing of who goes on
    observes_kept = False  # for the same reason: rungs are those of the present file

    @cached_property
    def _configurations(self) -> list[Configuration]:
        return self.bounds.curves

    @cached_property
    def _volumes(self) -> tuple[int, ...]:
        """Training-set sizes of the sweep at which any configuration may run."""
        among, may = self._configurations, self.bounds.rules_out
        volumes = self.spec.volumes
        found = (v for v in volumes if any(may(c._replace(volume=v)) is None for c in among))
        return tuple(found) or volumes

    @cached_property
    def rungs(self) -> list[Rung]:
        """All rungs; the last is at the largest training-set size or has one survivor."""
        factor, volumes = self.spec.search.halving.factor, self._volumes
        count = len(self._configurations)
        volume = self.spec.search.halving.start or self._start()
        rungs = [Rung(volume, count, len(self.bases))]
        while count > 1 and volume < volumes[-1]:
            larger = tuple(v for v in volumes if v > volume)
            volume = volume_near(larger, volume * factor)
            count = math.ceil(count / factor)
            rungs.append(Rung(volume, count, rungs[-1].end))
        return rungs

    def _start(self) -> int:
        factor, volumes = self.spec.search.halving.factor, self._volumes
        count, volume = len(self._configurations), volumes[-1]
        while count > 1 and volume > volumes[0]:
            smaller = tuple(v for v in volumes if v < volume)
            volume = volume_near(smaller, volume / factor)
            count = math.ceil(count / factor)
        return volume

    @property
    def planned(self) -> int:
        whole = self.rungs[-1].end
        return min(whole, self.limit) if self.limit else whole

    def needs(self, number: int) -> int:
        decided = max((r.first for r in self.rungs[1:] if r.first <= number), default=0)
        return max(decided, self._windowed(number))

    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        if number >= self.planned:
            return None
        if number < len(self.bases):
            return self._base(number)
        at = max(i for i, rung in enumerate(self.rungs) if rung.first <= number)
        rung = self.rungs[at]
        entrants = again = self._configurations
        if at:
            before = self.rungs[at - 1]
            through = observed[before.first : before.end]
            goes_on = [o for o in through if not self._is_over(o, rung.volume)]
            entrants = _best_first(goes_on)[: rung.size]
            again = [c for c in _best_first([o for o in through if not o.broken]) if c in entrants]
        place = number - rung.first
        if place < len(entrants):
            seed, entrant = 0, entrants[place]
        elif again:
            # Where fewer completed than may go on, the best of them run again with another seed.
            more, which = divmod(place - len(entrants), len(again))
            seed, entrant = 1 + more, again[which]
        else:
            return None
        volume = volume_near(self.bounds.volumes(entrant), rung.volume)
        return Proposal("halving", entrant._replace(volume=volume), seed)

    def _is_over(self, o: Outcome, volume: int) -> bool:
        """Whether a bound that outcome *o* broke forbids its configuration to run at about *volume*."""
        volumes = self.bounds.volumes(o.configuration.curve)
        return o.ends_growth or (bool(o.broken) and volume_near(volumes, volume) == o.volume)

    def choice(self, observed: Sequence[Outcome]) -> Configuration | None:
        """The best within bounds of the highest whole rung that has one; else the best so far."""
        for rung in reversed(self.rungs):
            through = observed[rung.first : rung.end]
            if len(through) == rung.size and all(outcome.ran for outcome in through):
                best = _best_first([o for o in through if not o.broken and not o.missed])
                if best:
                    return best[0]
        return best_measured(observed)


def _best_first(outcomes: Sequence[Outcome]) -> list[Configuration]:
    """Configurations of a rung's complete trials, best first; those that broke a bound come last."""
    ranked = sorted(scored(outcomes), key=lambda o: (bool(o.broken), *rank(o)))
    return list(dict.fromkeys(outcome.configuration.curve for outcome in ranked))
