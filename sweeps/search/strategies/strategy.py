"""Which trial comes next.

A strategy is a pure function of the trial's number and of the results told so far; :meth:`Strategy.needs`
says how many must have been told before a number may be asked. Neither interruption nor the number of
workers can therefore change which trials run. Every strategy begins with the untouched base models
(everyone's zero) and repeats leading cells with other seeds (the noise floor).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import (
    Cell,
    Pair,
    Values,
    cells,
    is_tunable,
    lattice,
    model_names,
    pairs,
    tuning_mix,
    tuning_volume,
)
from sweeps.spec import SweepSpec
from tracker.trial import Status

ANCHORS = 2  #: cells whose seeds give the noise floor, whatever the budget leaves for the rest


class Proposal(NamedTuple):
    """``values`` that are fixed; what they leave open is Optuna's to choose."""

    stage: str
    values: Values


class Outcome(NamedTuple):
    """An ended trial as strategies see it.

    ``quality``: the weighted score; ``loss``: bits per byte; ``seconds``: what it took of its device;
    ``excess``: the largest excess over a constraint's bound, ``None`` where none was measured.
    """

    number: int
    stage: str
    values: Values
    status: Status
    quality: float | None
    quality_se: float | None
    loss: float | None
    seconds: float | None = None
    excess: float | None = None

    @property
    def ran(self) -> bool:
        """False for a trial that the rest of the budget could not pay for."""
        return self.status is not Status.PRUNED or self.seconds is not None

    @property
    def cell(self) -> Cell:
        """The design's cell that the trial measured."""
        v = self.values
        return Cell(v["model"], v["method"], v["mix"], v["volume"])


class Strategy(ABC):
    """Base models first, repeats last, the body in between.

    ``skips``: whether to go on with cheaper trials after one that the rest of the budget cannot pay for.
    """

    skips = True

    def __init__(self, sweep: ResolvedSweep) -> None:
        self.sweep, self.spec = sweep, sweep.spec
        self.bases = model_names(self.spec)
        self.limit = self.spec.budget.trials if self.spec.budget else None

    def set_budget(self, sweep: ResolvedSweep) -> None:
        """Go on with the budget of *sweep*, in all else the same; what was proposed stays."""
        self.sweep, self.spec = sweep, sweep.spec
        self.limit = self.spec.budget.trials if self.spec.budget else None

    @property
    @abstractmethod
    def planned(self) -> int:
        """How many trials the strategy will run at most."""

    @abstractmethod
    def needs(self, number: int) -> int:
        """How many trials, from 0, must have been told (exactly these) when *number* is asked."""

    @abstractmethod
    def propose(self, number: int, told: Sequence[Outcome]) -> Proposal | None:
        """The trial with *number*, or ``None`` when the design is done."""

    def choice(self, told: Sequence[Outcome]) -> Values | None:
        """The configuration (all values but volume and seed) that the results so far speak for.

        Here the best of what was measured, each configuration at its largest volume and equal ones by
        that; ``None`` before any trial is complete.
        """
        return best_measured(told)

    def _windowed(self, number: int) -> int:
        return max(0, number + 1 - self.spec.search.window)

    def _base(self, number: int) -> Proposal:
        return Proposal("baseline", {"model": self.bases[number], "method": "none", "seed": 0})


class Grid(Strategy):
    """Tune per model and method, then every cell with what was tuned, then further seeds of the leaders.

    Budget permitting, the stages are ``baseline``, ``tune``, ``anchor`` (two cells with all seeds),
    ``cover`` and ``repeat``.
    """

    @cached_property
    def _tunings(self) -> list[tuple[Pair, Values]]:
        trials = self.spec.search.tuning.trials
        return [
            (pair, settings)
            for pair in pairs(self.spec)
            if is_tunable(self.spec, pair.method)
            for settings in lattice(self.spec, pair.method, trials)
        ]

    @property
    def _tuned_at(self) -> int:
        return len(self.bases) + len(self._tunings)

    @property
    def _covered_from(self) -> int:
        return self._tuned_at + self._anchor_count

    @property
    def _anchor_count(self) -> int:
        return min(ANCHORS, len(pairs(self.spec))) * (self.spec.seeds - 1) if self._tunings else 0

    @cached_property
    def _cover(self) -> list[Cell]:
        tuned_here = (tuning_mix(self.spec), tuning_volume(self.spec))
        tuned = {pair for pair, _ in self._tunings}
        return [
            cell
            for cell in cells(self.spec)
            if not (cell.pair in tuned and (cell.mix, cell.volume) == tuned_here)
        ]

    @property
    def planned(self) -> int:
        seeds = self.spec.seeds
        whole = len(self.bases) + len(self._tunings) + len(self._cover)
        whole += (seeds - 1) * len(cells(self.spec))
        return min(whole, self.limit) if self.limit else whole

    def needs(self, number: int) -> int:
        if number < self._tuned_at:
            return self._windowed(number)
        repeats_from = self._covered_from + len(self._cover)
        if number < repeats_from:
            return max(self._tuned_at, self._windowed(number))
        return max(repeats_from, self._windowed(number))

    def propose(self, number: int, told: Sequence[Outcome]) -> Proposal | None:
        if number >= self.planned:
            return None
        if number < len(self.bases):
            return self._base(number)
        if number < self._tuned_at:
            pair, settings = self._tunings[number - len(self.bases)]
            cell = Cell(pair.model, pair.method, tuning_mix(self.spec), tuning_volume(self.spec))
            return Proposal("tune", {**cell._asdict(), "seed": 0, **settings})
        best = tuned_settings(self.spec, told[: self._tuned_at])
        if number < self._covered_from:
            return self._repeat("anchor", told[: self._tuned_at], number - self._tuned_at, best)
        cover = [cell for cell in self._cover if cell.pair in best]
        if number < self._covered_from + len(cover):
            cell = cover[number - self._covered_from]
            return Proposal("cover", {**cell._asdict(), "seed": 0, **best[cell.pair]})
        repeats_from = self._covered_from + len(cover)
        anchored = {o.cell for o in told if o.stage == "anchor"}
        first = [o for o in told[:repeats_from] if o.stage in ("tune", "cover")]
        rest = [o for o in first if o.cell not in anchored]
        return self._repeat("repeat", rest, number - repeats_from, best)

    def _repeat(
        self, stage: str, told: Sequence[Outcome], at: int, best: dict[Pair, Values]
    ) -> Proposal | None:
        """The *at*-th further seed, leaders first."""
        more = self.spec.seeds - 1
        if more < 1:
            return None
        ranked = _leaders([o for o in told if o.stage != "baseline" and o.cell.pair in best])
        if at // more >= len(ranked):
            return None
        cell = ranked[at // more]
        return Proposal(stage, {**cell._asdict(), "seed": 1 + at % more, **best[cell.pair]})


class Random(Strategy):
    """Cells in random order, hyper-parameters drawn afresh for each."""

    @property
    def planned(self) -> int:
        return self.limit or len(self.bases) + len(cells(self.spec)) + self._repeats

    @property
    def _repeats(self) -> int:
        return ANCHORS * (self.spec.seeds - 1)

    def needs(self, number: int) -> int:
        body = self.planned - self._repeats
        return max(body, self._windowed(number)) if number >= body else self._windowed(number)

    def propose(self, number: int, told: Sequence[Outcome]) -> Proposal | None:
        if number >= self.planned:
            return None
        if number < len(self.bases):
            return self._base(number)
        body = self.planned - self._repeats
        if number >= body:
            return self._leader_again(number - body, told[:body])
        return self._body(number)

    def _body(self, number: int) -> Proposal:
        at = number - len(self.bases)
        every = cells(self.spec)
        order = np.random.default_rng(at // len(every)).permutation(len(every))
        return Proposal("sample", {**every[order[at % len(every)]]._asdict(), "seed": 0})

    def _leader_again(self, at: int, told: Sequence[Outcome]) -> Proposal | None:
        ranked = sorted(scored(told), key=rank)
        more = self.spec.seeds - 1
        if at // more >= len(ranked):
            return None
        return Proposal("repeat", {**ranked[at // more].values, "seed": 1 + at % more})


class Tpe(Random):
    """Optuna's multivariate TPE chooses everything: model, method, mix, volume, hyper-parameters."""

    def _body(self, number: int) -> Proposal:
        return Proposal("sample", {"seed": 0})


def tuned_settings(spec: SweepSpec, told: Sequence[Outcome]) -> dict[Pair, Values]:
    """Each pair's best settings: lowest loss among those within a standard error of its best score.

    Scores alone would tie at 0 for a method that has not taken off yet. Pairs of which no trial completed
    are left out; a method with nothing to tune has its only setting.
    """
    best: dict[Pair, Values] = {}
    for pair in pairs(spec):
        names = lattice(spec, pair.method, 1)[0]
        if not is_tunable(spec, pair.method) or spec.search.tuning.trials == 0:
            best[pair] = names
            continue
        own = [o for o in scored(told) if o.stage == "tune" and o.cell.pair == pair]
        if own:
            chosen = min(_within_error(own), key=lambda o: (o.loss, o.number))
            best[pair] = {name: chosen.values[name] for name in names}
    return best


def configuration(values: Values) -> Values:
    """A point of the space without volume and seed."""
    return {name: value for name, value in values.items() if name not in ("volume", "seed")}


def best_measured(told: Sequence[Outcome]) -> Values | None:
    """The configuration with the best mean over seeds at its own largest volume, which breaks ties."""
    found: dict[tuple[Any, ...], dict[int, list[float]]] = {}
    for o in scored(told):
        assert o.quality is not None
        volumes = found.setdefault(tuple(configuration(o.values).items()), {})
        volumes.setdefault(o.values["volume"], []).append(o.quality)
    standing = {
        config: (fmean(volumes[max(volumes)]), max(volumes)) for config, volumes in found.items()
    }
    if not standing:
        return None
    best = max(standing, key=lambda config: standing[config])
    return dict(best)


def _within_error(outcomes: Sequence[Outcome]) -> list[Outcome]:
    top = min(outcomes, key=rank)
    assert top.quality is not None
    floor = top.quality - (top.quality_se or 0.0)
    return [o for o in outcomes if o.quality is not None and o.quality >= floor]


def scored(told: Sequence[Outcome]) -> list[Outcome]:
    """The complete trials among *told* that have a quality, untouched bases left out."""
    return [
        o
        for o in told
        if o.status is Status.COMPLETE and o.quality is not None and o.stage != "baseline"
    ]


def rank(outcome: Outcome) -> tuple[float, float, int]:
    """Best quality first; ties by loss, then by number."""
    return (-(outcome.quality or 0.0), outcome.loss or 0.0, outcome.number)


def _leaders(told: Sequence[Outcome]) -> list[Cell]:
    return list(dict.fromkeys(o.cell for o in sorted(scored(told), key=rank)))
