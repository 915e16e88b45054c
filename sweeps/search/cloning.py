"""A trial once more with changed values, all of them values that the sweep itself knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from sweeps.search.space import Values, hyperparameters, method_names, model_names
from sweeps.spec import SweepSpec
from tracker.errors import InputError
from tracker.validation import did_you_mean, options

_DESIGN = ("model", "method", "mix", "volume", "seed")
_MOST_SEEDS = 1_000_000


def cloned_values(spec: SweepSpec, values: Values, changes: Mapping[str, str]) -> Values:
    """*values* of a trial with *changes*, given as text; ``seed`` as trials show it.

    A setting that another method has too keeps its value where that is one of the other's; what the other
    method needs besides must be among the changes, unless there is but one choice. Raises InputError with
    every problem: what was found, and what the sweep allows.
    """
    wanted = dict(changes)
    problems: list[str] = []

    def take(name: str, read: Callable[[str], Any], before: Any) -> Any:
        text = wanted.pop(name, None)
        if text is None and before is not None:
            return before
        try:
            return read("" if text is None else text)
        except ValueError as error:
            found = "nothing" if text is None else repr(text)
            problems.append(f"{name}: found {found}; allowed: {error}")
            return None

    model = take("model", _one_of(model_names(spec)), values["model"])
    before = values["method"] if values["method"] != "none" else None
    method = take("method", _one_of(method_names(spec)), before)
    mix = take("mix", _one_of(spec.mixes), values.get("mix"))
    if problems:
        raise InputError(problems)
    volumes = spec.volumes_of(mix)
    old = values.get("volume")
    volume = take("volume", _one_of(volumes), old if old in volumes else None)
    seed = take("seed", _seed(spec.first_seed), values["seed"])
    space = hyperparameters(spec, method)
    settings = {
        name: take(name, _setting(distribution), _kept(distribution, values.get(name)))
        for name, distribution in space.items()
    }
    problems += [_unknown(name, [*_DESIGN, *space]) for name in wanted]
    if problems:
        raise InputError(problems)
    design = {"seed": seed, "model": model, "method": method, "mix": mix, "volume": volume}
    return design | settings


def _one_of(known: Iterable[Any]) -> Callable[[str], Any]:
    """Reads the text of one of *known*."""
    by_text = {str(each): each for each in known}

    def read(text: str) -> Any:
        if text not in by_text:
            raise ValueError(options(by_text) + did_you_mean(text, by_text))
        return by_text[text]

    return read


def _seed(first: int) -> Callable[[str], int]:
    """Reads a seed as trials show it; within the sweep they are counted from its *first*."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 0 <= int(text) - first < _MOST_SEEDS:
            raise ValueError(f"a whole number from {first} to {first + _MOST_SEEDS - 1}")
        return int(text) - first

    return read


def _setting(distribution: BaseDistribution) -> Callable[[str], Any]:
    """Reads a value of the sweep's own search range, or one of its choices."""
    if isinstance(distribution, CategoricalDistribution):
        return _one_of(distribution.choices)
    assert isinstance(distribution, FloatDistribution)
    low, high = distribution.low, distribution.high

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return read


def _kept(distribution: BaseDistribution, before: Any) -> Any:
    """The value that stays where none is given; ``None`` where one must be."""
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        if len(choices) == 1:
            return choices[0]
        return before if before in choices else None
    assert isinstance(distribution, FloatDistribution)
    return (
        before if before is not None and distribution.low <= before <= distribution.high else None
    )


def _unknown(name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"found {name!r}; allowed: {options(known)}{did_you_mean(name, known)}"
