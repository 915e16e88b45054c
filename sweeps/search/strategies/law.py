"""Decide with less: at every step the next second goes where it lowers expected regret most.

What is to be found is the configuration (model, method with its hyper-parameters, mix) that is best at
the largest volume of its mix. Joint laws over everything measured (:mod:`tracker.laws.surrogate`)
predict each configuration there, also those without a run, once all that is cheap has had one look on the
least data; a trial on more data is worth what it is expected to lower the regret of the choice by
(:mod:`sweeps.search.acquisition`), and is bought by worth per second, priced by what trials took so far.
Learning rates are tuned where that is cheap, since a rate's effect is pooled over models and mixes; what
cannot win any more is worth nothing and is left alone.

Trials come in rounds: a round's batch is chosen together from all results before it, so neither
interruption nor the number of workers changes which trials run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sweeps.resolve import ResolvedSweep
from sweeps.search.acquisition import knowledge_gradient
from sweeps.search.bounds import SearchBounds
from sweeps.search.cost_model import CostModel, learned_cost_model
from sweeps.search.strategies.strategy import (
    ANCHORS,
    Outcome,
    Proposal,
    Strategy,
    best_measured,
    rank,
    repeatable,
    scored,
    seconds_taken,
)
from tracker.constraints import is_lower
from tracker.decision.forecast_posterior import ForecastPosterior, forecast_posterior
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array
from tracker.laws.surrogate import surrogate_forecast
from tracker.metrics import pooled_sd
from tracker.trial import Configuration, Status

_ROUND_SHARE = 0.01  # of the budget, which a round costs about: cheap trials come in bulk
_LARGEST_ROUND = 16
#: Of a budget of trials at most so much in one round, though two at least: a round is chosen from what
#: those before it taught. With 36 trials of the recorded playground, rounds of 8 had twice the regret of 2.
_ROUND_TRIALS, _FEWEST = 0.05, 2
_ENOUGH = 0.25  # the search ends when expected regret is below this share of the noise floor
_NEAR = 3.0  # doublings below the largest volume from which the leader may be looked at there
_VERIFY = 0.25  # of the budget that is left may go into one look at the leader
_COVER = 0.25  # of the budget, spent on a first look at every configuration
_SCORE_NOISE = 0.02  # deviation of a score between seeds, until repeated runs tell
_LEAST_ERROR = 1e-3  # of a perfect score: its logarithm must exist


class Action(NamedTuple):
    """Train configuration ``config`` at ``volume`` with ``seed``; ``worth``: regret it may remove."""

    config: int
    volume: int
    seed: int
    price: float
    worth: float


class Law(Strategy):
    """See the module."""

    sees_when_begun = True

    def __init__(self, sweep: ResolvedSweep, bounds: SearchBounds | None = None) -> None:
        super().__init__(sweep, bounds)
        self.configurations = self.bounds.curves
        self._index = {curve: i for i, curve in enumerate(self.configurations)}
        self._rounds: list[tuple[int, list[Proposal]]] = []

    def target(self, config: int) -> int:
        """The volume that a configuration is judged at: the largest of its mix that may run."""
        return self.bounds.volumes(self.configurations[config])[-1]

    @cached_property
    def _millions(self) -> dict[str, float]:
        known = {name: model.parameters for name, model in self.sweep.models.items()}
        return {name: (n or 1e6) / 1e6 for name, n in known.items()}

    @property
    def planned(self) -> int:
        whole = len(self.bases) + len(self.configurations) * len(self.spec.volumes)
        return min(whole, self.limit) if self.limit else whole

    def needs(self, number: int) -> int:
        for start, batch in self._rounds:
            if start <= number < start + len(batch):
                return start
        return number

    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        if self.limit is not None and number >= self.limit:
            return None
        for start, batch in self._rounds:
            if start <= number < start + len(batch):
                return batch[number - start]
        batch = self._round(observed)
        if not batch:
            return None
        self._rounds.append((number, batch))
        return batch[0]

    def choice(self, observed: Sequence[Outcome]) -> Configuration | None:
        """The configuration with the best expected quality at the largest volume."""
        if not scored(observed):
            return None
        value = self.posterior(observed).value
        best = int(value.argmax())
        return self.configurations[best] if np.isfinite(value[best]) else best_measured(observed)

    # -- a round ---------------------------------------------------------------------------------

    def _round(self, observed: Sequence[Outcome]) -> list[Proposal]:
        """The next trials, chosen together; none when enough is known or nothing can be paid for."""
        if not observed:
            return [self._base(i) for i in range(len(self.bases))]
        left = self._left(observed)
        if not scored(observed):
            return self._first() if len(observed) == len(self.bases) else []
        repeats = self._repeats(observed, left)
        kept_back = len(repeats) if self.limit else 0
        return self._search(observed, left - kept_back) or repeats

    def _search(self, observed: Sequence[Outcome], left: float) -> list[Proposal]:
        """The next trials that may change the choice; none when enough is known or affordable."""
        if cover := self._cover(observed, left):
            return cover
        posterior = self.posterior(observed)
        if posterior.expected_regret < _ENOUGH * posterior.noise_floor and self._confirmed(
            posterior, observed
        ):
            return []
        actions = self._actions(posterior, observed, left)
        if verify := self._verification(posterior, actions, left):
            return [self._proposal(verify)]
        return [self._proposal(action) for action in self._batch(actions, left)]

    def _repeats(self, observed: Sequence[Outcome], left: float) -> list[Proposal]:
        """Further seeds of the two leading points, which give the noise floor every claim is held against."""
        cost_model = self._cost_model(observed)
        done = {(o.configuration, o.seed) for o in observed}
        leaders: dict[Configuration, Configuration] = {}
        for outcome in self._best_measured(observed):
            leaders.setdefault(outcome.point, outcome.configuration)
        found: list[Proposal] = []
        for leader in list(leaders.values())[:ANCHORS]:
            for seed in range(1, self.spec.seeds):
                price = 1.0 if self.limit else cost_model.seconds(leader)
                if (leader, seed) not in done and price <= left:
                    left -= price
                    found.append(Proposal("repeat", leader, seed))
        return found

    def _best_measured(self, observed: Sequence[Outcome]) -> list[Outcome]:
        """The trials to repeat, the best first; a sweep begun before bounds left any out ranks them last."""
        if self.bounds.begun:
            return sorted(scored(observed), key=lambda o: (bool(o.broken), *rank(o)))
        return repeatable(observed)

    def _first(self) -> list[Proposal]:
        """Every setting of every method on the smallest model and one mix, at two volumes.

        The smallest volume and the middle one: what is learned of a method there carries over. Where
        trials are counted, the middle one alone.
        """
        models = {curve.model for curve in self.configurations}
        smallest = min(models, key=lambda name: (self._millions[name], name))
        own = [curve for curve in self.configurations if curve.model == smallest]
        mix = next(mix for mix in self.spec.mixes if any(curve.mix == mix for curve in own))
        found: list[Proposal] = []
        for curve in own:
            if curve.mix == mix:
                volumes = self.bounds.volumes(curve)
                middle = volumes[len(volumes) // 2]
                looked = (middle,) if self.limit else dict.fromkeys([volumes[0], middle])
                found += [Proposal("law", curve._replace(volume=v)) for v in looked]
        return found

    def _cover(self, observed: Sequence[Outcome], left: float) -> list[Proposal]:
        """What has no run yet on the least data, cheapest first, within a share of the budget.

        A look at each is what successive halving begins with, and keeps a law that is wrong about
        something unseen from never being told. Counted trials cost the same at any volume: none.
        """
        if self.limit:
            return []
        cost_model = self._cost_model(observed)
        seen = {self._of(o) for o in observed if o.stage != "baseline"}
        unseen = [
            curve._replace(volume=self.bounds.volumes(curve)[0])
            for config, curve in enumerate(self.configurations)
            if config not in seen
        ]
        share = left - (1 - _COVER) * self._budget if self._budget else math.inf
        found: list[Proposal] = []
        for configuration in sorted(unseen, key=cost_model.seconds):
            share -= cost_model.seconds(configuration)
            if share < 0:
                break
            found.append(Proposal("law", configuration))
        return found

    def _confirmed(self, posterior: ForecastPosterior, observed: Sequence[Outcome]) -> bool:
        """Whether the choice was itself run at the largest volume."""
        best = int(posterior.value.argmax())
        return any(self._of(o) == best and o.volume == self.target(best) for o in scored(observed))

    def _actions(
        self, posterior: ForecastPosterior, observed: Sequence[Outcome], left: float
    ) -> list[Action]:
        """Every affordable trial with its worth: more data for a configuration, or another seed."""
        cost_model = self._cost_model(observed)
        broken = set() if self.bounds.begun else {o.configuration for o in observed if o.broken}
        limits = {
            self._of(o): o.volume for o in observed if o.ends_growth and o.stage != "baseline"
        }
        ends: dict[int, int] = {}
        seeds: dict[tuple[int, int], int] = {}
        for o in observed:
            if o.stage != "baseline" and o.ran:
                config, volume = self._of(o), o.volume
                ends[config] = max(ends.get(config, 0), volume)
                seeds[config, volume] = seeds.get((config, volume), 0) + 1
        found = []
        for config, curve in enumerate(self.configurations):
            if posterior.allowed[config] == 0:
                continue
            for volume in self.bounds.volumes(curve):
                seed = seeds.get((config, volume), 0)
                if volume < ends.get(config, 0) or (seed and seed >= self.spec.seeds):
                    continue
                if volume > limits.get(config, volume) or curve._replace(volume=volume) in broken:
                    continue
                # A budget of trials is spent one by one, whatever they take.
                price = 1.0 if self.limit else cost_model.seconds(curve._replace(volume=volume))
                if price <= left and (not seed or volume == self.target(config)):
                    share = self._resolved(posterior, config, volume, seed)
                    worth = knowledge_gradient(posterior, config, posterior.sd[config] * share)
                    found.append(Action(config, volume, seed, price, worth))
        return found

    def _verification(
        self, posterior: ForecastPosterior, actions: Sequence[Action], left: float
    ) -> Action | None:
        """The leader's run at the largest volume, where that costs little of what is left.

        The best of many forecasts is the likeliest to be wrong: it is held against the truth early.
        """
        leader = int(np.where(posterior.allowed >= 0.5, posterior.mean, -np.inf).argmax())
        if posterior.forecast.doublings[leader] > _NEAR:
            return None
        return next(
            (
                action
                for action in actions
                if (action.config, action.volume, action.seed) == (leader, self.target(leader), 0)
                and action.price <= _VERIFY * left
            ),
            None,
        )

    def _resolved(self, posterior: ForecastPosterior, config: int, volume: int, seed: int) -> float:
        """The share of a configuration's deviation that a run at *volume* is expected to resolve."""
        if seed:
            return math.sqrt(1 / (seed + 1))
        return float(posterior.forecast.resolved[self.spec.volumes.index(volume), config])

    def _batch(self, actions: Sequence[Action], left: float) -> list[Action]:
        """The best actions per second, one a configuration, until a round is full."""
        ranked = sorted(actions, key=lambda a: (-a.worth / a.price, a.price, a.config, a.volume))
        size = max(self.spec.search.window, 1)
        if self.limit:
            size = min(size, max(_FEWEST, round(_ROUND_TRIALS * self.limit)))
        picked: list[Action] = []
        spent = 0.0
        for action in ranked:
            full = len(picked) >= size and spent >= _ROUND_SHARE * self._budget
            if action.worth <= 0 or full or len(picked) >= _LARGEST_ROUND:
                break
            taken = {other.config for other in picked}
            if action.config not in taken and spent + action.price <= left:
                picked.append(action)
                spent += action.price
        return picked

    def _proposal(self, action: Action) -> Proposal:
        curve = self.configurations[action.config]
        stage = "repeat" if action.seed else "law"
        return Proposal(stage, curve._replace(volume=action.volume), action.seed)

    # -- what is known ---------------------------------------------------------------------------

    def posterior(self, observed: Sequence[Outcome]) -> ForecastPosterior:
        """What is known of every configuration after *told*, of which at least one has a quality."""
        runs: dict[int, list[tuple[int, float]]] = {}
        for o in scored(observed):
            assert o.quality is not None
            runs.setdefault(self._of(o), []).append((o.volume, o.quality))
        scores = any(q >= 0 for own in runs.values() for _, q in own)
        noise = _run_noise(observed) or (_SCORE_NOISE if scores else None)
        curves = [
            self._curve(i, curve, runs.get(i, []), scores)._replace(noise_sd=noise)
            for i, curve in enumerate(self.configurations)
        ]
        volumes = [float(volume) for volume in self.spec.volumes]
        targets = [float(self.target(i)) for i in range(len(curves))]
        seen = surrogate_forecast(curves, targets, volumes, "score" if scores else "loss")
        return forecast_posterior(seen, curves, self._allowed(observed), scores=scores)

    def _curve(
        self, index: int, curve: Configuration, runs: Sequence[tuple[int, float]], scores: bool
    ) -> CurveRuns:
        sizes = np.array([float(volume) for volume, _ in runs])
        errors = np.array([max(1 - q, _LEAST_ERROR) if scores else -q for _, q in runs])
        keys = tuple(f"{index}/{i}" for i in range(len(runs)))
        model = self.sweep.models[curve.model]
        return CurveRuns(sizes, errors, keys, curve.groups(model.family), model.parameters)

    def _allowed(self, observed: Sequence[Outcome]) -> Array:
        """Per configuration the probability to keep the constraints, as its own runs and its pair's say.

        A configuration that diverged, or failed for good, is out.
        """
        kept: dict[object, list[float]] = {}
        out = np.ones(len(self.configurations))
        for o in observed:
            # A trial that was stopped by hand says nothing of its configuration.
            if o.stage == "baseline" or o.status is Status.PRUNED:
                continue
            if o.status is not Status.COMPLETE:
                out[self._of(o)] = 0.0
            elif any(not is_lower(name) for name in o.excesses):
                for key in _constraint_keys(o.configuration.curve):
                    kept.setdefault(key, []).append(float(not o.broken))
        for i, curve in enumerate(self.configurations):
            own, pair = (kept.get(key, []) for key in _constraint_keys(curve))
            if pair:
                # The pair's share counts as one run; the last own run as two.
                shares = [sum(pair) / len(pair), *own[-1:], *own[-1:]]
                out[i] *= sum(shares) / len(shares)
        return out

    def _of(self, outcome: Outcome) -> int:
        return self._index[outcome.configuration.curve]

    def _cost_model(self, observed: Sequence[Outcome]) -> CostModel:
        return learned_cost_model(seconds_taken(observed), self._millions)

    @property
    def _budget(self) -> float:
        budget = self.spec.budget
        if self.limit:
            return float(self.limit)
        return budget.gpu_hours * 3600 if budget and budget.gpu_hours else 0.0

    def _left(self, observed: Sequence[Outcome]) -> float:
        """What is left of the budget, in device seconds or trials; without one, no end of it."""
        if not self._budget:
            return math.inf
        if self.limit:
            return self._budget - len(observed)
        return self._budget - sum(o.seconds or 0.0 for o in observed)


def _run_noise(observed: Sequence[Outcome]) -> float | None:
    """Deviation of quality between runs of one configuration that differ in the seed, where there are any."""
    seeds: dict[Configuration, list[float]] = {}
    for o in scored(observed):
        seeds.setdefault(o.configuration, []).append(o.quality or 0.0)
    return pooled_sd(seeds.values()) or None


def _constraint_keys(curve: Configuration) -> tuple[object, object]:
    """What a run says of a constraint for: its own configuration, and its model, method and mix."""
    return curve, (*curve.pair, curve.mix)
