"""The objective's constraints as the search keeps them: what a recommendation may not name is not spent on.

What is known before a run (parameters, examples, stored bytes, training operations) prunes the design. A
measured upper bound that a trial broke (forgetting, over-reach, device time, memory) gets no further seed of
that configuration, and no larger volume where the quantity cannot fall with it. A lower bound never prunes,
since more data raises scores; it ranks repeats. What a clock measured decides nothing under a budget of
trials, so that the same sweep runs the same trials on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import (
    configurations,
    design_points,
    every_setting,
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
from tracker.trial import Configuration, MethodSpec, TrialResult


class Pruned(NamedTuple):
    """A design point that is not run, since every setting of it breaks ``constraint`` before it runs."""

    point: Configuration
    constraint: str
    limit: float
    value: float


def kept_names(spec: SweepSpec) -> list[str]:
    """The constraints that a search which begins now keeps: no clock's under a budget of trials."""
    counted = bool(spec.budget and spec.budget.trials)
    return [n for n in spec.objective.constraints if not (counted and n in CLOCKED)]


class SearchBounds:
    """The bounds of *sweep* as its search keeps them.

    *begun*: the sweep was begun before the search kept all of them; it goes on as it began, with what was
    forgotten alone. *names*: those that it began with, where another kind of budget would choose others.
    """

    def __init__(
        self, sweep: ResolvedSweep, *, begun: bool = False, names: Collection[str] | None = None
    ) -> None:
        self.sweep, self.begun = sweep, begun
        if begun:
            names = [n for n in sweep.spec.objective.constraints if kind_of(n) == "forgetting"]
        elif names is None:
            names = kept_names(sweep.spec)
        self.limits = {n: v for n, v in sweep.spec.objective.constraints.items() if n in names}
        self._known: dict[tuple[Configuration, str], float] = {}

    # -- before a run ----------------------------------------------------------------------------

    def rules_out(self, configuration: Configuration) -> Pruned | None:
        """The bound that *configuration* breaks before it runs; ``None`` for one that may run.

        A method without hyper-parameters is ruled out where every setting of it is.
        """
        found: Pruned | None = None
        for each in self._settings(configuration):
            found = self._broken_before(each)
            if found is None:
                return None
        return found and found._replace(point=configuration)

    def allowed(self, among: Iterable[Configuration]) -> list[Configuration]:
        """Those of *among* that nothing rules out before they run."""
        return [each for each in among if self.rules_out(each) is None]

    def volumes(self, curve: Configuration) -> tuple[int, ...]:
        """The volumes of its mix at which *curve* may run, ascending."""
        volumes = self.sweep.spec.volumes_of(curve.mix)
        return tuple(v for v in volumes if self.rules_out(curve._replace(volume=v)) is None)

    def lattice(self, point: Configuration, count: int) -> list[MethodSpec]:
        """Those of *count* spread-out settings that may run at *point*; where none may, others that may."""
        method = point.method.name
        for among in (
            lattice(self.sweep.spec, method, count),
            every_setting(self.sweep.spec, method),
        ):
            if found := self.allowed(point._replace(method=setting) for setting in among):
                return [each.method for each in found[:count]]
        return []

    @cached_property
    def bases(self) -> list[str]:
        """The models whose untouched base a recommendation may name."""
        names = model_names(self.sweep.spec)
        return [name for name in names if self.rules_out(untouched_base(name)) is None]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Every model with every method that may run at some point of the design."""
        there = {point.pair for point in self.points}
        return [pair for pair in pairs(self.sweep.spec) if pair in there]

    @cached_property
    def curves(self) -> list[Configuration]:
        """What is to be chosen among: every configuration that may run at some volume."""
        return [curve for curve in configurations(self.sweep.spec) if self.volumes(curve)]

    @cached_property
    def points(self) -> list[Configuration]:
        """The design less what is pruned, in the order of its worth."""
        return self.allowed(design_points(self.sweep.spec))

    @cached_property
    def pruned(self) -> list[Pruned]:
        """The design points that no trial is spent on, and why."""
        return [found for p in design_points(self.sweep.spec) if (found := self.rules_out(p))]

    def check(self) -> None:
        """Raise InputError where the constraints leave nothing to run."""
        if not self.points:
            least: dict[tuple[str, float], float] = {}
            for name, limit, value in (p[1:] for p in self.pruned):
                least[name, limit] = min(value, least.get((name, limit), value))
            bounds = ", ".join(
                f"{name} <= {limit:g} (the least of the design is {value:,.6g})"
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
        for setting in every_setting(spec, method.name):
            yield configuration._replace(method=setting)

    def _broken_before(self, configuration: Configuration) -> Pruned | None:
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
        """What is counted of *configuration* before it runs; a learning rate changes none of it."""
        key = (configuration._replace(method=configuration.method.without_rate), name)
        if key not in self._known:
            self._known[key] = self._counted(configuration, name)
        return self._known[key]

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
        """By how much *result* is beyond each bound, as Optuna takes it: at most 0 keeps it."""
        found = {}
        measures = measures_of([result])
        for name, limit in self.limits.items():
            value = run_value(result, name, measures)
            if value is not None and math.isfinite(value):
                over = limit - value if is_lower(name) else value - limit
                found[name] = 0.0 if keeps(name, value, limit) else over
        return found
