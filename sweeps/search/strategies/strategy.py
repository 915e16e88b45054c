"""The strategy contract: what a search strategy proposes, and the outcomes that it observes.

A strategy is a pure function of the trial's number and of the outcomes observed so far;
:meth:`Strategy.needs` says how many outcomes a number depends on. Neither interruption nor the number of
workers can therefore change which trials run. Every strategy begins with the untouched base models
(everyone's zero) and repeats the best design points with other seeds (the noise floor).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.space import design_point, untouched_base
from sweeps.spec import SweepSpec, lowered
from tracker.constraints import never_falls, of_quality
from tracker.metrics import (
    measures_of,
    perfect_quality,
    weighted_loss,
    weighted_quality,
    weighted_se,
)
from tracker.trial import Configuration, Objective, Status, TrialRecord, TrialResult

#: Design points whose seeds give the noise floor, whatever the budget leaves for the rest.
ANCHORS = 2


class Proposal(NamedTuple):
    """A trial to run; ``seed`` counts from the sweep's first.

    Optuna chooses the hyper-parameters of a method that has none, and everything where the configuration
    is ``None``.
    """

    stage: str
    configuration: Configuration | None
    seed: int = 0


class Outcome(NamedTuple):
    """An ended trial as strategies observe it.

    ``quality``: the weighted score; ``loss``: bits per byte; ``seconds``: device seconds, which a trial
    that was ``taken_over`` cost another sweep; ``excesses``: by constraint, how far beyond its bound the
    trial was measured, at most 0 where it keeps the bound.
    """

    number: int
    stage: str
    configuration: Configuration
    seed: int
    status: Status
    quality: float | None
    quality_se: float | None
    loss: float | None
    seconds: float | None = None
    excesses: Mapping[str, float] = MappingProxyType({})
    taken_over: bool = False

    @property
    def spent(self) -> float:
        """Device seconds of the sweep's budget."""
        return 0.0 if self.taken_over else self.seconds or 0.0

    @property
    def ran(self) -> bool:
        """Whether the trial ran: False for one that the rest of the budget could not pay for."""
        return self.status is not Status.PRUNED or self.seconds is not None

    @property
    def broken(self) -> tuple[str, ...]:
        """Bounds on losses and costs that the trial broke: no other seed of its configuration is run."""
        return tuple(n for n, over in self.excesses.items() if over > 0 and not of_quality(n))

    @property
    def missed(self) -> int:
        """Number of bounds on quality that the trial missed: those that miss fewer are repeated first."""
        return sum(over > 0 for name, over in self.excesses.items() if of_quality(name))

    @property
    def ends_growth(self) -> bool:
        """Whether more data for its configuration must break a bound that the trial broke."""
        return any(never_falls(name) for name in self.broken)

    @property
    def point(self) -> Configuration:
        """Design point of the trial."""
        return design_point(self.configuration)

    @property
    def volume(self) -> int:
        """Training-set size in examples; 0 of an untouched base."""
        return self.configuration.volume or 0


class Strategy(ABC):
    """Base class of search strategies: base models first, repeats last, the body in between.

    *bounds*: by default those of a sweep that begins now. ``sees_legacy_excesses``: whether it observes
    excesses over bounds in a legacy sweep, begun before the search kept all bounds. ``skips``: whether it
    goes on with cheaper trials after one that the rest of the budget cannot pay for. ``corrects``: whether
    a failed trial that was run again may enter its next proposals. Not where the number of a proposal is its
    place in a list that earlier outcomes give: another list would repeat some trials and leave others out.
    ``observes_kept``: whether the trials that a sweep with a changed file keeps are its first outcomes; else
    it proposes its whole design, and what of that was kept has ended already.
    """

    skips = True
    corrects = False
    observes_kept = True
    sees_legacy_excesses = False

    def __init__(self, sweep: ResolvedSweep, bounds: SearchBounds | None = None) -> None:
        self.sweep, self.spec = sweep, sweep.spec
        self.bounds = bounds or SearchBounds(sweep)
        self.bases = self.bounds.bases
        self.kept: tuple[Proposal, ...] = ()
        self.limit = self.spec.budget.trials if self.spec.budget else None

    def set_budget(self, sweep: ResolvedSweep) -> None:
        """Change the budget to that of *sweep*, in all else the same; earlier proposals stay."""
        self.sweep, self.spec = sweep, sweep.spec
        self.limit = self.spec.budget.trials if self.spec.budget else None

    def keep(self, kept: Sequence[Proposal]) -> None:
        """Go on after *kept*, the sweep's trials before its file was changed: their outcomes come first."""
        self.kept = tuple(kept)
        known = {each.configuration for each in kept}
        self.bases = [name for name in self.bases if untouched_base(name) not in known]

    def knows(self, configuration: Configuration) -> bool:  # noqa: ARG002 - for those that do not know all
        """Whether an outcome of *configuration*, which the search space has, can be observed."""
        return True

    @property
    def body_from(self) -> int:
        """Number of the first proposal after those that were kept and the untouched bases."""
        return len(self.kept) + len(self.bases)

    @property
    @abstractmethod
    def planned(self) -> int:
        """The largest number of trials that the strategy can propose."""

    @abstractmethod
    def needs(self, number: int) -> int:
        """Number of outcomes, from trial 0 on, that the proposal of trial *number* depends on."""

    @abstractmethod
    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        """Propose trial *number*; ``None`` when the design is done."""

    def choice(self, observed: Sequence[Outcome]) -> Configuration | None:
        """The best configuration by the outcomes so far, at any training-set size.

        By default the best measured, each at its largest size, the larger of which breaks ties; ``None``
        before any trial is complete.
        """
        return best_measured(observed)

    def _in_turn(
        self,
        number: int,
        observed: Sequence[Outcome],
        candidate: Callable[[int], Configuration | None],
        most: int,
    ) -> Configuration | None:
        """The candidate of trial *number*; *candidate* gives them in order, 0 for the first after the bases.

        Candidates that are forbidden when their turn comes are skipped, *most* of them in a row.
        """
        broken, turn = BrokenBounds(observed), number - self.body_from
        if not broken:
            return candidate(turn)
        turn, chosen = 0, None
        for earlier in range(self.body_from, number + 1):
            count = max(self.needs(earlier), len(self.kept))
            for skipped in range(most + 1):
                chosen = candidate(turn)
                turn += 1
                if chosen is None or not broken.forbids(chosen, count):
                    break
                if skipped == most:
                    return None
        return chosen

    def _windowed(self, number: int) -> int:
        return max(0, number + 1 - self.spec.search.window)

    def _base(self, number: int) -> Proposal:
        return Proposal("baseline", untouched_base(self.bases[number - len(self.kept)]))


class BrokenBounds:
    """Configurations that the *observed* outcomes forbid to run again, since they broke an upper bound.

    Forbidden too is more data for such a configuration, where the quantity cannot fall with data.
    """

    def __init__(self, observed: Iterable[Outcome] = ()) -> None:
        self._first: dict[Configuration, int] = {}
        self._ends: dict[Configuration, list[tuple[int, int]]] = {}
        self._count = 0
        for ended in observed:
            self.add(ended)

    def add(self, ended: Outcome) -> None:
        """Add the outcome of the next trial."""
        if ended.broken:
            self._first.setdefault(ended.configuration, self._count)
        if ended.ends_growth:
            ends = self._ends.setdefault(ended.configuration.curve, [])
            ends.append((self._count, ended.volume))
        self._count += 1

    def __bool__(self) -> bool:
        return bool(self._first)

    def forbids(self, configuration: Configuration, count: int) -> bool:
        """Whether the first *count* outcomes forbid another run of *configuration*."""
        if self._first.get(configuration, count) < count:
            return True
        ends = self._ends.get(configuration.curve, ())
        return any(at < count and volume <= (configuration.volume or 0) for at, volume in ends)


def repeatable(observed: Sequence[Outcome]) -> list[Outcome]:
    """Scored trials whose configuration may run again, best first.

    Those that miss fewer lower bounds come first; a configuration that broke an upper bound is left out.
    """
    broken = {o.configuration for o in observed if o.broken}
    allowed = [o for o in scored(observed) if o.configuration not in broken]
    return sorted(allowed, key=lambda o: (o.missed, *rank(o)))


def within_bounds(observed: Sequence[Outcome]) -> list[Outcome]:
    """Scored trials that kept every bound; all of them where none did."""
    every = scored(observed)
    return [o for o in every if not o.broken and not o.missed] or every


def scored(observed: Sequence[Outcome]) -> list[Outcome]:
    """Complete trials that have a quality, untouched bases left out."""
    return [
        o
        for o in observed
        if o.status is Status.COMPLETE and o.quality is not None and o.stage != "baseline"
    ]


def perfect_quality_of(spec: SweepSpec, qualities: Iterable[float]) -> float:
    """Weighted quality without error of the sweep *spec*, some of whose trials have *qualities*.

    0 where all lie below 0 although the tasks are scored: minus a loss, of a replayed table.
    """
    perfect = perfect_quality(spec.objective.weights, dict.fromkeys(lowered(spec), "error"))
    return perfect if perfect < 1 or any(quality >= 0 for quality in qualities) else 0.0


def seconds_taken(observed: Sequence[Outcome]) -> list[tuple[Configuration, float]]:
    """Device seconds of each complete fine-tune.

    Not of trials that were stopped, diverged or failed: what those took is no price.
    """
    return [
        (o.configuration, o.seconds)
        for o in observed
        if o.seconds and o.status is Status.COMPLETE and not o.configuration.untouched
    ]


def rank(outcome: Outcome) -> tuple[float, float, int]:
    """Sort key of outcomes: best quality first; ties by loss, then by number."""
    return (-(outcome.quality or 0.0), outcome.loss or 0.0, outcome.number)


def best_measured(observed: Sequence[Outcome]) -> Configuration | None:
    """The configuration with the best mean over seeds at its largest training-set size; ties by that size."""
    qualities: dict[Configuration, dict[int, list[float]]] = {}
    for o in within_bounds(observed):
        assert o.quality is not None
        volumes = qualities.setdefault(o.configuration.curve, {})
        volumes.setdefault(o.volume, []).append(o.quality)
    standing = {
        curve: (fmean(volumes[max(volumes)]), max(volumes)) for curve, volumes in qualities.items()
    }
    return max(standing, key=lambda curve: standing[curve], default=None)


# -- the outcome of a trial's result -------------------------------------------------------------------


def outcome(
    record: TrialRecord,
    configuration: Configuration,
    seed: int,
    objective: Objective,
    excesses: Mapping[str, float],
) -> Outcome:
    """The outcome of an ended trial; its qualities are ``None`` where a score is missing."""
    result = record.result
    return Outcome(
        number=record.number,
        stage=record.stage,
        configuration=configuration,
        seed=seed,
        status=result.status,
        quality=weighted_score(result, objective),
        quality_se=weighted_se(result, objective.weights, measures_of([result])),
        loss=weighted_loss(result, objective.weights),
        seconds=result.cost.device_seconds,
        excesses=excesses,
        taken_over=record.taken_over is not None,
    )


def weighted_score(result: TrialResult, objective: Objective) -> float | None:
    """Weighted mean quality over tasks; ``None`` where a weighted task was not measured.

    A task without a score counts by its loss, as in :mod:`tracker.metrics`: a sweep measures all its trials
    alike, so the measures of this one are those of all.
    """
    return weighted_quality(result, objective.weights, measures_of([result]))
