"""A recorded results table answers for training, and knows what every configuration was worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from statistics import fmean
from typing import Any, Literal, NamedTuple, get_args

from sweeps.resolve import ResolvedSweep
from sweeps.search.outcome import weighted_score
from sweeps.search.replay.space import (
    ONE_MIX,
    Hyper,
    Setting,
    hyper_of,
    joint_methods,
    recorded_sweep,
    setting_of,
)
from sweeps.search.space import Values
from sweeps.search_settings import Search
from tracker.errors import InputError, NotEnoughDataError
from tracker.metrics import measures_of
from tracker.trial import Cost, Objective, Status, TrialRecord, TrialResult, TrialSpec
from tracker.validation import options

#: Why a trial failed that the table lacks.
NOT_RECORDED = "not in the table"

CostKind = Literal["seconds", "flops", "examples"]
COST_KINDS: tuple[CostKind, ...] = get_args(CostKind)
_UNITS = {"seconds": "device seconds", "flops": "FLOP", "examples": "parameters × examples"}
_PER_SECOND = {"seconds": 1.0, "flops": 1e12, "examples": 1e12}  # what stands for a second


class Truth(NamedTuple):
    """What a configuration is worth at the largest volume: means over recorded seeds."""

    quality: float
    seconds: float


class RecordedTable:
    """The trials in *records*, to be asked for again. Raises NotEnoughDataError where that is senseless.

    *cost*: what is counted; by default measured seconds where every fine-tune has them, else parameters
    × examples. Raises InputError where a fine-tune lacks it. ``measure``: what is decided on. ``truth``:
    by configuration, for those that completed at the largest volume.
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
        joint = joint_methods(self.trained)
        self._runs: dict[Setting, dict[int, list[TrialResult]]] = {}
        self._hyper: dict[tuple[Any, ...], Hyper] = {}  # by method, variant and learning rate
        for result in sorted(self.trained, key=lambda r: r.spec.seed):
            setting = setting_of(result, joint)
            self._hyper[setting[1:4]] = hyper_of(result)
            volumes = self._runs.setdefault(setting, {})
            volumes.setdefault(result.spec.volume, []).append(result)
        self._nearest: dict[tuple[Setting, int], Setting | None] = {}
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
        """The table as a sweep; *seed* draws the order of models and mixes."""
        return recorded_sweep(
            self.trained,
            self._runs,
            self.objective,
            search=search,
            seed=seed,
            budget_seconds=budget_seconds,
        )

    @cached_property
    def full_seconds(self) -> float:
        """Cost of every model, method and mix at the largest volume, each with its best setting."""
        best: dict[tuple[str, str, str], Truth] = {}
        for s, truth in self.truth.items():
            key = (s.model, s.method, s.mix)
            best[key] = max(best.get(key, truth), truth)
        return sum(truth.seconds for truth in best.values())

    @property
    def full_cost(self) -> float:
        """:attr:`full_seconds` in :attr:`cost_unit`."""
        return self.full_seconds * _PER_SECOND[self.cost]

    @property
    def cost_unit(self) -> str:
        """What costs are counted in."""
        return _UNITS[self.cost]

    @property
    def best(self) -> Setting:
        """The configuration with the best mean quality at the largest volume."""
        return max(self.truth, key=lambda s: self.truth[s].quality)

    def seconds(self, result: TrialResult) -> float:
        """A recorded trial's cost; the driver counts in seconds, whatever they stand for."""
        return (_counted(result, self.cost) or 0.0) / _PER_SECOND[self.cost]

    def answer(self, spec: TrialSpec, first: int) -> tuple[TrialResult, bool]:
        """The recorded result of the trial *spec*, and whether another learning rate stands in.

        Seeds are taken in turn, from the *first* on. A trial that the table lacks has failed, for free.
        """
        asked = _asked(spec)
        if spec.method.name == "none":
            found = None
            runs = [run] if (run := self._bases.get(spec.model.name)) else []
        else:
            found = self.nearest(asked, spec.volume)
            runs = self._runs[found][spec.volume] if found else []
        if not runs:
            missing = Cost(device="none", device_seconds=0.0)
            failed = TrialResult(spec=spec, status=Status.FAILED, reason=NOT_RECORDED, cost=missing)
            return failed, False
        run = runs[(spec.seed + first) % len(runs)]
        cost = run.cost.model_copy(update={"device_seconds": self.seconds(run)})
        answer = run.model_copy(update={"spec": spec, "cost": cost})
        return answer, found is not None and found != asked

    def nearest(self, asked: Setting, volume: int) -> Setting | None:
        """*asked* if it was run at *volume*, else its neighbour in learning rate, if there is one."""
        if volume in self._runs.get(asked, {}):
            return asked
        key = (asked, volume)
        if key not in self._nearest:
            shape, rate = self._hyper[asked[1:4]]
            siblings = [
                s
                for s, volumes in self._runs.items()
                if volume in volumes
                and (s.model, s.method, s.mix) == (asked.model, asked.method, asked.mix)
                and self._hyper[s[1:4]].shape == shape
            ]
            self._nearest[key] = min(
                siblings, key=lambda s: _ratio(self._hyper[s[1:4]].rate, rate), default=None
            )
        return self._nearest[key]

    def chosen(self, choice: Values | None) -> Setting | None:
        """The configuration that *choice* comes to at the largest volume; ``None`` for none known."""
        if choice is None:
            return None
        asked = Setting(**{name: choice[name] for name in Setting._fields})
        found = self.nearest(asked, self.largest)
        return found if found in self.truth else None

    def regret(self, choice: Values | None) -> float:
        """How far *choice* is from the best configuration at the largest volume, in percent.

        Of losses: (chosen − best) / best. Of scores, in points: 100 × (best − chosen). No choice, or
        one that never completed there, counts as the worst.
        """
        qualities = [truth.quality for truth in self.truth.values()]
        setting = self.chosen(choice)
        got = self.truth[setting].quality if setting else min(qualities)
        lost = max(qualities) - got
        return 100 * (lost if self.measure == "score" else lost / abs(max(qualities)))

    def _all_have(self, kind: CostKind) -> bool:
        return all(_counted(result, kind) is not None for result in self.trained)

    def _truths(self) -> Iterator[tuple[Setting, Truth]]:
        for setting, volumes in self._runs.items():
            runs = volumes.get(self.largest, [])
            qualities = [
                quality
                for run in runs
                if run.status is Status.COMPLETE
                and (quality := weighted_score(run, self.objective)) is not None
            ]
            if qualities:
                yield setting, Truth(fmean(qualities), fmean(self.seconds(run) for run in runs))


def _counted(result: TrialResult, kind: CostKind) -> float | None:
    """The trial's cost of *kind*; a model of unknown size counts as one parameter."""
    if kind == "seconds":
        return result.cost.device_seconds
    if kind == "flops":
        return result.cost.flops
    return (result.spec.model.parameters or 1) * result.spec.volume


def _asked(spec: TrialSpec) -> Setting:
    """The configuration that a trial of the table's sweep asks for."""
    method = spec.method
    return Setting(
        spec.model.name,
        method.name,
        method.variant or "",
        method.learning_rate,
        spec.mix.name if spec.mix else ONE_MIX,
    )


def _ratio(one: float | None, other: float | None) -> float:
    """How many times one learning rate is the other, as a logarithm without sign."""
    return abs(math.log(one / other)) if one and other else 0.0
