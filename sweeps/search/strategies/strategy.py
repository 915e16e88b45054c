"""What every search strategy is, proposes and sees.

A strategy is a pure function of the trial's number and of the results told so far; :meth:`Strategy.needs`
says how many must have been told before a number may be asked. Neither interruption nor the number of
workers can therefore change which trials run. Every strategy begins with the untouched base models
(everyone's zero) and repeats leading design points with other seeds (the noise floor).
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
from tracker.constraints import is_lower, never_falls
from tracker.metrics import measures_of, weighted_loss, weighted_quality, weighted_se
from tracker.trial import Configuration, Objective, Status, TrialRecord, TrialResult

ANCHORS = (
    2  #: design points whose seeds give the noise floor, whatever the budget leaves for the rest
)


class Proposal(NamedTuple):
    """A trial to run; ``seed`` counts from the sweep's first.

    Optuna chooses the hyper-parameters of a method that has none, and everything for ``None``.
    """

    stage: str
    configuration: Configuration | None
    seed: int = 0


class Outcome(NamedTuple):
    """An ended trial as strategies see it.

    ``quality``: the weighted score; ``loss``: bits per byte; ``seconds``: what it took of its device;
    ``excesses``: by constraint, how far beyond its bound it was measured, at most 0 where it keeps it.
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

    @property
    def ran(self) -> bool:
        """False for a trial that the rest of the budget could not pay for."""
        return self.status is not Status.PRUNED or self.seconds is not None

    @property
    def broken(self) -> tuple[str, ...]:
        """The upper bounds that it broke: no further seed of its configuration is run."""
        return tuple(n for n, over in self.excesses.items() if over > 0 and not is_lower(n))

    @property
    def missed(self) -> int:
        """How many lower bounds it missed: those that miss fewer are repeated first."""
        return sum(over > 0 for name, over in self.excesses.items() if is_lower(name))

    @property
    def ends_growth(self) -> bool:
        """Whether a larger volume of its configuration must break a bound that it broke."""
        return any(never_falls(name) for name in self.broken)

    @property
    def point(self) -> Configuration:
        """The design point that the trial measured."""
        return design_point(self.configuration)

    @property
    def volume(self) -> int:
        """Training examples; 0 of an untouched base."""
        return self.configuration.volume or 0


class Strategy(ABC):
    """Base models first, repeats last, the body in between.

    *bounds*: by default those of a sweep that begins now. ``sees_when_begun``: whether it saw what trials
    forgot before the search kept all bounds. ``skips``: whether to go on with cheaper trials after one that
    the rest of the budget cannot pay for.
    """

    skips = True
    sees_when_begun = False

    def __init__(self, sweep: ResolvedSweep, bounds: SearchBounds | None = None) -> None:
        self.sweep, self.spec = sweep, sweep.spec
        self.bounds = bounds or SearchBounds(sweep)
        self.bases = self.bounds.bases
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
    def propose(self, number: int, observed: Sequence[Outcome]) -> Proposal | None:
        """The trial with *number*, or ``None`` when the design is done."""

    def choice(self, observed: Sequence[Outcome]) -> Configuration | None:
        """The configuration, at any volume, that the results so far speak for.

        Here the best of what was measured, each configuration at its largest volume and equal ones by
        that; ``None`` before any trial is complete.
        """
        return best_measured(observed)

    def _in_turn(
        self,
        number: int,
        observed: Sequence[Outcome],
        candidate: Callable[[int], Configuration | None],
        most: int,
    ) -> Configuration | None:
        """What *candidate* gives, from 0, for trial *number*, the first after the bases being given 0.

        What is forbidden when its turn comes is passed over, *most* of them at once.
        """
        broken, turn = Broken(observed), number - len(self.bases)
        if not broken:
            return candidate(turn)
        turn, found = 0, None
        for proposed in range(len(self.bases), number + 1):
            known = self.needs(proposed)
            for passed in range(most + 1):
                found = candidate(turn)
                turn += 1
                if found is None or not broken.forbids(found, known):
                    break
                if passed == most:
                    return None
        return found

    def _windowed(self, number: int) -> int:
        return max(0, number + 1 - self.spec.search.window)

    def _base(self, number: int) -> Proposal:
        return Proposal("baseline", untouched_base(self.bases[number]))


class Broken:
    """What the trials *told*, in their order, forbid: a further run of what broke an upper bound, and of its
    larger volumes where the quantity cannot fall with them.
    """

    def __init__(self, observed: Iterable[Outcome] = ()) -> None:
        self._first: dict[Configuration, int] = {}
        self._ends: dict[Configuration, list[tuple[int, int]]] = {}
        self._count = 0
        for each in observed:
            self.add(each)

    def add(self, each: Outcome) -> None:
        """Take note of the next trial."""
        if each.broken:
            self._first.setdefault(each.configuration, self._count)
        if each.ends_growth:
            self._ends.setdefault(each.configuration.curve, []).append((self._count, each.volume))
        self._count += 1

    def __bool__(self) -> bool:
        return bool(self._first)

    def forbids(self, configuration: Configuration, known: int) -> bool:
        """Whether the first *known* trials forbid a further run of *configuration*."""
        if self._first.get(configuration, known) < known:
            return True
        ends = self._ends.get(configuration.curve, ())
        return any(at < known and volume <= (configuration.volume or 0) for at, volume in ends)


def repeatable(observed: Sequence[Outcome]) -> list[Outcome]:
    """The scored trials whose configuration may run again, the best first.

    Those that miss fewer lower bounds come first; a configuration that broke an upper bound is left out.
    """
    out = {o.configuration for o in observed if o.broken}
    found = [o for o in scored(observed) if o.configuration not in out]
    return sorted(found, key=lambda o: (o.missed, *rank(o)))


def within_bounds(observed: Sequence[Outcome]) -> list[Outcome]:
    """The scored trials that kept every bound; all of them where none did."""
    found = scored(observed)
    return [o for o in found if not o.broken and not o.missed] or found


def scored(observed: Sequence[Outcome]) -> list[Outcome]:
    """The complete trials among *told* that have a quality, untouched bases left out."""
    return [
        o
        for o in observed
        if o.status is Status.COMPLETE and o.quality is not None and o.stage != "baseline"
    ]


def seconds_taken(observed: Sequence[Outcome]) -> list[tuple[Configuration, float]]:
    """What each complete fine-tune among *told* took of its device.

    What a trial took until it was stopped, diverged or failed is no price.
    """
    return [
        (o.configuration, o.seconds)
        for o in observed
        if o.seconds and o.status is Status.COMPLETE and not o.configuration.untouched
    ]


def rank(outcome: Outcome) -> tuple[float, float, int]:
    """Best quality first; ties by loss, then by number."""
    return (-(outcome.quality or 0.0), outcome.loss or 0.0, outcome.number)


def best_measured(observed: Sequence[Outcome]) -> Configuration | None:
    """The configuration with the best mean over seeds at its own largest volume, which breaks ties."""
    found: dict[Configuration, dict[int, list[float]]] = {}
    for o in within_bounds(observed):
        assert o.quality is not None
        volumes = found.setdefault(o.configuration.curve, {})
        volumes.setdefault(o.volume, []).append(o.quality)
    standing = {
        curve: (fmean(volumes[max(volumes)]), max(volumes)) for curve, volumes in found.items()
    }
    return max(standing, key=lambda curve: standing[curve], default=None)


# -- a result seen through the sweep's objective -------------------------------------------------------


def outcome(
    record: TrialRecord,
    configuration: Configuration,
    seed: int,
    objective: Objective,
    excesses: Mapping[str, float],
) -> Outcome:
    """What strategies see of an ended trial; its qualities are ``None`` where a score is missing."""
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
    )


def weighted_score(result: TrialResult, objective: Objective) -> float | None:
    """Mean quality over tasks by weight; ``None`` where a weighted task was not measured.

    A task without a score is decided on its loss, as in :mod:`tracker.metrics`: one sweep
    measures all its trials alike, so what this one holds says it.
    """
    return weighted_quality(result, objective.weights, measures_of([result]))
