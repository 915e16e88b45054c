"""Search space of a sweep: design points, configurations, hyper-parameter distributions, trial specs.

A design point is a :class:`~tracker.trial.Configuration` whose method has no hyper-parameters yet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from sweeps.data.mixes import split_volume, training_steps
from sweeps.method_entry import Range
from sweeps.resolve import ResolvedSweep
from sweeps.spec import SweepSpec
from tracker.trial import HYPERPARAMETERS, Configuration, MethodSpec, TrialSpec

#: Hyper-parameters that the files of earlier releases could not name: the spread of a space with one of
#: them is better than theirs, which begun sweeps keep.
_RARE = frozenset(HYPERPARAMETERS) - {
    "learning_rate",
    "variant",
    "rank",
    "virtual_tokens",
}
#: Rounds in which distinct settings are looked for.
_MOST_ROUNDS = 8
#: Orders of which a dimension of the Latin hypercube takes the least correlated.
_ORDERS_TRIED = 16


def model_names(spec: SweepSpec) -> list[str]:
    """Names of the base models, as in the sweep file."""
    return [model.label for model in spec.models]


def method_names(spec: SweepSpec) -> list[str]:
    """Names of the methods that the sweep compares."""
    return [name for name, settings in spec.methods if settings is not None]


def methods_of(spec: SweepSpec, model: str) -> list[str]:
    """Names of the methods that tune *model*: all of the sweep's, or those that its entry names."""
    named = next((entry.methods for entry in spec.models if entry.label == model), None)
    return [name for name in method_names(spec) if named is None or name in named]


def pairs(spec: SweepSpec) -> list[tuple[str, str]]:
    """Every model with every method that tunes it: see :attr:`tracker.trial.Configuration.pair`."""
    return [(model, method) for model in model_names(spec) for method in methods_of(spec, model)]


def design_points(spec: SweepSpec) -> list[Configuration]:
    """Every model, method, mix and training-set size, the most informative first: a budget may cut the list.

    The tuning mix comes first; within a mix the largest and the smallest size, then those between: a curve
    needs its ends most.
    """
    first = tuning_mix(spec)
    mixes = sorted(spec.mixes, key=lambda mix: mix != first)
    methods = {name: MethodSpec(name=name) for name in method_names(spec)}
    return [
        Configuration(model, methods[method], mix, volume)
        for mix in mixes
        for volume in _ends_first(spec.volumes_of(mix))
        for model, method in pairs(spec)
    ]


def design_point(configuration: Configuration) -> Configuration:
    """Design point of *configuration*: the same without its hyper-parameters."""
    return configuration._replace(method=MethodSpec(name=configuration.method.name))


def untouched_base(model: str) -> Configuration:
    """Configuration of the untouched base model."""
    return Configuration(model, MethodSpec(name="none"), volume=0)


def tuning_mix(spec: SweepSpec) -> str:
    """Mix on which hyper-parameters are tuned: the named one, else the first."""
    return spec.search.tuning.mix or next(iter(spec.mixes))


def tuning_volume(spec: SweepSpec) -> int:
    """Training-set size at which hyper-parameters are tuned: the named one, else the middle one."""
    volumes = spec.volumes_of(tuning_mix(spec))
    return spec.search.tuning.volume or volumes[(len(volumes) - 1) // 2]


def hyperparameters(spec: SweepSpec, method: str) -> dict[str, BaseDistribution]:
    """Optuna's distributions of a method's hyper-parameters by name; a fixed value is a choice of one.

    The learning rate comes first. What the sweep file does not have is none of them.
    """
    settings = getattr(spec.methods, method)
    written = {name: getattr(settings, name, None) for name in ("learning_rate", *HYPERPARAMETERS)}
    written["epochs"] = spec.train.passes(method) or None
    return {name: _distribution(value) for name, value in written.items() if value is not None}


def _distribution(written: Any) -> BaseDistribution:
    if isinstance(written, Range):
        return FloatDistribution(written.low, written.high, log=written.log)
    return CategoricalDistribution(written if isinstance(written, tuple) else (written,))


def is_tunable(spec: SweepSpec, method: str) -> bool:
    """Whether the method has a hyper-parameter to tune."""
    return any(not d.single() for d in hyperparameters(spec, method).values())


def lattice(spec: SweepSpec, method: str, count: int) -> list[MethodSpec]:
    """*count* spread-out settings of a method: learning rates from low to high, other choices in turn.

    Fewer where it has fewer settings. With hyper-parameters that earlier releases had not, the settings are
    a Latin hypercube, so that a few hold every choice about equally often.
    """
    space = hyperparameters(spec, method)
    if _RARE & space.keys():
        return _spread(method, space, count)
    rates = space.pop("learning_rate")
    if isinstance(rates, CategoricalDistribution):
        count = min(count, math.prod(len(d.choices) for d in (rates, *_categorical(space))))
    points: list[MethodSpec] = []
    for i in range(count):
        point: dict[str, Any] = {"learning_rate": _at(rates, (i + 0.5) / count)}
        turn = i
        for name, distribution in zip(space, _categorical(space), strict=True):
            turn, pick = divmod(turn, len(distribution.choices))
            point[name] = distribution.choices[pick]
        points.append(MethodSpec(name=method, **point))
    return points


def _spread(method: str, space: Mapping[str, BaseDistribution], count: int) -> list[MethodSpec]:
    """*count* distinct settings of *space*, or all where there are no more."""
    if len(_categorical(space)) == len(space):
        count = min(count, math.prod(len(d.choices) for d in _categorical(space)))
    points: dict[MethodSpec, None] = {}
    for number in range(_MOST_ROUNDS):
        # Of choices alone some come twice; a further round has other choices at the same rates.
        for shares in _latin_hypercube(count, len(space), number):
            picked = {
                name: _at(d, share) for (name, d), share in zip(space.items(), shares, strict=True)
            }
            points[MethodSpec(name=method, **picked)] = None
            if len(points) == count:
                return list(points)
    for values in itertools.product(*map(_values, space.values())):
        points[MethodSpec(name=method, **dict(zip(space, values, strict=True)))] = None
        if len(points) == count:
            break
    return list(points)


def _latin_hypercube(count: int, dimensions: int, seed: int) -> list[tuple[float, ...]]:
    """Points of the unit cube: in each dimension one in each of *count* equal parts, in the first ascending.

    Of a few seeded orders each dimension has the one that is least correlated with those before it.
    """
    orders = [np.arange(count)]
    for dimension in range(1, dimensions):
        tried = [
            np.random.default_rng([seed, dimension, attempt]).permutation(count)
            for attempt in range(_ORDERS_TRIED)
        ]
        centred = np.array(orders) - (count - 1) / 2
        orders.append(min(tried, key=lambda order: float(np.abs(centred @ order).max())))
    return [tuple((order[i] + 0.5) / count for order in orders) for i in range(count)]


def candidate_settings(spec: SweepSpec, method: str) -> list[MethodSpec]:
    """Settings among which a method is chosen; of a range of learning rates as many as tuning tries."""
    space = hyperparameters(spec, method)
    every = math.prod(len(d.choices) for d in _categorical(space))
    if len(_categorical(space)) < len(space):
        every = max(1, spec.search.tuning.trials)
    return lattice(spec, method, every)


def all_hyperparameter_choices(spec: SweepSpec, method: str) -> list[MethodSpec]:
    """Every combination of a method's choices; of a range of learning rates the middle."""
    space = hyperparameters(spec, method)
    return [
        MethodSpec(name=method, **dict(zip(space, picked, strict=True)))
        for picked in itertools.product(*map(_values, space.values()))
    ]


def configurations(spec: SweepSpec) -> list[Configuration]:
    """Candidate configurations, at any training-set size: every model, mix, method and setting."""
    return [
        Configuration(model, setting, mix)
        for mix in spec.mixes
        for model, method in pairs(spec)
        for setting in candidate_settings(spec, method)
    ]


def is_complete(method: MethodSpec) -> bool:
    """Whether *method* has its hyper-parameters; that of a design point has none."""
    return method.name == "none" or method.learning_rate is not None


def in_space(spec: SweepSpec, configuration: Configuration) -> bool:
    """Whether the sweep's search space holds *configuration*, an untouched base among them."""
    model, method = configuration.model, configuration.method
    if model not in model_names(spec):
        return False
    if configuration.untouched:
        return True
    if method.name not in methods_of(spec, model) or configuration.mix not in spec.mixes:
        return False
    space = hyperparameters(spec, method.name)
    return (
        configuration.volume in spec.volumes_of(configuration.mix)
        and method.settings.keys() <= space.keys()
        and all(_holds(space[name], getattr(method, name)) for name in space)
    )


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, FloatDistribution):
        return isinstance(value, float) and distribution.low <= value <= distribution.high
    assert isinstance(distribution, CategoricalDistribution)
    return value in distribution.choices


def volume_near(volumes: Sequence[int], wanted: float) -> int:
    """The nearest of *volumes* to *wanted*, by ratio; the smaller of two."""
    return min(volumes, key=lambda v: (abs(math.log(v / wanted)), v))


def trial_spec(sweep: ResolvedSweep, configuration: Configuration, seed: int) -> TrialSpec:
    """TrialSpec of *configuration* with *seed*, which counts from the sweep's first."""
    spec = sweep.spec
    common: dict[str, Any] = {
        "model": sweep.models[configuration.model],
        "method": configuration.method,
        "tasks": tuple(sweep.tasks.values()),
        "general": tuple(sweep.general.values()),
        "train": spec.train.of_trials,
        "evaluation": spec.evaluation,
        "record_answers": spec.record_answers,
    }
    if configuration.untouched:
        return TrialSpec(**common)
    volume = configuration.volume
    assert volume is not None, "a trial has a volume"
    mix = spec.mixes[configuration.mix].named(configuration.mix)
    trial = TrialSpec(
        mix=mix,
        volume=volume,
        examples=split_volume(mix, volume),
        replay=sweep.replay if mix.replay else None,
        seed=spec.first_seed + seed,
        **common,
    )
    return with_full_rate(trial) if sweep.full_rate else trial


def with_full_rate(trial: TrialSpec) -> TrialSpec:
    """*trial* with a shorter warm-up where it would take every step: the last has the full learning rate."""
    steps, warmup = training_steps(trial), trial.train.warmup
    if not steps or math.ceil(warmup * steps) < steps:
        return trial
    shorter = max(0.0, (steps - 1.5) / steps)  # of which all steps but the last are the whole
    return trial.model_copy(update={"train": trial.train.model_copy(update={"warmup": shorter})})


def _categorical(space: Mapping[str, BaseDistribution]) -> list[CategoricalDistribution]:
    return [d for d in space.values() if isinstance(d, CategoricalDistribution)]


def _values(distribution: BaseDistribution) -> tuple[Any, ...]:
    """The choices of a hyper-parameter; of a range the middle."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return (_at(distribution, 0.5),)


def _at(distribution: BaseDistribution, share: float) -> Any:
    """Value at *share* of a range, or of the choices, of which rates ascend."""
    if isinstance(distribution, FloatDistribution):
        return _between(distribution, share)
    assert isinstance(distribution, CategoricalDistribution)
    return distribution.choices[int(share * len(distribution.choices))]


def _between(distribution: FloatDistribution, share: float) -> float:
    """Value at *share* of a range, rounded to four digits so that a file shows what ran."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return float(f"{value:.3e}")


def _ends_first(volumes: tuple[int, ...]) -> list[int]:
    """The largest, the smallest, then those between in descending order."""
    return list(dict.fromkeys([volumes[-1], volumes[0], *reversed(volumes)]))
