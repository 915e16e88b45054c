"""Next experiments: expected value of more runs, where it is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from tests.factories import recommend
from tracker.decision.explain import next_experiment_text
from tracker.trial import Objective, TrialRecord

Make = Callable[..., TrialRecord]
INTENT = Objective(weights={"intent": 1})


def _level(record: Make, gap: float, seeds: int = 41) -> list[TrialRecord]:
    """Two configurations *gap* apart, *seeds* runs each, which show a noise floor of .01; no row noise."""
    spread = np.linspace(-1, 1, seeds)
    spread *= 0.01 / spread.std(ddof=1)
    return [
        r
        for model, centre in (("small", 0.7), ("large", 0.7 + gap))
        for i, s in enumerate(spread)
        for r in [record(model=model, scores={"intent": centre + s}, seed=i, flops=1e9)]
    ]


def _without_rows(records: list[TrialRecord]) -> list[TrialRecord]:
    """The same trials, measured on rows without end."""
    found = []
    for r in records:
        tasks = tuple(
            t.model_copy(update={"n": 10**12, "replicates": (), "score_se": 1e-9})
            for t in r.result.tasks
        )
        found.append(r.model_copy(update={"result": r.result.model_copy(update={"tasks": tasks})}))
    return found


def test_the_regret_removed_is_the_closed_form(record: Make) -> None:
    """Two normal means: E max after n more runs of each, against the highest mean now.

    With posterior variance v of each and noise w of the mean of the new runs, the gap's mean moves by a
    normal of variance 2 v^2 / (v + w) (Raiffa & Schlaifer, 1961, ch. 5).
    """
    gap, floor = 0.001, 0.01
    answer = recommend(_without_rows(_level(record, gap)), INTENT)
    found = {f.label: f for f in answer.next_experiments}
    pair = next(f for f in found.values() if len(f.trials) == 2)
    v, w = floor**2 / 41, floor**2 / pair.seeds
    moves = np.sqrt(2 * v**2 / (v + w))
    assert pair.regret_removed == pytest.approx(
        moves * norm.pdf(gap / moves) - gap * norm.sf(gap / moves), rel=0.15
    )
    assert pair.flops == 2 * pair.seeds * 1e9
    assert pair.regret_removed <= answer.expected_regret


def test_more_seeds_remove_more_and_cost_more(record: Make) -> None:
    answer = recommend(_without_rows(_level(record, 0.002, seeds=4)), INTENT)
    plans = sorted(answer.next_experiments, key=lambda f: f.flops or 0)
    assert 1 < len(plans) <= 4
    removed = [f.regret_removed or 0 for f in plans]
    assert removed == sorted(removed)
    value = [(f.regret_removed or 0) / (f.flops or 1) for f in answer.next_experiments]
    assert value == sorted(value, reverse=True)
    assert "expected regret" in next_experiment_text(plans[0])


def test_with_much_row_noise_more_rows_are_proposed(record: Make) -> None:
    """Seeds agree, 400 rows do not tell: only other rows can."""
    rows = [
        record(model=model, scores={"intent": s + 0.0001 * i}, seed=i, flops=1e9)
        for model, s in (("small", 0.70), ("large", 0.7025))
        for i in range(3)
    ]
    answer = recommend(rows, INTENT)
    assert answer.next_experiments
    assert all(f.rows == 1600 for f in answer.next_experiments)
    assert "1,600 validation rows" in answer.next_experiments[0].label


def test_without_repeats_the_noise_is_to_be_learned_first(record: Make) -> None:
    rows = [record(scores={"intent": 0.80}), record(scores={"intent": 0.8025}, model="large")]
    (more_seeds,) = recommend(rows, INTENT).next_experiments
    assert more_seeds.seeds == 1
    assert len(more_seeds.trials) == 2
    assert more_seeds.regret_removed is None
    assert "not known yet" in next_experiment_text(more_seeds)


def test_nothing_is_proposed_where_the_choice_is_clear(record: Make) -> None:
    rows = [
        record(model=model, scores={"intent": s + 0.001 * i}, seed=i)
        for model, s in (("small", 0.5), ("large", 0.8))
        for i in range(3)
    ]
    assert not recommend(rows, INTENT).next_experiments
