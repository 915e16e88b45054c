"""The strategy ``law`` on tables whose truth is known, and as the driver runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.replay.replay import replay
from sweeps.search.replay.table import RecordedTable
from sweeps.search.space import trial_spec
from sweeps.search.strategies.law import Law, knowledge_gradient
from sweeps.search.strategies.strategy import Outcome, Proposal
from sweeps.search.workspace import SweepFolder
from sweeps.spec import Search
from tests.benchmarks.synthetic import synthetic_sweep
from tests.sweeps.search.formula import FormulaEngine, drive
from tests.sweeps.search.replay.test_replay import table, trial
from tracker.decision.forecast_posterior import ForecastPosterior
from tracker.laws.surrogate import SurrogateForecast
from tracker.trial import Status

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
Undecided = tuple[Law, list[Outcome]]
FEW = {"strategy": "law", "tuning": {"trials": 2}, "window": 4}


@pytest.fixture(scope="module")
def quiet() -> RecordedTable:
    """16 configurations, whose losses hardly scatter."""
    sampled = synthetic_sweep(2, scored=False, replicates=False, run_noise=0.002, glitches=0.0)
    return RecordedTable(sampled.records, sampled.objective)


def test_little_regret_at_a_quarter_of_the_cost(quiet: RecordedTable) -> None:
    run = replay(quiet, "law", fraction=0.25, seed=0)
    assert run.end.regret < 2.0
    assert run.end.cost <= 0.25 * (1 + 1e-9)
    assert run.missing == 0


def test_search_ends_when_nothing_is_left_to_learn() -> None:
    """One model is far better than the other at every volume: most of the grid does not repay its price."""
    volumes = [100 * 2**i for i in range(6)]
    loss = {"small": 2.0, "large": 1.0}
    known = table(
        *(
            trial(model, v, loss[model] * (0.5 + (v / 100) ** -0.3), scored=False, seed=seed)
            for model in loss
            for v in volumes
            for seed in range(2)
        )
    )
    run = replay(known, "law", fraction=100.0, seed=0)
    assert run.end.chosen == known.best
    assert run.end.trials < len(known.trained) / 2


def test_configurations_without_a_run_get_one_on_the_least_data_cheapest_first(
    quiet: RecordedTable,
) -> None:
    """After the smallest model's three methods at two volumes, the nine pairs of the other three models."""
    search = Search.model_construct(strategy="law", window=1)
    law = Law(quiet.sweep(search, 0, quiet.full_seconds))
    observed: list[Outcome] = []
    for number in range(len(law.bases) + 6 + 9):
        proposal = law.propose(number, observed)
        assert proposal is not None
        observed.append(_outcome(quiet, law, number, proposal))
    runs = observed[-9:]
    assert len({o.configuration.curve for o in runs}) == 9
    assert {o.volume for o in runs} == {min(quiet.volumes)}
    sizes = [law.sweep.models[o.configuration.model].parameters or 0 for o in runs]
    assert sizes == sorted(sizes)


def _outcome(known: RecordedTable, law: Law, number: int, proposal: Proposal) -> Outcome:
    assert proposal.configuration is not None
    answer, _ = known.answer(trial_spec(law.sweep, proposal.configuration, proposal.seed), 0)
    loss = answer.tasks[0].bits_per_byte
    quality = None if loss is None else -loss
    seconds = answer.cost.device_seconds
    return Outcome(
        number,
        proposal.stage,
        proposal.configuration,
        proposal.seed,
        answer.status,
        quality,
        None,
        loss,
        seconds,
    )


@pytest.fixture
def undecided(quiet: RecordedTable) -> Undecided:
    """The strategy, and every configuration's outcome at the largest volume."""
    settings = {"strategy": "law", "window": 1}
    law = Law(quiet.sweep(Search.model_construct(**settings), 0, 1e9))  # type: ignore[arg-type]
    observed = []
    for number, curve in enumerate(law.configurations):
        configuration = curve._replace(volume=law.target(number))
        answer, _ = quiet.answer(trial_spec(law.sweep, configuration, 0), 0)
        loss = answer.tasks[0].bits_per_byte
        assert loss is not None
        observed.append(
            Outcome(
                number,
                "law",
                configuration,
                0,
                answer.status,
                -loss,
                None,
                loss,
                1.0,
                {"forgetting.x": -0.1},
            )
        )
    return law, observed


def test_with_everything_measured_the_best_is_chosen(undecided: Undecided) -> None:
    law, observed = undecided
    best = max(observed, key=lambda o: o.quality or -math.inf)
    assert law.choice(observed) == best.configuration.curve


@pytest.mark.parametrize(
    "breaks",
    [
        {"excesses": {"forgetting.x": 0.2}},
        {"status": Status.DIVERGED, "quality": None, "loss": None, "excesses": {}},
    ],
)
def test_what_breaks_a_constraint_is_not_chosen(
    undecided: Undecided, breaks: dict[str, Any]
) -> None:
    law, observed = undecided
    ranked = sorted(observed, key=lambda o: -(o.quality or -math.inf))
    observed[ranked[0].number] = ranked[0]._replace(**breaks)
    assert law.choice(observed) == ranked[1].configuration.curve


def test_nothing_is_chosen_before_a_trial_is_complete(undecided: Undecided) -> None:
    law, _ = undecided
    assert law.choice([]) is None


def test_the_posterior_of_measured_configurations_is_what_was_measured(
    undecided: Undecided,
) -> None:
    """Where all ran at the largest size, the posterior is as wide as the noise of a run."""
    law, observed = undecided
    posterior = law.posterior(observed)
    assert posterior.mean == pytest.approx([o.quality for o in observed], rel=0.02)
    assert posterior.allowed == pytest.approx(np.ones(len(observed)))
    assert posterior.forecast.doublings == pytest.approx(np.zeros(len(observed)))
    assert 0 <= posterior.expected_regret < 0.2 * np.std(posterior.mean)


def test_few_trials_are_not_spent_in_a_round_or_two(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Each round is chosen from all before it: of 20 trials two at a time, whatever the window."""
    sweep, _ = make_sweep(search={**FEW, "window": 8}, budget={"trials": 20})
    strategy = drive(
        sweep, SweepFolder(tmp_path, "tiny"), FormulaEngine(2), in_memory=True
    ).strategy
    assert isinstance(strategy, Law)
    assert len(strategy._rounds) > 3
    assert all(len(batch) <= 2 for _, batch in strategy._rounds[2:])  # after bases and first runs


# -- the acquisition value ---------------------------------------------------------------------------


def posterior(mean: list[float], allowed: list[float] | None = None) -> ForecastPosterior:
    means, nothing = np.array(mean), np.zeros(len(mean))
    forecast = SurrogateForecast(nothing, nothing[None], nothing[None], nothing, 0.0)
    return ForecastPosterior(
        means[None], means, nothing, np.array(allowed or [1.0] * len(mean)), forecast
    )


def test_between_equals_the_knowledge_gradient_is_the_mean_of_a_half_normal() -> None:
    found = knowledge_gradient(posterior([0.5, 0.5]), 0, sd=0.1)
    assert found == pytest.approx(0.1 / math.sqrt(2 * math.pi))


def test_the_knowledge_gradient_is_the_expected_rise_of_the_best() -> None:
    """Against draws: the challenger at 0.4 ± 0.2 overtakes the best at 0.5 now and then."""
    learned = np.random.default_rng(0).normal(0.4, 0.2, 1_000_000)
    rise = float(np.maximum(learned, 0.5).mean()) - 0.5
    assert knowledge_gradient(posterior([0.4, 0.5]), 0, sd=0.2) == pytest.approx(rise, rel=0.01)


def test_what_cannot_win_has_no_value() -> None:
    assert knowledge_gradient(posterior([0.1, 0.9]), 0, sd=0.02) == pytest.approx(0.0, abs=1e-12)
    assert knowledge_gradient(posterior([0.5, 0.5]), 0, sd=0.0) == 0.0


def test_the_knowledge_gradient_is_weighted_by_the_chance_to_keep_the_constraints() -> None:
    half = knowledge_gradient(posterior([0.5, 0.5], [0.5, 1.0]), 0, sd=0.1)
    assert half == pytest.approx(0.5 * knowledge_gradient(posterior([0.5, 0.5]), 0, sd=0.1))
