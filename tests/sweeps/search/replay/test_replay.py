"""A recorded table answers exactly what it holds, and every strategy runs on it within its budget."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from sweeps.search.replay.replay import replay
from sweeps.search.replay.report import lines, report, summaries
from sweeps.search.replay.table import RecordedTable
from sweeps.search.strategies import STRATEGIES
from sweeps.spec import Halving, Search
from tests.benchmarks.synthetic import synthetic_sweep
from tests.factories import method_spec, model_spec, trial_result, trial_spec
from tracker.errors import NotEnoughDataError
from tracker.importing.trials import read_table
from tracker.task import TaskScore
from tracker.trial import (
    Configuration,
    Cost,
    MethodSpec,
    MixSpec,
    Objective,
    Status,
    TrialRecord,
    TrialResult,
)

PUBLIC = Path(__file__).parents[4] / "shared" / "data" / "public_results"
GOAL = Objective(weights={"t": 1.0})
SIZES = {"small": 100, "large": 1000}


def trial(
    model: str,
    volume: int,
    value: float,
    *,
    rate: float | None = 1e-3,
    seed: int = 0,
    scored: bool = True,
    seconds: float | None = None,
    method: str = "full",
    status: Status = Status.COMPLETE,
) -> TrialResult:
    """One recorded trial; *value* is its score, or its loss."""
    measured = {"score": value} if scored else {"loss_nats": value}
    spec = trial_spec(
        model_spec(model, digest=None, parameters=SIZES[model]),
        method_spec(method, learning_rate=rate),
        mix=MixSpec(name="even", weights={"t": 1.0}),
        volume=volume,
        examples={},
        tasks=(),
        general=(),
        seed=seed,
    )
    scores = (TaskScore.model_validate({"task": "t", "n": 100} | measured),) if value else ()
    cost = Cost(device="d", device_seconds=seconds)
    return trial_result(spec, status, tasks=scores, cost=cost)


def table(*results: TrialResult) -> RecordedTable:
    return RecordedTable(
        [TrialRecord(number=i, stage="", result=r) for i, r in enumerate(results)], GOAL
    )


@pytest.fixture(scope="module")
def synthetic() -> RecordedTable:
    sampled = synthetic_sweep(2, rates=2, run_noise=0.0, glitches=0.0)
    return RecordedTable(sampled.records, sampled.objective)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("fraction", [0.1, 0.6])
def test_no_strategy_spends_more_than_its_budget(
    strategy: str, fraction: float, synthetic: RecordedTable
) -> None:
    run = replay(synthetic, strategy, fraction=fraction, seed=1)
    assert 0 < run.end.cost <= fraction * (1 + 1e-9)
    assert [p.cost for p in run.curve] == sorted(p.cost for p in run.curve)
    assert all(p.cost <= p.share * (1 + 1e-9) for p in run.curve)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_seed_is_all_that_changes_a_replay(strategy: str, synthetic: RecordedTable) -> None:
    first, again = (replay(synthetic, strategy, fraction=0.3, seed=3) for _ in range(2))
    assert first == again


def test_seeds_change_what_random_sees(synthetic: RecordedTable) -> None:
    ends = {replay(synthetic, "random", fraction=0.3, seed=seed).end for seed in range(4)}
    assert len(ends) > 1


def test_whole_grid_finds_the_best(synthetic: RecordedTable) -> None:
    """With a budget for every configuration; scores of 400 rows leave a point of doubt between two seeds."""
    assert replay(synthetic, "grid", fraction=50.0, seed=0).end.regret < 1.5


def test_regret_of_losses_is_relative_and_of_scores_in_points() -> None:
    losses = table(trial("small", 10, 2.0, scored=False), trial("large", 10, 2.5, scored=False))
    scores = table(trial("small", 10, 0.8), trial("large", 10, 0.5))
    method = MethodSpec(name="full", variant="plain", learning_rate=1e-3)
    choice = Configuration("large", method, "even")
    assert losses.regret(choice) == pytest.approx(25.0)
    assert scores.regret(choice) == pytest.approx(30.0)
    assert losses.regret(choice._replace(model="small")) == 0.0
    assert scores.regret(None) == pytest.approx(30.0), "no choice counts as the worst"


def test_truth_is_the_mean_over_seeds_at_the_largest_volume() -> None:
    found = table(
        trial("small", 10, 0.9),
        trial("small", 20, 0.5, seed=0),
        trial("small", 20, 0.7, seed=1),
        trial("large", 20, 0.65),
    )
    method = MethodSpec(name="full", variant="plain", learning_rate=1e-3)
    assert found.truth[Configuration("small", method, "even")].quality == pytest.approx(0.6)
    assert found.best.model == "large"


def test_full_cost_takes_each_pairs_best_learning_rate() -> None:
    found = table(
        trial("small", 20, 0.9, rate=1e-3, seconds=5.0),
        trial("small", 20, 0.5, rate=1e-2, seconds=50.0),
        trial("large", 20, 0.7, rate=1e-3, seconds=70.0),
        trial("large", 10, 0.9, rate=1e-2, seconds=1.0),
    )
    assert (found.full_cost, found.cost_unit) == (75.0, "device seconds")


def test_without_times_cost_is_parameters_times_examples() -> None:
    found = table(trial("small", 20, 0.9), trial("large", 20, 0.9, seconds=3.0))
    assert (found.full_cost, found.cost_unit) == (100 * 20 + 1000 * 20, "parameters × examples")


def test_counted_operations_may_be_the_cost() -> None:
    runs = [trial("small", 20, 0.9, seconds=5.0), trial("large", 20, 0.8, seconds=9.0)]
    counted = [
        run.model_copy(update={"cost": run.cost.model_copy(update={"flops": 1e9 * (i + 1)})})
        for i, run in enumerate(runs)
    ]
    records = [TrialRecord(number=i, stage="", result=r) for i, r in enumerate(counted)]
    found = RecordedTable(records, GOAL, "flops")
    assert (found.full_cost, found.cost_unit) == (pytest.approx(3e9), "FLOP")
    assert replay(found, "grid", fraction=0.7, seed=0).end.cost == pytest.approx(2 / 3, abs=0.34)


def test_recorded_seeds_are_seen_in_turn() -> None:
    found = table(*(trial("small", 10, 0.1 * (seed + 1), seed=seed) for seed in range(3)))
    spec = trial("small", 10, 1.0).spec.model_copy(
        update={"method": MethodSpec(name="full", variant="plain", learning_rate=1e-3)}
    )
    seen = [
        found.answer(spec.model_copy(update={"seed": seed}), first)[0].tasks[0].score
        for first, seed in itertools.product((0, 1), (0, 1, 2, 3))
    ]
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2])


def test_lacking_learning_rate_is_answered_by_the_nearest_and_counted() -> None:
    found = table(
        trial("small", 10, 0.3, rate=1e-4),
        trial("small", 10, 0.4, rate=1e-2),
        trial("large", 10, 0.6, rate=1e-3),
    )
    method = MethodSpec(name="full", variant="plain", learning_rate=5e-3)
    spec = trial("small", 10, 1.0).spec.model_copy(update={"method": method})
    found._recorded[method] = method
    answer, stands_in = found.answer(spec, 0)
    assert stands_in
    assert answer.tasks[0].score == 0.4
    run = replay(found, "halving", fraction=10.0, seed=0)
    assert run.substituted == 3, "both models were run with some of the three rates alone"


def test_a_missing_configuration_fails_at_no_cost() -> None:
    found = table(
        trial("small", 10, 0.3, seconds=1.0),
        trial("small", 20, 0.4, seconds=2.0),
        trial("large", 20, 0.6, seconds=4.0),
    )
    run = replay(found, "ats", fraction=1.0, seed=0)
    assert run.missing == 1, "the large model on 10 examples"
    assert run.end.chosen is not None


def test_diverged_trials_are_no_choice() -> None:
    bad = trial("large", 20, 0.0, status=Status.DIVERGED, seconds=1.0)
    found = table(trial("small", 20, 0.4, seconds=1.0), bad)
    assert replay(found, "grid", fraction=5.0, seed=0).end.chosen == found.best


def test_settings_that_were_not_crossed_are_one_choice() -> None:
    """As in tables of many methods: what was not run is hardly ever proposed."""
    found = table(
        trial("small", 10, 0.3, rate=1e-4, method="ia3"),
        trial("small", 10, 0.4, rate=1e-2, method="ia3"),
        trial("small", 10, 0.2, rate=1e-4, method="adalora"),
    )
    assert {c.method.variant for c in found.truth} == {"plain"}
    results = [r.spec.method for r in found.trained]
    uncrossed = table(
        *found.trained,
        trial("small", 10, 0.5, rate=3e-3, method="ia3").model_copy(
            update={
                "spec": found.trained[0].spec.model_copy(
                    update={"method": results[0].model_copy(update={"variant": "x"})}
                )
            }
        ),
    )
    assert "x, lr 0.0001" in {c.method.variant for c in uncrossed.truth}
    assert replay(uncrossed, "tpe", fraction=3.0, seed=0).substituted == 0


def test_table_that_decides_nothing_is_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="largest volume"):
        table(trial("small", 10, 0.0, status=Status.DIVERGED))


def test_summary_is_median_and_worst_over_seeds(synthetic: RecordedTable) -> None:
    runs = [replay(synthetic, "random", fraction=0.2, seed=seed) for seed in range(3)]
    (found,) = summaries(runs)
    ends = sorted(run.end.regret for run in runs)
    assert (found.median, found.worst) == (ends[1], ends[2])
    assert found.curve[-1].median == ends[1]
    text = lines(report("t.csv", synthetic, 3, runs))
    assert any(line.startswith("random") for line in text)


def test_sweep_of_a_table_permutes_models_by_seed(synthetic: RecordedTable) -> None:
    search = Search.model_construct(strategy="grid", halving=Halving())
    orders = {
        tuple(m.label for m in synthetic.sweep(search, seed, 1.0).spec.models) for seed in range(9)
    }
    assert len(orders) > 1


@pytest.mark.skipif(not PUBLIC.exists(), reason="the public results are not beside the checkout")
@pytest.mark.parametrize(("name", "regret"), [("flan", 2.1), ("wmt19", 2.5)])
def test_halving_on_the_public_tables(name: str, regret: float) -> None:
    """What was published for these tables: halving stays there even at half the cost."""
    recorded = read_table(PUBLIC / f"rectified_{name}.csv")
    known = RecordedTable(recorded.records, recorded.objective)
    for factor in (2, 3, 4):
        run = replay(known, "halving", fraction=0.5, seed=0, halving=Halving(factor=factor))
        assert run.end.regret == pytest.approx(regret, abs=0.06)
