"""A recorded results table as a sweep: it gives the results of trials, and the true quality of each choice.

The sweep has no files and nothing to train. A method's recorded hyper-parameters but the learning rate are
one choice, as text, in the method's ``variant``. The learning rate is a choice of its own where every rate
was run with every variant; where not, it is part of that text, so that few proposals are missing from the
table.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from statistics import fmean
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from pydantic import ConfigDict

from sweeps.method_entry import Methods
from sweeps.resolve import ResolvedSweep
from sweeps.search.strategies.strategy import weighted_score
from sweeps.spec import Budget, MixEntry, ModelEntry, Search, SweepSpec
from tracker.errors import InputError, NotEnoughDataError
from tracker.frozen import Frozen
from tracker.metrics import measures_of
from tracker.trial import (
    Configuration,
    Cost,
    MethodSpec,
    Objective,
    Status,
    TrialRecord,
    TrialResult,
    TrialSpec,
)
from tracker.validation import options

#: Name of the mix of a table that names none.
ONE_MIX = "all"
_NAME = "replay"
#: Reason of a failed trial that is missing from the table.
NOT_RECORDED = "not in the table"

CostKind = Literal["seconds", "flops", "examples"]
COST_KINDS: tuple[CostKind, ...] = get_args(CostKind)
_UNITS = {"seconds": "device seconds", "flops": "FLOP", "examples": "parameters × examples"}
_PER_SECOND = {"seconds": 1.0, "flops": 1e12, "examples": 1e12}  # units that count as a second


class Truth(NamedTuple):
    """Quality and cost of a configuration at the largest training-set size, means over recorded seeds."""

    quality: float
    seconds: float


class RecordedTable:
    """Recorded trials that a replay reads in place of training.

    *cost*: what is counted; by default measured seconds where every fine-tune has them, else parameters
    × examples. ``measure``: score or loss, on which choices are judged. ``truth``: by configuration, for
    those that completed at the largest training-set size. Raises NotEnoughDataError where none did,
    InputError where a fine-tune lacks the cost.
    """

    def __init__(
        self, records: Sequence[TrialRecord], objective: Objective, cost: CostKind | None = None
    ) -> None:
        results = [record.result for record in records]
        self.objective = objective
        self.trained = [r for r in results if r.spec.method.name != "none" and r.spec.volume]
        self.cost = cost or ("seconds" if self._all_have("seconds") else "examples")
        if not self._all_have(self.cost):
            raise InputError(
                f"cost {self.cost}: not recorded of every fine-tune; allowed: "
                f"{options(kind for kind in COST_KINDS if self._all_have(kind))}"
            )
        self._bases = {r.spec.model.name: r for r in results if r.spec.method.name == "none"}
        joint = _joint_methods(self.trained)
        self._runs: dict[Configuration, dict[int, list[TrialResult]]] = {}
        self._recorded: dict[MethodSpec, MethodSpec] = {}  # the recorded method of a choice
        for result in sorted(self.trained, key=lambda r: r.spec.seed):
            configuration = _choice_of(result.spec, joint)
            self._recorded[configuration.method] = result.spec.method
            volumes = self._runs.setdefault(configuration, {})
            volumes.setdefault(result.spec.volume, []).append(result)
        self._nearest: dict[tuple[Configuration, int], Configuration | None] = {}
        self.volumes = tuple(sorted({r.spec.volume for r in self.trained}))
        self.largest = max(self.volumes, default=0)
        self.truth = dict(self._truths())
        if not self.truth:
            raise NotEnoughDataError(
                "no fine-tune is complete at the table's largest volume, so no choice can be judged: "
                "replay a table whose largest volume was run"
            )
        measures = measures_of(self.trained)
        self.measure = next(measures[task] for task in objective.weights if task in measures)

    def sweep(self, search: Search, seed: int, budget_seconds: float) -> ResolvedSweep:
        """The table as a sweep; *seed*: of the order of models and mixes."""
        return _recorded_sweep(
            self.trained,
            {c.method for c in self._runs},
            self.objective,
            search=search,
            seed=seed,
            budget_seconds=budget_seconds,
        )

    @cached_property
    def full_seconds(self) -> float:
        """Cost of every model, method and mix at the largest volume, each with its best setting."""
        best: dict[tuple[str, ...], Truth] = {}
        for configuration, truth in self.truth.items():
            key = (*configuration.pair, configuration.mix)
            best[key] = max(best.get(key, truth), truth)
        return sum(truth.seconds for truth in best.values())

    @property
    def full_cost(self) -> float:
        """:attr:`full_seconds` in :attr:`cost_unit`."""
        return self.full_seconds * _PER_SECOND[self.cost]

    @property
    def cost_unit(self) -> str:
        """Unit of costs."""
        return _UNITS[self.cost]

    @property
    def best(self) -> Configuration:
        """The configuration with the best mean quality at the largest training-set size."""
        return max(self.truth, key=lambda c: self.truth[c].quality)

    def seconds(self, result: TrialResult) -> float:
        """Cost of a recorded trial, in the driver's seconds whatever the unit is."""
        return (_counted(result, self.cost) or 0.0) / _PER_SECOND[self.cost]

    def answer(self, spec: TrialSpec, first: int) -> tuple[TrialResult, bool]:
        """The recorded result of the trial *spec*, and whether it is that of another learning rate.

        Recorded seeds are taken in turn, from the *first* on. A trial that is missing from the table fails
        at no cost.
        """
        proposed = Configuration.of(spec).curve
        if spec.method.name == "none":
            nearest = None
            runs = [run] if (run := self._bases.get(spec.model.name)) else []
        else:
            nearest = self.nearest(proposed, spec.volume)
            runs = self._runs[nearest][spec.volume] if nearest else []
        if not runs:
            missing = Cost(device="none", device_seconds=0.0)
            failed = TrialResult(spec=spec, status=Status.FAILED, reason=NOT_RECORDED, cost=missing)
            return failed, False
        run = runs[(spec.seed + first) % len(runs)]
        cost = run.cost.model_copy(update={"device_seconds": self.seconds(run)})
        answer = run.model_copy(update={"spec": spec, "cost": cost})
        return answer, nearest is not None and nearest != proposed

    def nearest(self, proposed: Configuration, volume: int) -> Configuration | None:
        """*proposed* if it was run at *volume*, else its neighbour in learning rate, if there is one."""
        if volume in self._runs.get(proposed, {}):
            return proposed
        key = (proposed, volume)
        if key not in self._nearest:
            wanted = self._recorded[proposed.method]
            siblings = [
                c
                for c, volumes in self._runs.items()
                if volume in volumes
                and (c.pair, c.mix) == (proposed.pair, proposed.mix)
                and _shape(self._recorded[c.method]) == _shape(wanted)
            ]
            self._nearest[key] = min(
                siblings,
                key=lambda c: _ratio(self._recorded[c.method].learning_rate, wanted.learning_rate),
                default=None,
            )
        return self._nearest[key]

    def chosen(self, choice: Configuration | None) -> Configuration | None:
        """Recorded configuration nearest to *choice* at the largest training-set size, if there is one."""
        if choice is None:
            return None
        nearest = self.nearest(choice.curve, self.largest)
        return nearest if nearest in self.truth else None

    def regret(self, choice: Configuration | None) -> float:
        """Regret of *choice* against the best configuration at the largest training-set size.

        Of losses in percent: 100 × (chosen − best) / best. Of scores in points: 100 × (best − chosen). No
        choice, or one that never completed at that size, counts as the worst.
        """
        qualities = [truth.quality for truth in self.truth.values()]
        chosen = self.chosen(choice)
        quality = self.truth[chosen].quality if chosen else min(qualities)
        lost = max(qualities) - quality
        return 100 * (lost if self.measure == "score" else lost / abs(max(qualities)))

    def _all_have(self, kind: CostKind) -> bool:
        return all(_counted(result, kind) is not None for result in self.trained)

    def _truths(self) -> Iterator[tuple[Configuration, Truth]]:
        for configuration, volumes in self._runs.items():
            runs = volumes.get(self.largest, [])
            qualities = [
                quality
                for run in runs
                if run.status is Status.COMPLETE
                and (quality := weighted_score(run, self.objective)) is not None
            ]
            if qualities:
                yield (
                    configuration,
                    Truth(fmean(qualities), fmean(self.seconds(run) for run in runs)),
                )


def _counted(result: TrialResult, kind: CostKind) -> float | None:
    """Cost of a trial of *kind*; a model of unknown size counts as one parameter."""
    if kind == "seconds":
        return result.cost.device_seconds
    if kind == "flops":
        return result.cost.flops
    return (result.spec.model.parameters or 1) * result.spec.volume


def _ratio(one: float | None, other: float | None) -> float:
    """Absolute log ratio of two learning rates."""
    return abs(math.log(one / other)) if one and other else 0.0


# -- the table as a sweep ----------------------------------------------------------------------------


class RecordedMethod(Frozen):
    """Recorded settings of a method; ``variant`` names all but the learning rate, or that too."""

    learning_rate: tuple[float | None, ...]
    variant: tuple[str, ...]


class RecordedMethods(Methods):
    """Methods of the table, of any name."""

    model_config = ConfigDict(extra="allow")


def _shape(method: MethodSpec) -> str:
    """Hyper-parameters of *method* but the learning rate, as text."""
    parts = [
        method.variant,
        f"r{method.rank}" if method.rank is not None else None,
        f"{method.virtual_tokens} tokens" if method.virtual_tokens is not None else None,
    ]
    return " ".join(filter(None, parts)) or "plain"


def _choice_of(spec: TrialSpec, joint: frozenset[str]) -> Configuration:
    """Configuration of a recorded trial in the sweep; *joint*: methods whose settings are one choice."""
    name, shape, rate = spec.method.name, _shape(spec.method), spec.method.learning_rate
    if name in joint:
        together = shape if rate is None else f"{shape}, lr {rate:g}"
        method = MethodSpec(name=name, variant=together)
    else:
        method = MethodSpec(name=name, variant=shape, learning_rate=rate)
    return Configuration(spec.model.name, method, spec.mix.name if spec.mix else ONE_MIX)


def _joint_methods(trained: Iterable[TrialResult]) -> frozenset[str]:
    """Methods that were not run with every learning rate in each of their variants."""
    settings: defaultdict[str, set[tuple[str, float | None]]] = defaultdict(set)
    for result in trained:
        method = result.spec.method
        settings[method.name].add((_shape(method), method.learning_rate))
    return frozenset(
        name
        for name, pairs in settings.items()
        if len(pairs) < len({shape for shape, _ in pairs}) * len({rate for _, rate in pairs})
    )


def _recorded_sweep(
    trained: Sequence[TrialResult],
    choices: Iterable[MethodSpec],
    objective: Objective,
    *,
    search: Search,
    seed: int,
    budget_seconds: float,
) -> ResolvedSweep:
    """The sweep over the trials *trained*; its models and mixes in a random order, by *seed*."""
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
        methods=_methods(choices),
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


def _methods(choices: Iterable[MethodSpec]) -> RecordedMethods:
    by_name: defaultdict[str, list[MethodSpec]] = defaultdict(list)
    for choice in choices:
        by_name[choice.name].append(choice)
    methods: dict[str, Any] = {
        name: RecordedMethod(
            learning_rate=tuple(
                sorted({c.learning_rate for c in settings}, key=lambda r: r or 0.0)
            ),
            variant=tuple(sorted({c.variant or "" for c in settings})),
        )
        for name, settings in sorted(by_name.items())
    }
    return RecordedMethods.model_construct(**methods)
