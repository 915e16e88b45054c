"""The sweep file as a design: cells, Optuna distributions, and the trial that a point stands for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from sweeps.data.mixes import split_volume
from sweeps.methods import Range
from sweeps.resolve import ResolvedSweep
from sweeps.spec import SweepSpec
from tracker.trial import MethodSpec, TrialSpec

#: A point of the space: ``model method mix volume seed`` and the method's hyper-parameters.
Values = dict[str, Any]

_CHOICES = ("variant", "rank", "virtual_tokens")


class Pair(NamedTuple):
    """A model tuned by a method: the unit for which hyper-parameters are tuned."""

    model: str
    method: str


class Cell(NamedTuple):
    """One point of the design; several learning rates or seeds may be run in it."""

    model: str
    method: str
    mix: str
    volume: int

    @property
    def pair(self) -> Pair:
        """The model and method of this cell."""
        return Pair(self.model, self.method)


def model_names(spec: SweepSpec) -> list[str]:
    """Names of the base models, as written."""
    return [model.label for model in spec.models]


def method_names(spec: SweepSpec) -> list[str]:
    """Names of the methods that the sweep compares."""
    return [name for name, settings in spec.methods if settings is not None]


def pairs(spec: SweepSpec) -> list[Pair]:
    """Every model with every method."""
    return [Pair(*p) for p in itertools.product(model_names(spec), method_names(spec))]


def cells(spec: SweepSpec) -> list[Cell]:
    """All cells, in the order in which they are worth having when a budget cuts the list short.

    The tuning mix comes first; within a mix the ends of the volume axis, then its middle: a curve needs
    its ends most.
    """
    first = tuning_mix(spec)
    mixes = sorted(spec.mixes, key=lambda mix: mix != first)
    return [
        Cell(pair.model, pair.method, mix, volume)
        for mix in mixes
        for volume in _ends_first(spec.volumes_of(mix))
        for pair in pairs(spec)
    ]


def tuning_mix(spec: SweepSpec) -> str:
    """The mix on which hyper-parameters are tuned: the named one, else the first."""
    return spec.search.tuning.mix or next(iter(spec.mixes))


def tuning_volume(spec: SweepSpec) -> int:
    """The volume at which hyper-parameters are tuned: the named one, else the middle one."""
    volumes = spec.volumes_of(tuning_mix(spec))
    return spec.search.tuning.volume or volumes[(len(volumes) - 1) // 2]


def hyperparameters(spec: SweepSpec, method: str) -> dict[str, BaseDistribution]:
    """The method's distributions by name; a fixed value is a choice of one."""
    settings = getattr(spec.methods, method)
    rate = settings.learning_rate
    found: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(rate.low, rate.high, log=rate.log)
        if isinstance(rate, Range)
        else CategoricalDistribution(rate if isinstance(rate, tuple) else (rate,))
    }
    for name in _CHOICES:
        if hasattr(settings, name):
            found[name] = CategoricalDistribution(getattr(settings, name))
    return found


def is_tunable(spec: SweepSpec, method: str) -> bool:
    """Whether the method leaves anything to choose."""
    return any(not d.single() for d in hyperparameters(spec, method).values())


def lattice(spec: SweepSpec, method: str, count: int) -> list[Values]:
    """*count* spread-out settings: learning rates from low to high, other choices in turn.

    Fewer where there are only so many to choose from.
    """
    space = hyperparameters(spec, method)
    rates = space.pop("learning_rate")
    if isinstance(rates, CategoricalDistribution):
        count = min(count, math.prod(len(d.choices) for d in (rates, *_categorical(space))))
    points: list[Values] = []
    for i in range(count):
        point: Values = {"learning_rate": _at(rates, (i + 0.5) / count)}
        turn = i
        for name, distribution in zip(space, _categorical(space), strict=True):
            turn, pick = divmod(turn, len(distribution.choices))
            point[name] = distribution.choices[pick]
        points.append(point)
    return points


def settings(spec: SweepSpec, method: str) -> list[Values]:
    """Every setting of the method; where a learning rate is searched in a range, as many as are tuned."""
    space = hyperparameters(spec, method)
    every = math.prod(len(d.choices) for d in _categorical(space))
    if len(_categorical(space)) < len(space):
        every = max(1, spec.search.tuning.trials)
    return lattice(spec, method, every)


def configurations(spec: SweepSpec) -> list[Values]:
    """What is to be chosen among: every model, method and mix with every setting."""
    return [
        {**pair._asdict(), "mix": mix, **setting}
        for mix in spec.mixes
        for pair in pairs(spec)
        for setting in settings(spec, pair.method)
    ]


def volume_near(volumes: Sequence[int], wanted: float) -> int:
    """The one of *volumes* nearest to *wanted* in ratio; the smaller of two that are."""
    return min(volumes, key=lambda v: (abs(math.log(v / wanted)), v))


def trial_spec(sweep: ResolvedSweep, values: Mapping[str, Any]) -> TrialSpec:
    """The fine-tune that a point of the space stands for; ``method: none`` is the untouched base."""
    spec = sweep.spec
    common: dict[str, Any] = {
        "model": sweep.models[values["model"]],
        "tasks": tuple(sweep.tasks.values()),
        "general": tuple(sweep.general.values()),
        "train": spec.train,
        "evaluation": spec.evaluation,
    }
    if values["method"] == "none":
        return TrialSpec(method=MethodSpec(name="none"), **common)
    mix = spec.mixes[values["mix"]].named(values["mix"])
    settings = {name: values[name] for name in hyperparameters(spec, values["method"])}
    return TrialSpec(
        method=MethodSpec(name=values["method"], **settings),
        mix=mix,
        volume=values["volume"],
        examples=split_volume(mix, values["volume"]),
        replay=sweep.replay if mix.replay else None,
        seed=sweep.spec.first_seed + values["seed"],
        **common,
    )


def groups(sweep: ResolvedSweep, values: Mapping[str, Any]) -> dict[str, str]:
    """What a configuration belongs to, kind → name, as joint laws pool (:mod:`tracker.laws.pooling`)."""
    model, method = values["model"], values["method"]
    setting = [str(values[name]) for name in hyperparameters(sweep.spec, method)]
    return {
        "family": sweep.models[model].family or "",
        "model": model,
        "method": method,
        "pair": f"{model} {method}",
        "mix": values["mix"],
        "setting": " ".join([method, *setting]),
        "run": " ".join([model, method, *setting]),
    }


def _categorical(space: Mapping[str, BaseDistribution]) -> list[CategoricalDistribution]:
    return [d for d in space.values() if isinstance(d, CategoricalDistribution)]


def _at(rates: BaseDistribution, share: float) -> Any:
    """The learning rate at *share* of the range, or of the choices, which ascend."""
    if isinstance(rates, FloatDistribution):
        return _between(rates, share)
    assert isinstance(rates, CategoricalDistribution)
    return rates.choices[int(share * len(rates.choices))]


def _between(distribution: FloatDistribution, share: float) -> float:
    """The value at *share* of the range, rounded to four digits so that a file shows what ran."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return float(f"{value:.3e}")


def _ends_first(volumes: tuple[int, ...]) -> list[int]:
    """The largest, the smallest, then what lies between from the top."""
    return list(dict.fromkeys([volumes[-1], volumes[0], *reversed(volumes)]))
