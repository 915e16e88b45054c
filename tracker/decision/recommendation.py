"""Types of a recommendation: the candidates, runners-up, crossovers, next experiments and the whole.

Every number is rounded to six significant digits, every order is fixed by content, and measured times stand
apart in :class:`MeasuredCost`: the rest of a :class:`Recommendation` is the same for two runs of one sweep.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tracker.abstention import Threshold
from tracker.constraints import Rejection, SatisfiedConstraint
from tracker.decision.answer_quality import WorstLabel
from tracker.decision.majority import Majority
from tracker.frozen import Frozen
from tracker.metrics import Estimate, Measure
from tracker.results import CountedCost, MeasuredCost
from tracker.trial import MethodSpec, Objective, TrialSpec

#: Fewer validation rows limit an answer: an untouched base is none on them, and a caveat names them.
ENOUGH_ROWS = 100
#: Whether a target is met; unknown: the runs do not tell.
TargetState = Literal["met", "not met", "unknown"]


class Candidate(Frozen):
    """Candidate of a recommendation: one configuration with its seeds.

    ``keys`` and ``seeds``: its complete trials, by seed. ``quality``: predicted weighted mean of the tasks'
    scores over fresh rows and seeds; ``measured_quality``: the plain mean of its runs. ``forgetting``: per
    general suite. ``over_reach``: false positives on negatives, per task. ``on_frontier``: no other candidate
    is at least as good in quality, forgetting and counted cost and better in one; ``None`` where one of them
    was not measured. ``rows``: the fewest validation rows of a weighted task, ``None`` where not known.
    """

    label: str
    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    model: str
    method: MethodSpec
    mix: str
    volume: int
    examples: dict[str, int]
    scores: dict[str, float]
    quality: Estimate
    measured_quality: float
    forgetting: dict[str, Estimate]
    valid_format: dict[str, float]
    over_reach: dict[str, float]
    counted: CountedCost
    measured: MeasuredCost
    on_frontier: bool | None = None
    rows: int | None = None


class TaskResult(Frozen):
    """Measured value of the choice on one task, on validation: mean over its seeds, in the measure's unit.

    ``name``: of the score or error. ``rows``: the fewest that a seed was evaluated on.
    """

    task: str
    measure: Measure
    name: str | None = None
    value: Estimate
    rows: int | None = None


class RunnerUp(Frozen):
    """Runner-up; ``gap``: the choice's quality minus that of ``candidate``, on the same resamples."""

    candidate: Candidate
    gap: Estimate
    distinguishable: bool
    p_best: float

    @property
    def surely_better(self) -> bool:
        """Whether it is surely better than the choice, which is smaller or cheaper."""
        return self.gap.high is not None and self.gap.high < 0


class Crossover(Frozen):
    """Crossover: number of examples at which method ``second`` overtakes ``first``, for one model and mix.

    ``probability``: share of draws that cross within the measured range. ``examples``: median and 80 %
    interval over the draws that do; ``None`` where fewer than ten do.
    """

    model: str
    mix: str
    first: str
    second: str
    probability: float
    examples: Estimate | None
    measured_from: float
    measured_to: float


class ExamplesNeeded(Frozen):
    """Number of examples that a curve needs to reach a quality, by its law; ``label`` names the curve.

    ``probability``: share of draws that reach it within 16 times the largest measured training-set size.
    ``examples``: median and interval over those.
    """

    label: str
    probability: float
    examples: Estimate
    largest_measured: int


class TaskTarget(Frozen):
    """Target of one task, in the unit of its *measure*: the least of a score, the most of an error or a loss.

    ``probability``: that the choice reaches it; ``None`` where it did not measure the task.
    """

    task: str
    measure: Measure
    value: float
    probability: float | None = None


class TargetQuality(Frozen):
    """Whether the choice reaches the target quality, and the examples needed otherwise.

    ``quality``: of a target for the weighted quality, ``tasks``: of a target by task; one of both is there.
    ``probability``: that the choice reaches it, all tasks of it; ``None`` where it did not measure one.
    Where no candidate reaches it with P >= 0.9, ``reached`` is false, the choice is the closest, and
    ``needed`` holds the laws' estimates, the smallest model first; ``state`` says whether all surely miss it.
    """

    quality: float | None = None
    tasks: tuple[TaskTarget, ...] = Field((), exclude_if=lambda value: not value)
    state: TargetState = (
        "met"  # of a file of before this was kept: only what was reached was written
    )
    reached: bool
    probability: float | None
    needed: tuple[ExamplesNeeded, ...] = ()


class UnrunRival(Frozen):
    """Rival that was not run at the largest training-set size of the sweep.

    ``label``: its curve, the best of its model, method and mix; ``measured_to``: examples of its best run;
    ``examples``: the largest size. ``probability``: that it is ahead of the choice there, by the surrogate
    forecast over all curves.
    """

    label: str
    measured_to: int
    examples: int
    probability: float

    @property
    def may_be_ahead(self) -> bool:
        """Whether it is ahead in more than one draw of ten: the choice is no clear one."""
        return self.probability > 0.1


class NextExperiment(Frozen):
    """Runs that would help to settle the choice, with their cost and expected value.

    ``trials``: labels of the configurations to run. ``seeds``: more seeds of each. ``rows``: validation rows
    of each task, or as now (``None``). ``flops``, ``train_tokens``: counted cost of all; ``measured``: the
    time that such runs took. ``regret_removed``: by how much they lower the expected regret of taking the
    best (the expected value of sample information). ``p_change``: probability that another configuration than
    today's choice is ahead then. ``p_distinguishes``: probability that the choice and its likeliest rival are
    no longer tied then. All three are ``None`` without a noise floor.
    """

    label: str
    trials: tuple[str, ...]
    seeds: int
    rows: int | None = None
    flops: float | None = None
    train_tokens: float | None = None
    regret_removed: float | None = None
    p_change: float | None = None
    p_distinguishes: float | None = None
    measured: MeasuredCost


class Recommendation(Frozen):
    """Recommended fine-tune, the reasons, and how certain it is.

    ``p_best``: probability that no admitted candidate is better, nor a rival where it was not run (``unrun``,
    those ahead with P >= 1 %); 1 only of a single candidate. ``expected_regret``: quality lost on average by
    taking the choice rather than the best of both. ``distinguishable``: there are runners-up, the choice's
    80 % paired gap to each lies beyond half the noise floor, and no rival that was not run may be ahead.
    ``next_experiments``: runs that would help to distinguish it from the candidates tied with it, the most
    regret removed per training operation first.
    ``satisfied``: the constraints, and how surely the choice keeps them. ``noise_floor``: standard deviation
    of quality between seeds, ``None`` where no configuration has several. ``candidates``: how many were
    judged; ``admitted``: how many of them keep every constraint. ``frontier``: labels of those on the Pareto
    front. ``tied``: how many other admitted candidates are statistically tied with the choice, ``None`` in
    files of before this was kept. ``majorities``: the tasks most of whose rows have one answer, with what
    that answer scores. ``task_results``: what the choice measured on each task, empty in older files.
    ``worst_labels``: of tasks whose answers are labels; ``abstention``: of those whose answers have a
    likelihood.
    """

    sweep: str
    question: str
    objective: Objective
    trial: TrialSpec
    choice: Candidate
    why: tuple[str, ...]
    p_best: float
    expected_regret: float
    distinguishable: bool
    next_experiments: tuple[NextExperiment, ...]
    runners_up: tuple[RunnerUp, ...]
    satisfied: tuple[SatisfiedConstraint, ...] = ()
    rejected: tuple[Rejection, ...]
    caveats: tuple[str, ...]
    noise_floor: float | None
    candidates: int
    admitted: int
    frontier: tuple[str, ...]
    crossovers: tuple[Crossover, ...]
    target_quality: TargetQuality | None = None
    tied: int | None = None
    majorities: tuple[Majority, ...] = ()
    worst_labels: tuple[WorstLabel, ...] = Field((), exclude_if=lambda value: not value)
    abstention: tuple[Threshold, ...] = Field((), exclude_if=lambda value: not value)
    unrun: tuple[UnrunRival, ...] = ()
    task_results: tuple[TaskResult, ...] = Field((), exclude_if=lambda value: not value)

    @property
    def scored(self) -> bool:
        """Whether the quality is a mean of scores alone, else minus a loss or an error is part of it."""
        return all(t in self.choice.scores for t, w in self.objective.weights.items() if w > 0)

    @property
    def missed(self) -> bool:
        """Whether nothing measured reaches the target quality: there is nothing to export then."""
        return self.target_quality is not None and not self.target_quality.reached

    @property
    def likeliest_unrun(self) -> UnrunRival | None:
        """The likeliest of the rivals that may be ahead where they were not run."""
        return next((rival for rival in self.unrun if rival.may_be_ahead), None)
