"""Search space of a sweep: design points, configurations, hyper-parameter distributions, trial specs.

A design point is a :class:`~tracker.trial.Configuration` whose method has no hyper-parameters yet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from sweeps.data.mixes import split_volume
from sweeps.resolve import ResolvedSweep
from sweeps.spec import Range, SweepSpec
from tracker.trial import Configuration, MethodSpec, TrialSpec

_CHOICES = ("variant", "rank", "virtual_tokens")


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
    """Optuna's distributions of a method's hyper-parameters by name; a fixed value is a choice of one."""
    settings = getattr(spec.methods, method)
    rate = settings.learning_rate
    distributions: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(rate.low, rate.high, log=rate.log)
        if isinstance(rate, Range)
        else CategoricalDistribution(rate if isinstance(rate, tuple) else (rate,))
    }
    for name in _CHOICES:
        if hasattr(settings, name):
            distributions[name] = CategoricalDistribution(getattr(settings, name))
    return distributions


def is_tunable(spec: SweepSpec, method: str) -> bool:
    """Whether the method has a hyper-parameter to tune."""
    return any(not d.single() for d in hyperparameters(spec, method).values())


def lattice(spec: SweepSpec, method: str, count: int) -> list[MethodSpec]:
    """*count* spread-out settings of a method: learning rates from low to high, other choices in turn.

    Fewer where it has fewer settings.
    """
    space = hyperparameters(spec, method)
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
    choices = [
        d.choices if isinstance(d, CategoricalDistribution) else (_at(d, 0.5),)
        for d in space.values()
    ]
    return [
        MethodSpec(name=method, **dict(zip(space, picked, strict=True)))
        for picked in itertools.product(*choices)
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
    given = {
        name for name in ("learning_rate", *_CHOICES) if getattr(method, name, None) is not None
    }
    return (
        configuration.volume in spec.volumes_of(configuration.mix)
        and given <= set(space)
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
        "train": spec.train,
        "evaluation": spec.evaluation,
        "record_answers": spec.record_answers,
    }
    if configuration.untouched:
        return TrialSpec(**common)
    volume = configuration.volume
    assert volume is not None, "a trial has a volume"
    mix = spec.mixes[configuration.mix].named(configuration.mix)
    return TrialSpec(
        mix=mix,
        volume=volume,
        examples=split_volume(mix, volume),
        replay=sweep.replay if mix.replay else None,
        seed=spec.first_seed + seed,
        **common,
    )


def _categorical(space: Mapping[str, BaseDistribution]) -> list[CategoricalDistribution]:
    return [d for d in space.values() if isinstance(d, CategoricalDistribution)]


def _at(rates: BaseDistribution, share: float) -> Any:
    """Learning rate at *share* of its range, or of its choices, which ascend."""
    if isinstance(rates, FloatDistribution):
        return _between(rates, share)
    assert isinstance(rates, CategoricalDistribution)
    return rates.choices[int(share * len(rates.choices))]


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
