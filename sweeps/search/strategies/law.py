"""Law-guided search: the next trial is the one that lowers expected regret most per second.

The search looks for the configuration (model, method with its hyper-parameters, mix) that is best at the
largest training-set size of its mix. Every cheap configuration is run once on little data; joint laws over
all measurements (:mod:`tracker.laws.surrogate`) then predict each configuration, measured or not, at its
largest size. The acquisition value of a trial is the expected fall in the regret of the choice
(:func:`knowledge_gradient`); trials are ranked by value per second, with a cost model fitted to those that
have ended. Learning rates are tuned on cheap trials, since a rate's effect is pooled over models and mixes.
A configuration that cannot win any more has the value 0 and is not run.

Trials come in rounds: a round's batch is chosen together from all results before it, so neither
interruption nor the number of workers changes which trials run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.cost_model import CostModel, learned_cost_model
from sweeps.search.strategies.strategy import (
    ANCHORS,
    Outcome,
    Proposal,
    Strategy,
    best_measured,
    perfect_quality_of,
    rank,
    repeatable,
    scored,
    seconds_taken,
)
from tracker.constraints import of_quality
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
_NEAR = 3.0  # doublings below the largest volume from which the best forecast may be verified there
_VERIFY = 0.25  # of the rest of the budget may go into one such run
_COVER = 0.25  # of the budget, for a first run of every configuration
_SCORE_NOISE = 0.02  # deviation of a score between seeds, until repeated runs tell
_LEAST_ERROR = 1e-3  # of a perfect score: its logarithm must exist


class Action(NamedTuple):
    """A trial that may run: configuration ``config`` at ``volume`` with ``seed``.

    ``price``: device seconds, or 1 under a budget of trials; ``value``: the acquisition value.
    """

    config: int
    volume: int
    seed: int
    price: float
    value: float


def knowledge_gradient(posterior: ForecastPosterior, config: int, sd: float) -> float:
    """Acquisition value: the expected rise of the best expected quality from measuring *config*.

    *sd*: the deviation of its expected quality that the measurement resolves. Frazier, Powell and Dayanik,
    INFORMS J. Computing 21, 2009, for one configuration at a time.
    """
    if sd <= 0:
        return 0.0
    others = np.delete(posterior.mean, config)[np.delete(posterior.allowed, config) >= 0.5]
    if not len(others):
        return float(sd)
    z = -abs(posterior.mean[config] - others.max()) / sd
    return float(posterior.allowed[config] * sd * (norm.pdf(z) + z * norm.cdf(z)))


class Law(Strategy):
    """Law-guided search over the sweep's configurations; see the module."""

    sees_legacy_excesses = True
    corrects = True

    def __init__(self, sweep: ResolvedSweep, bounds: SearchBounds | None = None) -> None:
        super().__init__(sweep, bounds)
        self.configurations = self.bounds.curves
        self._index = {curve: i for i, curve in enumerate(self.configurations)}
        self._rounds: list[tuple[int, list[Proposal]]] = []

    def knows(self, configuration: Configuration) -> bool:
        return configuration.untouched or configuration.curve in self._index

    def target(self, config: int) -> int:
        """The training-set size at which a configuration is judged: the largest of its mix that may run."""
        return self.bounds.volumes(self.configurations[config])[-1]

    @cached_property
    def _millions(self) -> dict[str, float]:
        sizes = {name: model.parameters for name, model in self.sweep.models.items()}
        return {name: (size or 1e6) / 1e6 for name, size in sizes.items()}

    @property
    def planned(self) -> int:
        whole = len(self.bounds.bases) + len(self.configurations) * len(self.spec.volumes)
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
        batch = self._next_round(observed)
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

    def _next_round(self, observed: Sequence[Outcome]) -> list[Proposal]:
        """The trials of the next round; none when regret is low enough or the budget pays for none."""
        start = len(self.kept)
        if len(observed) == start and self.bases:
            return [self._base(start + i) for i in range(len(self.bases))]
        left = self._left(observed)
        if not scored(observed):
            return self._first_runs() if len(observed) == self.body_from else []
        if len(observed) == self.body_from and (new := self._first_of_new_methods(observed)):
            return new
        repeats = self._repeats(observed, left)
        reserved = len(repeats) if self.limit else 0
        return self._search(observed, left - reserved) or repeats

    def _search(self, observed: Sequence[Outcome], left: float) -> list[Proposal]:
        """The next trials that may change the choice; none when regret is low or the budget pays for none."""
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
        """More seeds of the two best design points: they give the noise floor of every comparison."""
        cost_model = self._cost_model(observed)
        done = {(o.configuration, o.seed) for o in observed}
        best: dict[Configuration, Configuration] = {}
        for outcome in self._best_measured(observed):
            best.setdefault(outcome.point, outcome.configuration)
        repeats: list[Proposal] = []
        for configuration in list(best.values())[:ANCHORS]:
            for seed in range(1, self.spec.seeds):
                price = 1.0 if self.limit else cost_model.seconds(configuration)
                if (configuration, seed) not in done and price <= left:
                    left -= price
                    repeats.append(Proposal("repeat", configuration, seed))
        return repeats

    def _best_measured(self, observed: Sequence[Outcome]) -> list[Outcome]:
        """The trials to repeat, best first; an old sweep ranks those that broke a bound last."""
        if self.bounds.legacy:
            return sorted(scored(observed), key=lambda o: (bool(o.broken), *rank(o)))
        return repeatable(observed)

    def _first_runs(self) -> list[Proposal]:
        """Every setting of every method on the smallest model and one mix, at two training-set sizes.

        The smallest size and the middle one: what is learned of a method there carries over. Under a budget
        of trials, the middle one alone.
        """
        models = {curve.model for curve in self.configurations}
        smallest = min(models, key=lambda name: (self._millions[name], name))
        curves = [curve for curve in self.configurations if curve.model == smallest]
        mix = next(mix for mix in self.spec.mixes if any(curve.mix == mix for curve in curves))
        proposals: list[Proposal] = []
        for curve in curves:
            if curve.mix == mix:
                volumes = self.bounds.volumes(curve)
                middle = volumes[len(volumes) // 2]
                sizes = (middle,) if self.limit else dict.fromkeys([volumes[0], middle])
                proposals += [Proposal("law", curve._replace(volume=size)) for size in sizes]
        return proposals

    def _first_of_new_methods(self, observed: Sequence[Outcome]) -> list[Proposal]:
        """First runs of what a changed file added to the methods: settings of which nothing is known."""
        known = {o.configuration.method for o in observed} if self.kept else None
        return [
            each
            for each in (self._first_runs() if known else ())
            if each.configuration is not None and each.configuration.method not in (known or ())
        ]

    def _cover(self, observed: Sequence[Outcome], left: float) -> list[Proposal]:
        """Configurations without a run, on the least data, cheapest first, within a share of the budget.

        Successive halving begins with a run of each, too: otherwise a law that is wrong about a
        configuration without a run is never corrected. Under a budget of trials none, since a trial counts
        the same at any size.
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
        before = sum(o.seconds or 0.0 for o in observed[: len(self.kept)])
        budget = self._budget - before
        share = left - (1 - _COVER) * budget if self._budget else math.inf
        proposals: list[Proposal] = []
        for configuration in sorted(unseen, key=cost_model.seconds):
            share -= cost_model.seconds(configuration)
            if share < 0:
                break
            proposals.append(Proposal("law", configuration))
        return proposals

    def _confirmed(self, posterior: ForecastPosterior, observed: Sequence[Outcome]) -> bool:
        """Whether the choice was run at the largest training-set size."""
        best = int(posterior.value.argmax())
        return any(self._of(o) == best and o.volume == self.target(best) for o in scored(observed))

    def _actions(
        self, posterior: ForecastPosterior, observed: Sequence[Outcome], left: float
    ) -> list[Action]:
        """Every affordable trial: more data for a configuration, or another seed."""
        cost_model = self._cost_model(observed)
        broken = set() if self.bounds.legacy else {o.configuration for o in observed if o.broken}
        limits = {
            self._of(o): o.volume for o in observed if o.ends_growth and o.stage != "baseline"
        }
        largest: dict[int, int] = {}
        seeds: dict[tuple[int, int], int] = {}
        for o in observed:
            if o.stage != "baseline" and o.ran:
                config, volume = self._of(o), o.volume
                largest[config] = max(largest.get(config, 0), volume)
                seeds[config, volume] = seeds.get((config, volume), 0) + 1
        actions = []
        for config, curve in enumerate(self.configurations):
            if posterior.allowed[config] == 0:
                continue
            for volume in self.bounds.volumes(curve):
                seed = seeds.get((config, volume), 0)
                if volume < largest.get(config, 0) or (seed and seed >= self.spec.seeds):
                    continue
                if volume > limits.get(config, volume) or curve._replace(volume=volume) in broken:
                    continue
                # Under a budget of trials each counts as one, whatever it takes.
                price = 1.0 if self.limit else cost_model.seconds(curve._replace(volume=volume))
                if price <= left and (not seed or volume == self.target(config)):
                    share = self._resolved(posterior, config, volume, seed)
                    value = knowledge_gradient(posterior, config, posterior.sd[config] * share)
                    actions.append(Action(config, volume, seed, price, value))
        return actions

    def _verification(
        self, posterior: ForecastPosterior, actions: Sequence[Action], left: float
    ) -> Action | None:
        """A run of the best forecast at the largest size, where it costs little of the rest of the budget.

        The best of many forecasts is the likeliest to be wrong, so it is measured early.
        """
        best = int(np.where(posterior.allowed >= 0.5, posterior.mean, -np.inf).argmax())
        if posterior.forecast.doublings[best] > _NEAR:
            return None
        return next(
            (
                action
                for action in actions
                if (action.config, action.volume, action.seed) == (best, self.target(best), 0)
                and action.price <= _VERIFY * left
            ),
            None,
        )

    def _resolved(self, posterior: ForecastPosterior, config: int, volume: int, seed: int) -> float:
        """Share of a configuration's posterior deviation that a run at *volume* is expected to resolve."""
        if seed:
            return math.sqrt(1 / (seed + 1))
        return float(posterior.forecast.resolved[self.spec.volumes.index(volume), config])

    def _batch(self, actions: Sequence[Action], left: float) -> list[Action]:
        """The actions of the highest value per second, one a configuration, until a round is full."""
        ranked = sorted(actions, key=lambda a: (-a.value / a.price, a.price, a.config, a.volume))
        size = max(self.spec.search.window, 1)
        if self.limit:
            size = min(size, max(_FEWEST, round(_ROUND_TRIALS * self.limit)))
        picked: list[Action] = []
        spent = 0.0
        for action in ranked:
            full = len(picked) >= size and spent >= _ROUND_SHARE * self._budget
            if action.value <= 0 or full or len(picked) >= _LARGEST_ROUND:
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

    # -- the posterior, costs and the budget -----------------------------------------------------

    def posterior(self, observed: Sequence[Outcome]) -> ForecastPosterior:
        """Posterior of every configuration, from *observed* trials of which at least one has a quality."""
        runs: dict[int, list[tuple[int, float]]] = {}
        for o in scored(observed):
            assert o.quality is not None
            runs.setdefault(self._of(o), []).append((o.volume, o.quality))
        perfect = perfect_quality_of(self.spec, (q for points in runs.values() for _, q in points))
        scores = perfect == 1
        noise = _run_noise(observed) or (_SCORE_NOISE if scores else None)
        curves = [
            self._curve(i, curve, runs.get(i, []), perfect)._replace(noise_sd=noise)
            for i, curve in enumerate(self.configurations)
        ]
        volumes = [float(volume) for volume in self.spec.volumes]
        targets = [float(self.target(i)) for i in range(len(curves))]
        forecast = surrogate_forecast(curves, targets, volumes, "score" if scores else "loss")
        return forecast_posterior(forecast, curves, self._allowed(observed), perfect=perfect)

    def _curve(
        self, index: int, curve: Configuration, runs: Sequence[tuple[int, float]], perfect: float
    ) -> CurveRuns:
        sizes = np.array([float(volume) for volume, _ in runs])
        errors = np.array([max(perfect - q, _LEAST_ERROR) for _, q in runs])
        keys = tuple(f"{index}/{i}" for i in range(len(runs)))
        model = self.sweep.models[curve.model]
        return CurveRuns(sizes, errors, keys, curve.groups(model.family), model.parameters)

    def _allowed(self, observed: Sequence[Outcome]) -> Array:
        """Probability (C,) of each configuration to keep the constraints: of its runs and its pair's.

        0 for a configuration that diverged or failed.
        """
        kept: dict[object, list[float]] = {}
        probability = np.ones(len(self.configurations))
        for o in observed:
            # A trial that a user stopped says nothing about its configuration.
            if o.stage == "baseline" or o.status is Status.PRUNED:
                continue
            if o.status is not Status.COMPLETE:
                probability[self._of(o)] = 0.0
            elif any(not of_quality(name) for name in o.excesses):
                for key in _constraint_keys(o.configuration.curve):
                    kept.setdefault(key, []).append(float(not o.broken))
        for i, curve in enumerate(self.configurations):
            curve_runs, pair_runs = (kept.get(key, []) for key in _constraint_keys(curve))
            if pair_runs:
                # The pair's share counts as one run, the configuration's last run as two.
                shares = [sum(pair_runs) / len(pair_runs), *curve_runs[-1:], *curve_runs[-1:]]
                probability[i] *= sum(shares) / len(shares)
        return probability

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
        """The rest of the budget, in device seconds or trials; infinite without a budget."""
        if not self._budget:
            return math.inf
        if self.limit:
            return self._budget - len(observed)
        return self._budget - sum(o.spent for o in observed)


def _run_noise(observed: Sequence[Outcome]) -> float | None:
    """Standard deviation of quality between seeds of one configuration, pooled; ``None`` without repeats."""
    seeds: dict[Configuration, list[float]] = {}
    for o in scored(observed):
        seeds.setdefault(o.configuration, []).append(o.quality or 0.0)
    return pooled_sd(seeds.values()) or None


def _constraint_keys(curve: Configuration) -> tuple[object, object]:
    """Groups for which a run tells whether a constraint is kept: its configuration; model, method and mix."""
    return curve, (*curve.pair, curve.mix)
