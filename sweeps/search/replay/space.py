"""What a recorded table leaves to choose, written as a sweep: no files, nothing to train.

Each method's recorded hyper-parameters become choices. The learning rate is one by itself where every
rate was run with everything else; where not, what was run together is one choice, so that hardly
anything is proposed that the table lacks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import ConfigDict

from sweeps.methods import Methods
from sweeps.resolve import ResolvedSweep
from sweeps.search_settings import Budget, Search
from sweeps.spec import MixEntry, ModelEntry, SweepSpec
from tracker.trial import Frozen, Objective, TrialResult

#: The mix of a table that names none.
ONE_MIX = "all"
_NAME = "replay"


class RecordedMethod(Frozen):
    """What a method was run with; ``variant`` names all but the learning rate, or that too."""

    learning_rate: tuple[float | None, ...]
    variant: tuple[str, ...]


class RecordedMethods(Methods):
    """The table's methods by name, whatever they are called."""

    model_config = ConfigDict(extra="allow")


class Setting(NamedTuple):
    """A configuration of the table: what is decided on, less the volume."""

    model: str
    method: str
    variant: str
    learning_rate: float | None
    mix: str


class Hyper(NamedTuple):
    """A method's recorded hyper-parameters: the learning rate, and all others in words."""

    shape: str
    rate: float | None


def hyper_of(result: TrialResult) -> Hyper:
    """What the trial's method was run with."""
    method = result.spec.method
    parts = [
        method.variant,
        f"r{method.rank}" if method.rank is not None else None,
        f"{method.virtual_tokens} tokens" if method.virtual_tokens is not None else None,
    ]
    return Hyper(" ".join(filter(None, parts)) or "plain", method.learning_rate)


def setting_of(result: TrialResult, joint: frozenset[str]) -> Setting:
    """The configuration of a recorded trial; *joint*: methods whose settings are one choice each."""
    spec, (shape, rate) = result.spec, hyper_of(result)
    mix = spec.mix.name if spec.mix else ONE_MIX
    if spec.method.name in joint:
        together = shape if rate is None else f"{shape}, lr {rate:g}"
        return Setting(spec.model.name, spec.method.name, together, None, mix)
    return Setting(spec.model.name, spec.method.name, shape, rate, mix)


def joint_methods(trained: Iterable[TrialResult]) -> frozenset[str]:
    """Methods that were not run with every learning rate in each of their variants."""
    found: defaultdict[str, set[Hyper]] = defaultdict(set)
    for result in trained:
        found[result.spec.method.name].add(hyper_of(result))
    return frozenset(
        name
        for name, own in found.items()
        if len(own) < len({h.shape for h in own}) * len({h.rate for h in own})
    )


def recorded_sweep(
    trained: Sequence[TrialResult],
    settings: Iterable[Setting],
    objective: Objective,
    *,
    search: Search,
    seed: int,
    budget_seconds: float,
) -> ResolvedSweep:
    """The sweep over what *trained* holds, its models and mixes in an order drawn from *seed*."""
    order = np.random.default_rng(seed)
    models = {result.spec.model.name: result.spec.model for result in trained}
    names = [str(name) for name in order.permutation(list(models))]
    volumes: defaultdict[str, set[int]] = defaultdict(set)
    for result in trained:
        volumes[result.spec.mix.name if result.spec.mix else ONE_MIX].add(result.spec.volume)
    mixes = {
        str(mix): MixEntry.model_construct(volumes=tuple(sorted(volumes[mix])))
        for mix in order.permutation(list(volumes))
    }
    # Nothing here went through a sweep file, so there are no files to name: validation is left out.
    spec = SweepSpec.model_construct(
        name=_NAME,
        models=tuple(ModelEntry(path=name, name=name) for name in names),
        methods=_methods(settings),
        tasks={},
        volumes=tuple(sorted(set().union(*volumes.values()))),
        mixes=mixes,
        objective=objective,
        seeds=max(result.spec.seed for result in trained) + 1,
        budget=Budget(gpu_hours=budget_seconds / 3600),
        search=search,
        keep="none",
    )
    return ResolvedSweep(spec, {name: models[name] for name in names}, {}, {}, None)


def _methods(settings: Iterable[Setting]) -> RecordedMethods:
    found: defaultdict[str, list[Setting]] = defaultdict(list)
    for setting in settings:
        found[setting.method].append(setting)
    methods: dict[str, Any] = {
        name: RecordedMethod(
            learning_rate=tuple(sorted({s.learning_rate for s in own}, key=lambda r: r or 0.0)),
            variant=tuple(sorted({s.variant for s in own})),
        )
        for name, own in sorted(found.items())
    }
    return RecordedMethods.model_construct(**methods)
