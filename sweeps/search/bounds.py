"""Search bounds: the objective's constraints prune the design, so that no trial is spent on what they forbid.

What is known before a run (parameters, examples, stored bytes, training operations) prunes the design. A
configuration that broke a measured upper bound (forgetting, false positives on negatives, device time,
memory) gets no other seed, and no more data where the quantity cannot fall with it. A bound on quality never
prunes, since more data raises quality; it ranks repeats. Under a budget of trials, measured times decide
nothing, so that the same sweep runs the same trials on any machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import (
    all_hyperparameter_choices,
    configurations,
    design_points,
    is_complete,
    lattice,
    model_names,
    pairs,
    trial_spec,
    untouched_base,
)
from sweeps.spec import SweepSpec
from tracker.constraints import CLOCKED, COUNTED, grows, is_lower, keeps, kind_of, run_value
from tracker.errors import InputError
from tracker.metrics import measures_of
from tracker.numbers import memory, number
from tracker.trial import Configuration, MethodSpec, TrialResult

#: Hyper-parameters that change nothing of what is counted before a run.
_UNCOUNTED = dict.fromkeys(("learning_rate", "alpha", "dropout", "batch_size", "weight_decay"))


#: Name of the bound that devices set, in bytes, among those of the objective's constraints.
DEVICE_MEMORY = "device memory"


class Pruned(NamedTuple):
    """A pruned design point: every setting of it breaks ``constraint`` before it runs.

    ``constraint``: one of the objective's, or :data:`DEVICE_MEMORY`.
    """

    point: Configuration
    constraint: str
    limit: float
    value: float


def kept_names(spec: SweepSpec) -> list[str]:
    """Constraints that a new search keeps: under a budget of trials, none on measured times."""
    counted = bool(spec.budget and spec.budget.trials)
    return [n for n in spec.objective.constraints if not (counted and n in CLOCKED)]


class Unfit(NamedTuple):
    """Settings that fit no device: bytes ``needs`` of each by :func:`unfit_key`, more than ``available``."""

    available: int = 0
    needs: Mapping[str, int] = MappingProxyType({})

    def joined(self, other: Unfit) -> Unfit:
        """These and the *other* settings."""
        return Unfit(max(self.available, other.available), {**self.needs, **other.needs})


def unfit_key(configuration: Configuration) -> str:
    """Name of *configuration* at any learning rate, in what a study keeps of those that do not fit."""
    method = configuration.method.without_rate.model_dump(mode="json", exclude_none=True)
    named = [configuration.model, method, configuration.mix, configuration.volume]
    return json.dumps(named, sort_keys=True)


class SearchBounds:
    """Bounds that the search of *sweep* keeps.

    *legacy*: the sweep was begun before the search kept all bounds; it goes on as it began, with those on
    forgetting alone. *names*: those that it began with, where another kind of budget would choose others.
    *unfit*: settings that are left out since they fit no device (:func:`sweeps.search.fit.unfit_points`).
    """

    def __init__(
        self,
        sweep: ResolvedSweep,
        *,
        legacy: bool = False,
        names: Collection[str] | None = None,
        unfit: Unfit | None = None,
    ) -> None:
        self.sweep, self.legacy = sweep, legacy
        self.unfit = unfit or Unfit()
        if legacy:
            names = [n for n in sweep.spec.objective.constraints if kind_of(n) == "forgetting"]
        elif names is None:
            names = kept_names(sweep.spec)
        self.limits = {n: v for n, v in sweep.spec.objective.constraints.items() if n in names}
        self._values: dict[tuple[Configuration, str], float] = {}

    # -- before a run ----------------------------------------------------------------------------

    def rules_out(self, configuration: Configuration) -> Pruned | None:
        """Bound that *configuration* breaks before it runs; ``None`` for one that may run.

        A method without hyper-parameters is ruled out where every setting of it is.
        """
        pruned: Pruned | None = None
        for setting in self._settings(configuration):
            pruned = self._broken_before(setting)
            if pruned is None:
                return None
        return pruned and pruned._replace(point=configuration)

    def allowed(self, among: Iterable[Configuration]) -> list[Configuration]:
        """The configurations of *among* that no bound rules out before they run."""
        return [each for each in among if self.rules_out(each) is None]

    def volumes(self, curve: Configuration) -> tuple[int, ...]:
        """Training-set sizes of its mix at which *curve* may run, ascending."""
        volumes = self.sweep.spec.volumes_of(curve.mix)
        return tuple(v for v in volumes if self.rules_out(curve._replace(volume=v)) is None)

    def lattice(self, point: Configuration, count: int) -> list[MethodSpec]:
        """Up to *count* settings that may run at *point*: of the spread-out ones, else of all."""
        method = point.method.name
        for among in (
            lattice(self.sweep.spec, method, count),
            all_hyperparameter_choices(self.sweep.spec, method),
        ):
            if allowed := self.allowed(point._replace(method=setting) for setting in among):
                return [configuration.method for configuration in allowed[:count]]
        return []

    @cached_property
    def bases(self) -> list[str]:
        """Models whose untouched base may be recommended."""
        names = model_names(self.sweep.spec)
        return [name for name in names if self.rules_out(untouched_base(name)) is None]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Every model with every method that may run at some point of the design."""
        there = {point.pair for point in self.points}
        return [pair for pair in pairs(self.sweep.spec) if pair in there]

    @cached_property
    def curves(self) -> list[Configuration]:
        """Candidate configurations: those that may run at some training-set size."""
        return [curve for curve in configurations(self.sweep.spec) if self.volumes(curve)]

    @cached_property
    def points(self) -> list[Configuration]:
        """Design points that are not pruned, the most informative first."""
        return self.allowed(design_points(self.sweep.spec))

    @cached_property
    def pruned(self) -> list[Pruned]:
        """Pruned design points, each with the bound that it breaks."""
        points = design_points(self.sweep.spec)
        return [pruned for point in points if (pruned := self.rules_out(point))]

    def check(self) -> None:
        """Raise InputError where the constraints leave nothing to run."""
        if not self.points:
            least: dict[tuple[str, float], float] = {}
            for name, limit, value in (p[1:] for p in self.pruned):
                least[name, limit] = min(value, least.get((name, limit), value))
            if [*least] == [(DEVICE_MEMORY, self.unfit.available)]:
                raise InputError(
                    f"found a design of which every fine-tune needs {memory(min(least.values()))} of device "
                    f"memory at least; allowed: {memory(self.unfit.available)}, what the device has; take "
                    "smaller models, adapters, a 4-bit base or a lower train.max_length, or say "
                    "engine.run_unfit: true"
                )
            bounds = ", ".join(
                f"{name} <= {limit:g} (the least of the design is {number(value, 6)})"
                for (name, limit), value in least.items()
            )
            raise InputError(
                f"objective.constraints: {bounds} rules out every fine-tune before it runs; raise the "
                "bound, or change the design"
            )

    def _settings(self, configuration: Configuration) -> Iterator[Configuration]:
        spec, method = self.sweep.spec, configuration.method
        if configuration.untouched or is_complete(method):
            yield configuration
            return
        for setting in all_hyperparameter_choices(spec, method.name):
            yield configuration._replace(method=setting)

    def _broken_before(self, configuration: Configuration) -> Pruned | None:
        if self.unfit.needs and (need := self.unfit.needs.get(unfit_key(configuration))):
            return Pruned(configuration, DEVICE_MEMORY, self.unfit.available, need)
        for name, limit in self.limits.items():
            if kind_of(name) not in COUNTED or (configuration.untouched and name != "parameters"):
                continue
            if configuration.volume is None and grows(name):
                continue
            value = self._value(configuration, name)
            if not keeps(name, value, limit):
                return Pruned(configuration, name, limit, value)
        return None

    def _value(self, configuration: Configuration, name: str) -> float:
        """Value of the constraint *name* before a run, cached by what may change it."""
        counted = configuration.method.model_copy(update=_UNCOUNTED)
        key = (configuration._replace(method=counted), name)
        if key not in self._values:
            self._values[key] = self._counted(configuration, name)
        return self._values[key]

    def _counted(self, configuration: Configuration, name: str) -> float:
        model = self.sweep.models[configuration.model]
        kind, _, task = name.partition(".")
        if name == "parameters":
            return float(model.size)
        if name == "adapter_bytes":
            from sweeps.search.counted_cost import adapter

            return float(adapter(model, configuration.method).stored)
        spec = trial_spec(self.sweep, configuration, 0)
        if kind == "examples":
            return float(spec.examples.get(task, 0) if task else spec.volume)
        from sweeps.search.counted_cost import counted_work

        return counted_work(spec).flops

    # -- after a run -----------------------------------------------------------------------------

    def excesses(self, result: TrialResult) -> dict[str, float]:
        """Excess of *result* over each bound, as Optuna takes it: at most 0 keeps the bound."""
        excesses = {}
        measures = measures_of([result])
        for name, limit in self.limits.items():
            value = run_value(result, name, measures)
            if value is not None and math.isfinite(value):
                over = limit - value if is_lower(name) else value - limit
                excesses[name] = 0.0 if keeps(name, value, limit) else over
        return excesses
