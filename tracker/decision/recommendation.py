"""The types of an answer: candidates, what was rejected and why, and the recommendation itself.

Every number is rounded to six significant digits, every order is fixed by content, and what was
taken with a stopwatch stands apart in :class:`MeasuredCost`: the rest of a :class:`Recommendation` is
the same for two runs of one sweep.
"""

from __future__ import annotations

from tracker.constraints import Rejection, SatisfiedConstraint
from tracker.metrics import Estimate
from tracker.results import CountedCost, MeasuredCost
from tracker.trial import Frozen, MethodSpec, Objective, TrialSpec


class Candidate(Frozen):
    """One configuration with its seeds grouped.

    ``keys`` and ``seeds``: its complete trials, by seed. ``quality``: the weighted mean of the
    tasks' scores of this configuration over fresh rows and seeds, ``measured_quality`` the plain
    mean of its runs. ``forgetting``: per general suite. ``on_frontier``: no other candidate is at
    least as good in quality, forgetting and counted cost and better in one; ``None`` where one of
    them was not measured.
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


class RunnerUp(Frozen):
    """Another candidate; ``gap``: the choice's quality minus its own, on the same resamples."""

    candidate: Candidate
    gap: Estimate
    distinguishable: bool
    p_best: float

    @property
    def surely_better(self) -> bool:
        """Whether it scores more than the choice, which was taken for being smaller or cheaper."""
        return self.gap.high is not None and self.gap.high < 0


class Crossover(Frozen):
    """Where the method ``second`` overtakes ``first``, for one model and mix, in examples.

    ``probability``: share of bootstrap replicates that cross within the measured range.
    ``examples``: median and 80 % interval over the replicates that do; ``None`` where fewer than
    ten do.
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
    """What a curve's law says of reaching a quality: ``label`` names the curve.

    ``probability``: share of replicates that reach it within 16× the largest measured volume;
    ``examples``: median and interval over those.
    """

    label: str
    probability: float
    examples: Estimate
    largest_measured: int


class TargetQuality(Frozen):
    """The answer to "the smallest and cheapest that reaches quality Q".

    ``probability``: that the choice does. Where nothing reaches it with P ≥ 0.9, ``reached`` is
    false, the choice is the closest, and ``needed`` holds the laws' estimates, the smallest model
    first.
    """

    quality: float
    reached: bool
    probability: float
    needed: tuple[ExamplesNeeded, ...] = ()


class NextExperiment(Frozen):
    """Runs that would help to settle the choice, and what they are worth.

    ``trials``: labels of the configurations to run, ``seeds`` further seeds of each; evaluated on
    ``rows`` validation rows of each task, or as now (``None``). ``flops``, ``train_tokens``: counted
    cost of all of it; ``measured``: what the clock said of such runs. ``regret_removed``: the expected regret
    of taking the best that it would remove (the expected value of the sample information);
    ``p_change``: the probability that another configuration than today's choice is ahead then;
    ``p_distinguishes``: that the choice can be told from its likeliest rival then. All three are ``None``
    where the noise between seeds is not known.
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
    """Which fine-tune to take, why, and how sure that is.

    ``p_best``: probability that no admitted candidate is better. ``expected_regret``: quality lost
    on average by taking the choice rather than the best. ``distinguishable``: there are runners-up,
    and the choice's 80 % paired gap to each lies beyond half the noise floor. ``next_experiments``:
    the runs that would help to tell it from those it cannot be told from, the most regret removed
    per training operation first.
    ``satisfied``: the constraints, and how surely the choice keeps them.
    ``noise_floor``: standard deviation of quality between seeds, ``None`` where no configuration has
    several. ``candidates``: how many were judged, ``admitted``: how
    many of them keep every constraint; ``frontier``: labels of those on the Pareto front.
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
