"""Random search, and Optuna's TPE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeps.search.space import is_tunable, lattice
from sweeps.search.strategies.strategy import ANCHORS, Outcome, Proposal, Strategy, repeatable
from tracker.trial import Configuration


class Random(Strategy):
    """Random search: design points in random order, hyper-parameters sampled for each."""

    @property
    def planned(self) -> int:
        return self.limit or len(self.bases) + len(self.bounds.points) + self._repeats

    @property
    def _repeats(self) -> int:
        return ANCHORS * (self.spec.seeds - 1)

    def needs(self, number: int) -> int:
        body = self.planned - self._repeats
        return max(body, self._windowed(number)) if number >= body else self._windowed(number)

    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        if number >= self.planned:
            return None
        if number < len(self.bases):
            return self._base(number)
        body = self.planned - self._repeats
        if number >= body:
            return self._repeat_best(number - body, observed[:body])
        return self._body(number, observed)

    def _body(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        point = self._in_turn(number, observed, self._point, len(self.bounds.points))
        return Proposal("sample", point) if point else None

    def _point(self, turn: int) -> Configuration:
        """Design point number *turn* of the random order, with its setting where it has only one."""
        every = self.bounds.points
        order = np.random.default_rng(turn // len(every)).permutation(len(every))
        point = every[int(order[turn % len(every)])]
        if is_tunable(self.spec, point.method.name):
            return point
        return point._replace(method=lattice(self.spec, point.method.name, 1)[0])

    def _repeat_best(self, at: int, observed: Sequence[Outcome]) -> Proposal | None:
        ranked = repeatable(observed)
        more = self.spec.seeds - 1
        if at // more >= len(ranked):
            return None
        return Proposal("repeat", ranked[at // more].configuration, 1 + at % more)


class Tpe(Random):
    """Optuna's multivariate TPE: it chooses model, method, mix, training-set size and hyper-parameters."""

    def _body(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        return Proposal("sample", None)
