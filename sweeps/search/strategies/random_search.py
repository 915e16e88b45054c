"""Random search, and Optuna's TPE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from sweeps.search.space import design_point, is_tunable, lattice
from sweeps.search.strategies.strategy import ANCHORS, Outcome, Proposal, Strategy, repeatable
from tracker.trial import Configuration


class Random(Strategy):
    """Random search: design points in random order, hyper-parameters sampled for each."""

    @property
    def planned(self) -> int:
        if self.limit:
            return self.limit
        new = sum(self._runs[point] == 0 for point in self.bounds.points)
        return self.body_from + new + self._repeats

    @property
    def _repeats(self) -> int:
        return ANCHORS * (self.spec.seeds - 1)

    def needs(self, number: int) -> int:
        body = self.planned - self._repeats
        return max(body, self._windowed(number)) if number >= body else self._windowed(number)

    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        if number >= self.planned:
            return None
        if number < self.body_from:
            return self._base(number)
        body = self.planned - self._repeats
        if number >= body:
            return self._repeat_best(number - body, observed[:body])
        return self._body(number, observed)

    def _body(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        point = self._in_turn(number, observed, self._point, len(self.bounds.points))
        return Proposal("sample", point) if point else None

    @cached_property
    def _runs(self) -> Counter[Configuration]:
        """How often each design point ran before the sweep's file was changed."""
        return Counter(
            design_point(each.configuration) for each in self.kept if each.configuration is not None
        )

    def _point(self, turn: int) -> Configuration:
        """Design point number *turn* of the random order, with its setting where it has only one.

        Every point comes once in each round; one that was kept is left out of as many rounds.
        """
        every, at = self.bounds.points, 0
        while True:
            order = np.random.default_rng(at).permutation(len(every))
            left = [every[int(place)] for place in order if self._runs[every[int(place)]] <= at]
            if turn < len(left):
                break
            turn, at = turn - len(left), at + 1
        point = left[turn]
        if is_tunable(self.spec, point.method.name):
            return point
        return point._replace(method=lattice(self.spec, point.method.name, 1)[0])

    def _repeat_best(self, at: int, observed: Sequence[Outcome]) -> Proposal | None:
        done = {(each.configuration, each.seed) for each in self.kept}
        repeats = (
            (o.configuration, seed)
            for o in repeatable(observed)
            for seed in range(1, self.spec.seeds)
            if (o.configuration, seed) not in done
        )
        found = next(islice(repeats, at, None), None)
        return Proposal("repeat", *found) if found else None


class Tpe(Random):
    """Optuna's multivariate TPE: it chooses model, method, mix, training-set size and hyper-parameters."""

    def _body(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        return Proposal("sample", None)
