"""Grid search: tune the learning rate, then run every design point, then repeat the best with more seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from sweeps.search.bounds import SearchBounds
from sweeps.search.space import (
    design_point,
    is_tunable,
    tuning_mix,
    tuning_volume,
)
from sweeps.search.strategies.strategy import (
    ANCHORS,
    Outcome,
    Proposal,
    Strategy,
    rank,
    repeatable,
    scored,
)
from tracker.trial import Configuration, MethodSpec


class Grid(Strategy):
    """Grid search in stages, budget permitting: ``baseline``, ``tune``, ``anchor``, ``cover``, ``repeat``.

    Tuning is per model and method; anchors are two design points with all seeds; the design is covered with
    the tuned settings; then the best are repeated with more seeds.
    """

    observes_kept = False  # its design is that of a sweep that was begun with the present file

    @cached_property
    def _tunings(self) -> list[Configuration]:
        trials = self.spec.search.tuning.trials
        return [
            point._replace(method=setting)
            for model, method in self.bounds.pairs
            if trials and is_tunable(self.spec, method)
            for point in self._tuned_points(model, method)[:1]
            for setting in self.bounds.lattice(point, trials)
        ]

    def _tuned_points(self, model: str, method: str) -> list[Configuration]:
        """Design points at which a pair may be tuned: of the tuning volume, or the nearest below it.

        On the tuning mix if it may run on that, else on another.
        """
        points, at = [], tuning_volume(self.spec)
        for mix in dict.fromkeys((tuning_mix(self.spec), *self.spec.mixes)):
            point = Configuration(model, MethodSpec(name=method), mix)
            if volumes := self.bounds.volumes(point):
                volume = max((v for v in volumes if v <= at), default=volumes[0])
                points.append(point._replace(volume=volume))
        return points

    #: Where the repeats begin, known once all is tuned.
    _repeated_from: int | None = None

    @property
    def _tuned_at(self) -> int:
        return len(self.bases) + len(self._tunings)

    @property
    def _covered_from(self) -> int:
        return self._tuned_at + self._anchor_count

    @property
    def _anchor_count(self) -> int:
        return min(ANCHORS, len(self.bounds.pairs)) * (self.spec.seeds - 1) if self._tunings else 0

    @cached_property
    def _cover(self) -> list[Configuration]:
        tuned = {design_point(tuning) for tuning in self._tunings}
        return [point for point in self.bounds.points if point not in tuned]

    @property
    def planned(self) -> int:
        seeds = self.spec.seeds
        whole = len(self.bases) + len(self._tunings) + len(self._cover)
        whole += (seeds - 1) * len(self.bounds.points)
        return min(whole, self.limit) if self.limit else whole

    def needs(self, number: int) -> int:
        if number < self._tuned_at:
            return self._windowed(number)
        repeats_from = self._repeated_from or self._covered_from + len(self._cover)
        if number < repeats_from:
            return max(self._tuned_at, self._windowed(number))
        return max(repeats_from, self._windowed(number))

    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        if number >= self.planned:
            return None
        if number < len(self.bases):
            return self._base(number)
        if number < self._tuned_at:
            return Proposal("tune", self._tunings[number - len(self.bases)])
        tuned, more = observed[: self._tuned_at], self.spec.seeds - 1
        best = tuned_methods(self.bounds, tuned)
        covered_from = self._covered_from
        if not self.bounds.legacy:
            anchors = min(self._anchor_count, len(self._repeatable(tuned, best)) * more)
            covered_from = self._tuned_at + anchors
        if number < covered_from:
            return self._repeat("anchor", tuned, number - self._tuned_at, best)
        cover = self._covered(tuned, best)
        repeats_from = covered_from + len(cover)
        if not self.bounds.legacy:
            self._repeated_from = repeats_from
        if number < repeats_from:
            point = cover[number - covered_from]
            return Proposal("cover", point._replace(method=best[point.pair]))
        anchored = {o.point for o in observed if o.stage == "anchor"}
        first = [o for o in observed[:repeats_from] if o.stage in ("tune", "cover")]
        rest = [o for o in first if o.point not in anchored]
        return self._repeat("repeat", rest, number - repeats_from, best)

    def _covered(
        self, observed: Sequence[Outcome], best: dict[tuple[str, str], MethodSpec]
    ) -> list[Configuration]:
        """Design points to cover with the *best* settings, less those that a bound forbids."""
        ends = {o.configuration.curve: o.volume for o in observed if o.ends_growth}
        chosen = [p._replace(method=best[p.pair]) for p in self._cover if p.pair in best]
        broken = {(c.model, c.method): volume for c, volume in ends.items()}
        return [
            design_point(c)
            for c in self.bounds.allowed(chosen)
            if (c.volume or 0) <= broken.get((c.model, c.method), c.volume or 0)
        ]

    def _repeat(
        self,
        stage: str,
        observed: Sequence[Outcome],
        at: int,
        best: dict[tuple[str, str], MethodSpec],
    ) -> Proposal | None:
        """The *at*-th repeat with another seed, of the best design point first."""
        more = self.spec.seeds - 1
        if more < 1:
            return None
        ranked = self._repeatable(observed, best)
        if at // more >= len(ranked):
            return None
        point = ranked[at // more]
        return Proposal(stage, point._replace(method=best[point.pair]), 1 + at % more)

    def _repeatable(
        self, observed: Sequence[Outcome], best: dict[tuple[str, str], MethodSpec]
    ) -> list[Configuration]:
        """Design points whose *best* setting may run again, best first."""
        broken = {o.configuration for o in observed if o.broken}
        points = dict.fromkeys(
            o.point for o in repeatable(observed) if o.configuration.pair in best
        )
        return [point for point in points if point._replace(method=best[point.pair]) not in broken]


def tuned_methods(
    bounds: SearchBounds, observed: Sequence[Outcome]
) -> dict[tuple[str, str], MethodSpec]:
    """Best setting of each model and method: the lowest loss within a standard error of the best score.

    Scores alone would tie at 0 for a method that has learned nothing yet. Settings that broke an upper
    bound count only where all did. Pairs of which no trial completed are left out; a method with nothing to
    tune has its only setting.
    """
    spec = bounds.sweep.spec
    best: dict[tuple[str, str], MethodSpec] = {}
    tuned = [o for o in scored(observed) if o.stage == "tune"]
    for pair in bounds.pairs:
        if not is_tunable(spec, pair[1]) or spec.search.tuning.trials == 0:
            first = next(point for point in bounds.points if point.pair == pair)
            best[pair] = bounds.lattice(first, 1)[0]
            continue
        runs = [o for o in tuned if o.configuration.pair == pair]
        runs = [o for o in runs if not o.broken] or runs
        if runs:
            chosen = min(_within_error(runs), key=lambda o: (o.loss, o.number))
            best[pair] = chosen.configuration.method
    return best


def _within_error(outcomes: Sequence[Outcome]) -> list[Outcome]:
    top = min(outcomes, key=rank)
    assert top.quality is not None
    floor = top.quality - (top.quality_se or 0.0)
    return [o for o in outcomes if o.quality is not None and o.quality >= floor]
